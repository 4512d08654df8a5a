//! Frames that the kernel has put together, taken apart again.
//!
//! Between veth ends one "frame" can be 64 KB of TCP that no cable would carry: the kernel leaves
//! the splitting to a network card that never comes. A header before it (`virtio_net_hdr`, virtio
//! 1.2 section 5.1.6) says how it is to be split and which checksum is still to be computed. Where
//! the fate of single frames matters, it is split here, as a card would do it: each part gets the
//! headers with its own lengths, identification and sequence number. Checksums stay put off.

/// Length of the header before each frame.
pub(super) const HEADER: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_*`: kinds, and the bit that says that the first frame carries CWR.
const NONE: u8 = 0;
const TCP4: u8 = 1;
const TCP6: u8 = 4;
const UDP: u8 = 5;
const ECN: u8 = 0x80;

const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const IPV6_HEADER: usize = 40;
/// Last flags of a TCP header: FIN and PSH belong to the last part, CWR to the first (RFC 3168).
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// What the header says.
#[derive(Clone, Copy, Debug)]
struct Offload {
    kind: u8,
    /// Bytes of payload in each part.
    size: usize,
    /// Where the transport header begins, from the frame's first byte.
    transport: usize,
}

impl Offload {
    fn parse(header: &[u8]) -> Option<Self> {
        // Fields are in the machine's own byte order: the kernel's legacy form.
        let field = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let header =
            (header.len() >= HEADER && header[0] & NEEDS_CHECKSUM != 0).then_some(header)?;
        Some(Self {
            kind: header[1] & !ECN,
            size: field(4).into(),
            transport: field(6).into(),
        })
    }
}

/// Whether `packet` (a header and a frame) is more than one frame of a cable.
pub(super) fn is_whole(packet: &[u8]) -> bool {
    packet.get(1).is_none_or(|kind| kind & !ECN == NONE)
}

/// The frames that `packet` stands for, each behind a header of its own; `None` if it is one frame,
/// or of a kind not known here.
pub(super) fn split(packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    if is_whole(packet) {
        return None;
    }
    let offload = Offload::parse(packet)?;
    let frame = packet.get(HEADER..)?;
    let transport = offload.transport;
    let payload = match offload.kind {
        TCP4 | TCP6 => transport + usize::from(frame.get(transport + 12)? >> 4) * 4,
        UDP => transport + 8,
        _ => return None,
    };
    let network: [u8; 2] = frame.get(12..ETHERNET)?.try_into().ok()?;
    let room = match network {
        IPV4 => ETHERNET + 20,
        IPV6 => ETHERNET + IPV6_HEADER,
        _ => return None,
    };
    let (headers, data) = frame.split_at_checked(payload)?;
    if offload.size == 0 || transport < room {
        return None;
    }
    let last = data.len().div_ceil(offload.size).saturating_sub(1);
    let parts = data.chunks(offload.size).enumerate().map(|(number, part)| {
        let mut one = Vec::with_capacity(HEADER + payload + part.len());
        one.extend_from_slice(&packet[..HEADER]);
        // No segmentation any more: kind, header length and size.
        one[1..6].fill(0);
        one.extend_from_slice(headers);
        let own = &mut one[HEADER..];
        if offload.kind == UDP {
            set(own, transport + 4, 8 + part.len());
        } else {
            sequence(&mut own[transport..], number * offload.size);
            let flags = &mut own[transport + 13];
            *flags &= !(if number < last { FIN_PSH } else { 0 } | if number > 0 { CWR } else { 0 });
        }
        lengths(own, network, transport, part.len(), number);
        one.extend_from_slice(part);
        one
    });
    Some(parts.collect())
}

/// Writes the lengths of a part into its IP header, and the beginning of its transport checksum:
/// the sum of the pseudo-header, which whoever computes the rest starts from.
fn lengths(frame: &mut [u8], network: [u8; 2], transport: usize, part: usize, number: usize) {
    let upper = frame.len() - transport + part;
    let (addresses, protocol) = if network == IPV4 {
        set(frame, ETHERNET + 2, transport - ETHERNET + upper);
        let id = u16::from_be_bytes([frame[ETHERNET + 4], frame[ETHERNET + 5]]);
        // A number of parts has 16 bits: a packet has 64 KB.
        set(
            frame,
            ETHERNET + 4,
            usize::from(id.wrapping_add(number as u16)),
        );
        set(frame, ETHERNET + 10, 0);
        let sum = !sum(&frame[ETHERNET..transport], 0);
        set(frame, ETHERNET + 10, sum.into());
        (ETHERNET + 12..ETHERNET + 20, frame[ETHERNET + 9])
    } else {
        set(
            frame,
            ETHERNET + 4,
            transport - ETHERNET - IPV6_HEADER + upper,
        );
        // Extension headers may lie between; the flags tell TCP and UDP apart.
        let tcp = frame.len() - transport > 8;
        (ETHERNET + 8..ETHERNET + 40, if tcp { 6 } else { 17 })
    };
    let pseudo = sum(&frame[addresses], u32::from(protocol) + upper as u32);
    let field = if protocol == 17 { 6 } else { 16 };
    set(frame, transport + field, pseudo.into());
}

fn sequence(tcp: &mut [u8], offset: usize) {
    let first = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
    tcp[4..8].copy_from_slice(&first.wrapping_add(offset as u32).to_be_bytes());
}

/// Writes a number of 16 bits; longer ones do not occur in a packet of 64 KB.
fn set(frame: &mut [u8], at: usize, value: usize) {
    frame[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
}

/// The ones' complement sum of RFC 1071, not inverted.
fn sum(bytes: &[u8], start: u32) -> u16 {
    let words = bytes.chunks(2);
    let mut sum = words.fold(start, |sum, word| {
        sum + u32::from(u16::from_be_bytes([
            word[0],
            word.get(1).copied().unwrap_or(0),
        ]))
    });
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

    use super::*;

    /// A packet of TCP as the kernel hands it over: one header, much payload.
    fn tcp(v6: bool, payload: &[u8]) -> Vec<u8> {
        let mac = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let link = PacketBuilder::ethernet2(mac.0, mac.1);
        let ip = if v6 {
            link.ipv6([1; 16], [2; 16], 64)
        } else {
            link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        };
        let options = [etherparse::TcpOptionElement::Timestamp(1, 2)];
        let built = ip.tcp(1000, 80, 7, 512).psh().fin().cwr().ack(9);
        let built = built.options(&options).unwrap();
        let mut frame = Vec::new();
        built.write(&mut frame, payload).unwrap();
        let transport: u16 = if v6 { 54 } else { 34 };
        let mut packet = vec![NEEDS_CHECKSUM, (if v6 { TCP6 } else { TCP4 }) | ECN];
        for field in [transport + 32, 100, transport, 16] {
            packet.extend_from_slice(&field.to_ne_bytes());
        }
        packet.extend_from_slice(&frame);
        packet
    }

    /// Computes the checksum that was put off, as the last device would.
    fn finish(packet: &[u8]) -> Vec<u8> {
        assert_eq!(packet[0], NEEDS_CHECKSUM);
        assert_eq!(packet[1..6], [0; 5]);
        let field = |at: usize| usize::from(u16::from_ne_bytes([packet[at], packet[at + 1]]));
        let (start, offset) = (field(6), field(8));
        let mut frame = packet[HEADER..].to_vec();
        let rest = !sum(&frame[start..], 0);
        set(&mut frame, start + offset, rest.into());
        frame
    }

    #[test]
    fn tcp_is_split_into_valid_frames() {
        let payload: Vec<u8> = (0..250).collect();
        for v6 in [false, true] {
            let parts = split(&tcp(v6, &payload)).unwrap();
            assert_eq!(parts.len(), 3);
            let mut joined = Vec::new();
            for (number, part) in parts.iter().enumerate() {
                let frame = finish(part);
                let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
                let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
                    panic!("no TCP")
                };
                let sum = match sliced.net {
                    Some(NetSlice::Ipv4(ip)) => {
                        let header = ip.header().to_header();
                        assert_eq!(header.calc_header_checksum(), header.header_checksum);
                        assert_eq!(usize::from(header.total_len), frame.len() - ETHERNET);
                        assert_eq!(usize::from(header.identification), number);
                        {
                            let (a, b) = (header.source, header.destination);
                            tcp.calc_checksum_ipv4(a, b).unwrap()
                        }
                    }
                    Some(NetSlice::Ipv6(ip)) => {
                        let h = ip.header();
                        tcp.calc_checksum_ipv6(h.source(), h.destination()).unwrap()
                    }
                    _ => panic!("no IP"),
                };
                assert_eq!(sum, tcp.checksum(), "part {number}");
                assert_eq!(tcp.sequence_number(), 7 + 100 * number as u32);
                assert_eq!((tcp.psh(), tcp.fin()), (number == 2, number == 2));
                assert_eq!(tcp.cwr(), number == 0);
                joined.extend_from_slice(tcp.payload());
            }
            assert_eq!(joined, payload);
        }
    }

    #[test]
    fn udp_is_split_into_valid_datagrams() {
        let mut frame = Vec::new();
        let link = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        link.udp(53, 54).write(&mut frame, &[9; 150]).unwrap();
        let mut packet = vec![NEEDS_CHECKSUM, UDP];
        for field in [42_u16, 100, 34, 6] {
            packet.extend_from_slice(&field.to_ne_bytes());
        }
        packet.extend_from_slice(&frame);
        let parts = split(&packet).unwrap();
        let lengths: Vec<_> = parts
            .iter()
            .map(|part| {
                let frame = finish(part);
                let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
                let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) =
                    (sliced.net, sliced.transport)
                else {
                    panic!("no UDP")
                };
                let header = udp.to_header();
                let sum = header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload());
                assert_eq!(sum.unwrap(), header.checksum);
                udp.payload().len()
            })
            .collect();
        assert_eq!(lengths, [100, 50]);
    }

    #[test]
    fn single_frames_and_garbage_are_left_alone() {
        let mut single = tcp(false, &[1; 50]);
        single[1] = NONE;
        assert!(is_whole(&single) && split(&single).is_none());
        let packet = tcp(true, &[1; 250]);
        for length in 0..packet.len() {
            // No panic; what is left is at most what there was.
            let parts = split(&packet[..length]).unwrap_or_default();
            assert!(parts.len() <= 3);
        }
        for (at, value) in [(1, 3), (4, 0), (6, 0), (HEADER + 12, 0)] {
            let mut broken = packet.clone();
            broken[at..at + 2].fill(value);
            assert!(split(&broken).is_none(), "byte {at}");
        }
    }
}
