//! Classic BPF programs for our sockets.
//!
//! Classic filters need no privilege of their own (extended BPF needs the initial user namespace),
//! so the same programs run as root and inside a user namespace. They are written with named
//! labels and resolved here; a test runs them in a small interpreter against real frames.

use socket2::SockFilter;

/// UDP port of our messages, both families.
const PORT: u32 = crate::wire::PORT as u32;

const LDB_ABS: u16 = 0x30;
const LDH_ABS: u16 = 0x28;
const LDW_ABS: u16 = 0x20;
const LDH_IND: u16 = 0x48;
const LDX_MSH: u16 = 0xb1;
const JEQ: u16 = 0x15;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;

/// `SKF_AD_OFF + SKF_AD_PROTOCOL`: the EtherType, also where the packet has no Ethernet header.
const PROTOCOL: u32 = -0x1000i32 as u32;
/// `SKF_AD_OFF + SKF_AD_PKTTYPE`: who the frame is for.
const PKTTYPE: u32 = (-0x1000i32 as u32) + 4;
/// `SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT`: the tag is kept beside the frame, not in it.
const VLAN_PRESENT: u32 = (-0x1000i32 as u32) + 48;
/// `PACKET_OTHERHOST`: a unicast frame for another machine, seen in promiscuous mode.
const OTHER_HOST: u32 = 3;
/// `PACKET_OUTGOING`: a frame that this machine sends.
const OUTGOING: u32 = 4;

const ARP: u32 = 0x0806;
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;
const UDP: u32 = 17;
/// Our groups: what goes to them on another port is passed too, so that its sender can be told of.
const IPV4_GROUP: u32 = crate::wire::GROUP_IPV4.to_bits();
const IPV6_GROUP_FIRST: u32 = (crate::wire::GROUP_IPV6.to_bits() >> 96) as u32;
const IPV6_GROUP_LAST: u32 = crate::wire::GROUP_IPV6.to_bits() as u32;
const ICMPV6: u32 = 58;
const NEIGHBOUR_SOLICITATION: u32 = 135;
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;

