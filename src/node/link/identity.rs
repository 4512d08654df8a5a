//! Who this host is on a link, and what its nonces are drawn from.

use crate::node::{LinkId, LinkState};
use crate::proto::member::Identity;
use crate::proto::trust::Credentials;
use crate::wire::MemberId;

/// What the nonces of one link and life are drawn from.
pub(super) fn nonce_secret(secret: &[u8; 32], link: LinkId, epoch: u64) -> [u8; 32] {
    let mut text = b"hamp nonce secret 1".to_vec();
    text.extend(secret);
    text.extend(link.0.to_be_bytes());
    text.extend(epoch.to_be_bytes());
    crate::wire::hash(&text)
}

/// Without a key, a member's id is a hash of its name and of its address on the link: stable over
/// restarts, so that a restarted member replaces itself.
pub(super) fn identity(
    link: LinkId,
    state: &LinkState,
    name: &str,
    credentials: Option<&Credentials>,
) -> Identity {
    let without_key = || {
        let mut text = b"hamp id without key 1".to_vec();
        text.extend(state.mac);
        text.extend(name.as_bytes());
        MemberId(crate::wire::hash(&text))
    };
    let sealing = credentials.map_or(0, Credentials::sealing);
    Identity {
        id: credentials.map_or_else(without_key, Credentials::member),
        interface: link.0,
        mac: state.mac,
        ipv4: state.ipv4,
        ipv6: state.ipv6,
        mtu: state.mtu,
        sealing: u16::try_from(sealing).unwrap_or(u16::MAX),
    }
}
