//! Frames to our groups that are no messages: whose they are, so that somebody can be told.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Mac;
use crate::wire::{GROUP_IPV4, GROUP_IPV6, PORT};

/// UDP's protocol number (RFC 768).
const UDP: u8 = 17;
/// An IPv6 fragment header (RFC 8200 §4.5).
const FRAGMENT: u8 = 44;

/// A datagram to one of our groups, not looked at any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stray<'a> {
    /// The frame's source.
    pub mac: Mac,
    /// The packet's source.
    pub source: IpAddr,
    /// Whether it goes to our port; not known of a later fragment.
    pub to_our_port: bool,
    /// Undecoded, and maybe cut.
    pub payload: &'a [u8],
}

/// Reads as much of a frame as tells whether it was meant for us.
pub fn stray(bytes: &[u8]) -> Option<Stray<'_>> {
    let mac = *bytes.get(6..)?.first_chunk::<6>()?;
    let packet = bytes.get(14..)?;
    let (source, udp) = match bytes.get(12..14)? {
        [0x08, 0x00] => {
            let header: &[u8; 20] = packet.first_chunk()?;
            if header[9] != UDP || header[16..20] != GROUP_IPV4.octets() {
                return None;
            }
            let source: [u8; 4] = *header[12..].first_chunk()?;
            let length = 4 * usize::from(header[0] & 15);
            (IpAddr::from(Ipv4Addr::from(source)), packet.get(length..)?)
        }
        [0x86, 0xdd] => {
            let header: &[u8; 40] = packet.first_chunk()?;
            if header[24..40] != GROUP_IPV6.octets() {
                return None;
            }
            let skipped = match header[6] {
                UDP => 40,
                FRAGMENT => 48,
                _ => return None,
            };
            let source: [u8; 16] = *header[8..].first_chunk()?;
            (IpAddr::from(Ipv6Addr::from(source)), packet.get(skipped..)?)
        }
        _ => return None,
    };
    let to_our_port = udp.get(2..4) == Some(&PORT.to_be_bytes()[..]);
    Some(Stray {
        mac,
        source,
        to_our_port,
        payload: udp.get(8..).unwrap_or_default(),
    })
}
