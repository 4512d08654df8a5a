//! Frames of a capture file, pcap or pcapng.

use std::borrow::Cow;
use std::io::{self, Read};
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::block_common::Block;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};

use super::Captured;

/// First bytes of every pcapng file.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Calls `see` with each frame of a capture, while it says so. Frames of interfaces that are
/// neither Ethernet nor `tcpdump -i any` nor bare IP are passed over. Errors: no capture, one without such an
/// interface, or one that is cut off.
pub(super) fn each_frame(
    mut input: impl Read,
    mut see: impl FnMut(Captured<'_>) -> bool,
) -> io::Result<()> {
    let mut magic = [0; 4];
    input
        .read_exact(&mut magic)
        .map_err(|_| io::Error::other("not a capture: too short"))?;
    let input = io::Cursor::new(magic).chain(input);
    let bad = |error: &dyn std::fmt::Display| io::Error::other(format!("not a capture: {error}"));
    let damaged =
        |error: &dyn std::fmt::Display| io::Error::other(format!("cut off or damaged: {error}"));
    if magic == PCAPNG {
        let mut reader = PcapNgReader::new(input).map_err(|error| bad(&error))?;
        while let Some(block) = reader.next_block() {
            let (block, state) = block.map_err(|error| damaged(&error))?;
            let interfaces = state.interfaces();
            let (id, at, bytes) = match &block {
                Block::EnhancedPacket(packet) => {
                    (packet.interface_id, packet.timestamp, &packet.data)
                }
                Block::SimplePacket(packet) => (0, Duration::ZERO, &packet.data),
                _ => continue,
            };
            let Some(interface) = interfaces.get(id as usize) else {
                continue;
            };
            let Some(bytes) = ethernet(interface.linktype, bytes) else {
                if interfaces.iter().all(|one| !is_known(one.linktype)) {
                    return Err(no_ethernet());
                }
                continue;
            };
            let interface = name(interface);
            if !see(Captured {
                at,
                interface,
                bytes: &bytes,
            }) {
                break;
            }
        }
    } else {
        let mut reader = PcapReader::new(input).map_err(|error| bad(&error))?;
        let link = reader.header().datalink;
        if !is_known(link) {
            return Err(no_ethernet());
        }
        while let Some(packet) = reader.next_packet() {
            let packet = packet.map_err(|error| damaged(&error))?;
            let Some(bytes) = ethernet(link, packet.data()) else {
                continue;
            };
            if !see(Captured {
                at: packet.timestamp(),
                interface: None,
                bytes: &bytes,
            }) {
                break;
            }
        }
    }
    Ok(())
}

fn no_ethernet() -> io::Error {
    io::Error::other("only captures of Ethernet or bare IP are decoded")
}

fn name<'a>(interface: &'a InterfaceDescriptionBlock<'_>) -> Option<&'a str> {
    interface.options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfName(name) => Some(&**name),
        _ => None,
    })
}

fn is_known(link: DataLink) -> bool {
    matches!(
        link,
        DataLink::ETHERNET | DataLink::LINUX_SLL | DataLink::LINUX_SLL2 | DataLink::RAW
    )
}

/// The bytes as an Ethernet frame. The headers that Linux cooks for all interfaces at once hold the
/// source and the type of the frame, a point-to-point link's packets have none; what is not known is
/// left zero.
fn ethernet(link: DataLink, bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (source, ethertype, length) = match link {
        DataLink::ETHERNET => return Some(bytes.into()),
        DataLink::LINUX_SLL => (bytes.get(6..12)?, bytes.get(14..16)?, 16),
        DataLink::LINUX_SLL2 => (bytes.get(12..18)?, bytes.get(0..2)?, 20),
        DataLink::RAW => (&[0; 6][..], raw_type(bytes)?, 0),
        _ => return None,
    };
    Some(
        [&[0; 6], source, ethertype, bytes.get(length..)?]
            .concat()
            .into(),
    )
}

/// The EtherType of a bare packet, by the version in its first byte.
fn raw_type(bytes: &[u8]) -> Option<&'static [u8]> {
    match bytes.first()? >> 4 {
        4 => Some(&[0x08, 0x00]),
        6 => Some(&[0x86, 0xdd]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cooked_headers_become_ethernet() {
        let frame = [&[0; 6][..], &[2, 0, 0, 0, 0, 9], &[8, 0], b"packet"].concat();
        let mut cooked = vec![0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0, 8, 0];
        cooked.extend(b"packet");
        assert_eq!(
            ethernet(DataLink::LINUX_SLL, &cooked).as_deref(),
            Some(&frame[..])
        );
        let mut cooked = vec![8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 2, 6, 2, 0, 0, 0, 0, 9, 0, 0];
        cooked.extend(b"packet");
        assert_eq!(
            ethernet(DataLink::LINUX_SLL2, &cooked).as_deref(),
            Some(&frame[..])
        );
        for end in 0..16 {
            assert_eq!(ethernet(DataLink::LINUX_SLL, &cooked[..end]), None);
        }
        assert_eq!(ethernet(DataLink::NULL, &cooked), None);
    }

    #[test]
    fn bare_packets_get_a_header() {
        for (first, ethertype) in [(0x45, [8, 0]), (0x60, [0x86, 0xdd])] {
            let frame = ethernet(DataLink::RAW, &[first, 1]).unwrap().into_owned();
            assert_eq!(frame, [&[0; 12][..], &ethertype, &[first, 1]].concat());
        }
        assert_eq!(ethernet(DataLink::RAW, &[0x15]), None);
        assert_eq!(ethernet(DataLink::RAW, &[]), None);
    }
}