/// One line of a program: an optional label, the operation, and the labels to go on at when a
/// comparison holds or fails (empty: the next line).
struct Line(&'static str, u16, u32, &'static str, &'static str);

/// Lets nothing through: for sockets that only hold memberships and ports.
pub fn nothing() -> Vec<SockFilter> {
    vec![SockFilter::new(RET, 0, 0, 0)]
}

/// Lets through what the node reads, from an Ethernet packet socket: ARP, neighbour solicitations
/// and advertisements and our messages that come in, and the ARP and solicitations that our own
/// kernel sends. Tagged frames, other machines' frames and fragments do not pass.
pub fn link() -> Vec<SockFilter> {
    program(LINK)
}

/// Lets through what the node reads where packets come without a link-layer header: our messages
/// that come in. Nobody asks for link-layer addresses there.
pub fn bare() -> Vec<SockFilter> {
    program(BARE)
}

/// Lets our messages through, without their link-layer header, whichever way they go: for somebody
/// who only listens. Tagged frames, other machines' frames and fragments do not pass.
pub fn messages() -> Vec<SockFilter> {
    program(MESSAGES)
}

/// Lets through, from a netlink socket, notifications of routes of other protocols than `number`.
pub fn routes_of_others(number: u8) -> Vec<SockFilter> {
    /// `rtm_protocol`, behind `struct nlmsghdr`.
    const RTM_PROTOCOL: u32 = 16 + 5;
    program(&[
        Line("", LDB_ABS, RTM_PROTOCOL, "", ""),
        Line("", JEQ, number.into(), "", "pass"),
        Line("", RET, 0, "", ""),
        Line("pass", RET, u32::MAX, "", ""),
    ])
}

fn program(lines: &[Line]) -> Vec<SockFilter> {
    assemble(lines)
        .iter()
        .map(|i| SockFilter::new(i.code, i.jt, i.jf, i.k))
        .collect()
}

const LINK: &[Line] = &[
    Line("", LDB_ABS, VLAN_PRESENT, "", ""),
    Line("", JEQ, 0, "", "drop"),
    Line("", LDB_ABS, PKTTYPE, "", ""),
    Line("", JEQ, OTHER_HOST, "drop", ""),
    Line("", JEQ, OUTGOING, "outgoing", ""),
    Line("", LDH_ABS, 12, "", ""),
    Line("", JEQ, ARP, "pass", ""),
    Line("", JEQ, IPV6, "ipv6", ""),
    Line("", JEQ, IPV4, "", "drop"),
    Line("", LDB_ABS, 23, "", ""),
    Line("", JEQ, UDP, "", "drop"),
    Line("", LDH_ABS, 20, "", ""),
    Line("", JSET, 0x1fff, "drop", ""),
    Line("", LDX_MSH, 14, "", ""),
    Line("", LDH_IND, 16, "", ""),
    Line("", JEQ, PORT, "pass", ""),
    Line("", LDW_ABS, 30, "", ""),
    Line("", JEQ, IPV4_GROUP, "pass", "drop"),
    Line("ipv6", LDB_ABS, 20, "", ""),
    Line("", JEQ, ICMPV6, "icmp", ""),
    Line("", JEQ, UDP, "", "drop"),
    Line("", LDH_ABS, 56, "", ""),
    Line("", JEQ, PORT, "pass", ""),
    Line("", LDW_ABS, 38, "", ""),
    Line("", JEQ, IPV6_GROUP_FIRST, "", "drop"),
    Line("", LDW_ABS, 50, "", ""),
    Line("", JEQ, IPV6_GROUP_LAST, "pass", "drop"),
    Line("icmp", LDB_ABS, 54, "", ""),
    Line("", JEQ, NEIGHBOUR_SOLICITATION, "pass", ""),
    Line("", JEQ, NEIGHBOUR_ADVERTISEMENT, "pass", "drop"),
    Line("outgoing", LDH_ABS, 12, "", ""),
    Line("", JEQ, ARP, "pass", ""),
    Line("", JEQ, IPV6, "", "drop"),
    Line("", LDB_ABS, 20, "", ""),
    Line("", JEQ, ICMPV6, "", "drop"),
    Line("", LDB_ABS, 54, "", ""),
    Line("", JEQ, NEIGHBOUR_SOLICITATION, "pass", "drop"),
    Line("pass", RET, u32::MAX, "", ""),
    Line("drop", RET, 0, "", ""),
];

const BARE: &[Line] = &[
    Line("", LDB_ABS, PKTTYPE, "", ""),
    Line("", JEQ, OTHER_HOST, "drop", ""),
    Line("", JEQ, OUTGOING, "drop", ""),
    Line("", LDH_ABS, PROTOCOL, "", ""),
    Line("", JEQ, IPV6, "ipv6", ""),
    Line("", JEQ, IPV4, "", "drop"),
    Line("", LDB_ABS, 9, "", ""),
    Line("", JEQ, UDP, "", "drop"),
    Line("", LDH_ABS, 6, "", ""),
    Line("", JSET, 0x1fff, "drop", ""),
    Line("", LDX_MSH, 0, "", ""),
    Line("", LDH_IND, 2, "", ""),
    Line("", JEQ, PORT, "pass", "drop"),
    Line("ipv6", LDB_ABS, 6, "", ""),
    Line("", JEQ, UDP, "", "drop"),
    Line("", LDH_ABS, 42, "", ""),
    Line("", JEQ, PORT, "pass", "drop"),
    Line("pass", RET, u32::MAX, "", ""),
    Line("drop", RET, 0, "", ""),
];

const MESSAGES: &[Line] = &[
    Line("", LDB_ABS, VLAN_PRESENT, "", ""),
    Line("", JEQ, 0, "", "drop"),
    Line("", LDB_ABS, PKTTYPE, "", ""),
    Line("", JEQ, OTHER_HOST, "drop", ""),
    Line("", LDH_ABS, PROTOCOL, "", ""),
    Line("", JEQ, IPV6, "ipv6", ""),
    Line("", JEQ, IPV4, "", "drop"),
    Line("", LDB_ABS, 9, "", ""),
    Line("", JEQ, UDP, "", "drop"),
    Line("", LDH_ABS, 6, "", ""),
    Line("", JSET, 0x1fff, "drop", ""),
    Line("", LDX_MSH, 0, "", ""),
    Line("", LDH_IND, 2, "", ""),
    Line("", JEQ, PORT, "pass", "drop"),
    Line("ipv6", LDB_ABS, 6, "", ""),
    Line("", JEQ, UDP, "", "drop"),
    Line("", LDH_ABS, 42, "", ""),
    Line("", JEQ, PORT, "pass", "drop"),
    Line("pass", RET, u32::MAX, "", ""),
    Line("drop", RET, 0, "", ""),
];

/// One instruction; jumps count from the next one.
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

fn assemble(lines: &[Line]) -> Vec<Instruction> {
    let offset = |from: usize, label: &str| -> u8 {
        if label.is_empty() {
            return 0;
        }
        let to = lines
            .iter()
            .position(|line| line.0 == label)
            .unwrap_or(from + 1);
        u8::try_from(to - from - 1).unwrap_or(u8::MAX)
    };
    let resolve = |(at, line): (usize, &Line)| {
        let (jt, jf) = (offset(at, line.3), offset(at, line.4));
        Instruction {
            code: line.1,
            jt,
            jf,
            k: line.2,
        }
    };
    lines.iter().enumerate().map(resolve).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs [`link`]'s program.
    fn passes(frame: &[u8], pkttype: u32, tagged: bool) -> bool {
        runs(LINK, frame, 0, pkttype, tagged)
    }

    /// Runs [`bare`]'s program on the packet in an Ethernet frame.
    fn passes_bare(frame: &[u8], pkttype: u32) -> bool {
        let protocol = u16::from_be_bytes([frame[12], frame[13]]);
        runs(BARE, &frame[14..], protocol.into(), pkttype, false)
    }

    /// Runs a program as the kernel would; a load past the end ends it with a drop.
    fn runs(lines: &[Line], frame: &[u8], protocol: u32, pkttype: u32, tagged: bool) -> bool {
        let program = assemble(lines);
        let (mut a, mut x, mut pc) = (0u32, 0usize, 0usize);
        loop {
            let Instruction { code, jt, jf, k } = program[pc];
            pc += 1;
            let byte = |at: usize| frame.get(at).copied().map(u32::from);
            let half = |at: usize| Some((byte(at)? << 8) | byte(at + 1)?);
            let loaded = match code {
                LDB_ABS if k == PKTTYPE => Some(pkttype),
                LDB_ABS if k == VLAN_PRESENT => Some(tagged.into()),
                LDH_ABS if k == PROTOCOL => Some(protocol),
                LDB_ABS => byte(k as usize),
                LDH_ABS => half(k as usize),
                LDW_ABS => {
                    half(k as usize).and_then(|high| Some((high << 16) | half(k as usize + 2)?))
                }
                LDH_IND => half(x + k as usize),
                LDX_MSH => {
                    let Some(first) = byte(k as usize) else {
                        return false;
                    };
                    x = 4 * (first as usize & 15);
                    continue;
                }
                JEQ | JSET => {
                    let holds = if code == JEQ { a == k } else { a & k != 0 };
                    pc += usize::from(if holds { jt } else { jf });
                    continue;
                }
                RET => return k != 0,
                other => panic!("operation {other:#x}"),
            };
            let Some(loaded) = loaded else { return false };
            a = loaded;
        }
    }

    fn frame(ethertype: u16, rest: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(ethertype.to_be_bytes());
        frame.extend(rest);
        frame
    }

    fn ipv4_udp(options: usize, fragment: u16, port: u16) -> Vec<u8> {
        let mut packet = vec![0; 20 + 4 * options + 8];
        packet[0] = 0x45 + options as u8;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = 17;
        let at = 20 + 4 * options + 2;
        packet[at..at + 2].copy_from_slice(&port.to_be_bytes());
        frame(0x0800, &packet)
    }

    fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[6] = next;
        packet.extend(payload);
        frame(0x86dd, &packet)
    }

    #[test]
    fn what_the_node_reads_passes() {
        assert!(passes(&frame(0x0806, &[0; 28]), 1, false), "ARP");
        assert!(passes(&ipv4_udp(0, 0, 1021), 2, false), "our message");
        assert!(
            passes(&ipv4_udp(3, 0x4000, 1021), 0, false),
            "with options and DF"
        );
        assert!(
            passes(&ipv6(17, &[0, 9, 3, 253]), 2, false),
            "our message, IPv6"
        );
        assert!(passes(&ipv6(58, &[135]), 2, false), "solicitation");
        assert!(passes(&ipv6(58, &[136]), 0, false), "advertisement");
        assert!(
            passes(&frame(0x0806, &[0; 28]), 4, false),
            "the kernel's own ARP"
        );
        assert!(
            passes(&ipv6(58, &[135]), 4, false),
            "the kernel's own solicitation"
        );
    }

    #[test]
    fn without_a_link_layer_only_our_messages_pass() {
        assert!(passes_bare(&ipv4_udp(0, 0, 1021), 0), "our message");
        assert!(passes_bare(&ipv4_udp(3, 0x4000, 1021), 0), "with options");
        assert!(passes_bare(&ipv6(17, &[0, 9, 3, 253]), 0), "IPv6");
        assert!(!passes_bare(&ipv4_udp(0, 0, 1021), 4), "our own");
        assert!(!passes_bare(&ipv4_udp(0, 0, 53), 0), "another port");
        assert!(!passes_bare(&ipv4_udp(0, 7, 1021), 0), "a later fragment");
        assert!(!passes_bare(&ipv6(58, &[135]), 0), "a solicitation");
        assert!(!passes_bare(&frame(0x0806, &[0; 28]), 0), "ARP");
        for end in 14..35 {
            assert!(!passes_bare(&ipv4_udp(0, 0, 1021)[..end], 0), "cut");
        }
    }

    #[test]
    fn what_it_does_not_read_stays_out() {
        assert!(!passes(&frame(0x0806, &[0; 28]), 1, true), "another VLAN's");
        assert!(
            !passes(&frame(0x0806, &[0; 28]), 3, false),
            "another machine's"
        );
        assert!(!passes(&ipv4_udp(0, 0, 53), 0, false), "another port");
        assert!(!passes(&ipv4_udp(0, 7, 1021), 0, false), "a later fragment");
        assert!(!passes(&ipv4_udp(0, 0, 1021), 4, false), "our own message");
        assert!(!passes(&ipv6(58, &[128]), 0, false), "ping");
        assert!(
            !passes(&ipv6(58, &[136]), 4, false),
            "our own advertisement"
        );
        assert!(!passes(&ipv6(6, &[0, 9, 3, 253]), 0, false), "TCP");
        for end in 0..35 {
            assert!(
                !passes(&ipv4_udp(0, 0, 1021)[..end], 0, false),
                "cut after {end}"
            );
        }
    }

    #[test]
    fn a_listener_gets_messages_of_both_directions_and_nothing_else() {
        let passes = |frame: &[u8], pkttype, tagged| {
            let protocol = u16::from_be_bytes([frame[12], frame[13]]);
            runs(MESSAGES, &frame[14..], protocol.into(), pkttype, tagged)
        };
        let ours = [ipv4_udp(3, 0x4000, 1021), ipv6(17, &[0, 9, 3, 253])];
        for frame in &ours {
            assert!(passes(frame, 2, false), "received: {frame:?}");
            assert!(passes(frame, 4, false), "sent: {frame:?}");
            assert!(!passes(frame, 2, true), "another VLAN's: {frame:?}");
            assert!(!passes(frame, 3, false), "another machine's: {frame:?}");
        }
        for (what, frame) in [
            ("ARP", frame(0x0806, &[0; 28])),
            ("solicitation", ipv6(58, &[135])),
            ("another port", ipv4_udp(0, 0, 53)),
            ("another port, IPv6", ipv6(17, &[3, 253, 0, 9])),
            ("a later fragment", ipv4_udp(0, 7, 1021)),
            ("TCP", ipv6(6, &[0, 9, 3, 253])),
        ] {
            assert!(!passes(&frame, 2, false), "{what}");
        }
    }
}
