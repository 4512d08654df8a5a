//! Who a captured packet is from and to.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket};

/// Source and destination of an IP packet, whose payload may have been cut off.
pub(crate) fn ends(packet: &LaxSlicedPacket<'_>) -> Option<(IpAddr, IpAddr)> {
    match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            Some((
                header.source_addr().into(),
                header.destination_addr().into(),
            ))
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            Some((
                header.source_addr().into(),
                header.destination_addr().into(),
            ))
        }
        _ => None,
    }
}
