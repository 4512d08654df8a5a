// What holds for any bytes. The fuzz targets search for a counterexample; tests/golden.rs holds
// the corpus and every mutation of the golden packets against the same functions.

use hamp::wire::Message;
use hamp::wire::frame::{self, Frame};

/// Decoding never panics, and what was understood survives being encoded and decoded again.
pub(crate) fn decode(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        let encoded = message.encode();
        assert_eq!(encoded.len(), bytes.len(), "{message:?}");
        assert_eq!(Message::decode(&encoded).as_ref(), Ok(&message));
    }
    match Frame::parse(bytes) {
        Ok(Frame::Message {
            mac,
            source,
            payload,
        }) => {
            let rebuilt = frame::message(mac, source, payload);
            let again = Frame::Message {
                mac,
                source,
                payload,
            };
            assert_eq!(Frame::parse(&rebuilt), Ok(again));
            decode(payload);
        }
        Ok(Frame::Request(request)) => {
            let own = "fe80::1".parse().ok();
            if let Some(reply) = frame::answer(&request, [2, 0, 0, 0, 0, 1], own) {
                assert!(
                    matches!(Frame::parse(&reply), Ok(Frame::Answer(_))),
                    "{request:?}"
                );
            }
        }
        Ok(Frame::Answer(_)) | Err(_) => {}
    }
}
