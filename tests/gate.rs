//! The member's gate in a real kernel: what it takes, what it drops, and when (R15, R16, R17).

#[allow(dead_code, reason = "each test file uses its part of the helpers")]
mod netns;
mod serving;
#[allow(dead_code, reason = "each test file uses its part of the helpers")]
mod wire_end;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use hamp::addr::{Class, Prefix};
use hamp::linux::nft::connections::{Connection, connections, counters};
use hamp::linux::nft::{Tables, client, member};
use hamp::proto::rebind::member::Mode;
use hamp::proto::rebind::{Flags, Segment};
use netns::{in_namespace, sh, wait_until};
use serving::kernel::{self, Kernel};
use serving::machine::Machine;
use serving::user::User;
use serving::{Listens, World, every_case};
use socket2::{Domain, Socket, Type};
use wire_end::{Packet, WireEnd};

const LONG: Duration = Duration::from_secs(600);
/// Of each family: this host, an address that it serves alone, one in a prefix that it serves, one
/// that it does not serve, somebody else.
const FAMILIES: [[&str; 5]; 2] = [
    [
        "10.15.46.1",
        "198.18.0.1",
        "198.18.4.77",
        "198.18.0.2",
        "192.0.2.9",
    ],
    [
        "fd15:46::1",
        "2001:2:0:1546::1",
        "2001:2:0:1546::14d",
        "2001:2:0:1546::2",
        "fd15:46:9::1",
    ],
];
const SERVED: [&str; 4] = [
    "198.18.0.1/32",
    "198.18.4.0/24",
    "2001:2:0:1546::1/128",
    "2001:2:0:1546::100/120",
];

fn prefixes(words: &[&str]) -> Vec<Prefix> {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// A member's tables, its addresses configured, and nothing open yet.
fn member_tables(mode: Mode) -> Tables {
    wire_end::link();
    for prefix in SERVED {
        sh(&format!("ip route add local {prefix} dev lo"));
    }
    let mut tables = Tables::start(Class::default(), &[]).unwrap();
    tables.load_member(mode, true).unwrap();
    tables.set_own(&kernel::own()).unwrap();
    tables
}

/// The source of what the member answers to a segment; `None` for silence.
fn answer(wire: &WireEnd, marker: &UdpSocket, flags: Flags, to: SocketAddr) -> Option<Segment> {
    let source = if to.is_ipv4() {
        FAMILIES[0][4]
    } else {
        FAMILIES[1][4]
    };
    wire.send(&Segment {
        source: at(source, 40_000),
        destination: to,
        flags,
        sequence: 1,
        acknowledgement: 1,
        length: 0,
    });
    marker.send_to(b"mark", at(FAMILIES[0][4], 9)).unwrap();
    match wire.receive() {
        Packet::Tcp(segment) => {
            assert!(matches!(wire.receive(), Packet::Udp(9)));
            Some(segment)
        }
        Packet::Udp(_) => None,
    }
}

#[test]
fn the_gate_takes_syns_to_what_is_served_and_nothing_else() {
    if !in_namespace("the_gate_takes_syns_to_what_is_served_and_nothing_else") {
        return;
    }
    let mut tables = member_tables(Mode::Rebind);
    let (wire, marker) = (WireEnd::new(), UdpSocket::bind("10.15.46.1:0").unwrap());
    let ask = |flags, to: &str, port| answer(&wire, &marker, flags, at(to, port));
    // The services know nothing of anycast: each is bound to the host's own address.
    let _services = FAMILIES.map(|names| TcpListener::bind((names[0], 80)).unwrap());
    for [_, alone, inside, _, _] in FAMILIES {
        for to in [alone, inside] {
            assert_eq!(ask(Flags::SYN, to, 80), None, "closed at first");
        }
    }
    tables.lease(&prefixes(&SERVED), LONG).unwrap();
    for [own, alone, inside, not_served, _] in FAMILIES {
        for to in [alone, inside] {
            let accepted = ask(Flags::SYN, to, 80).expect("an answer");
            assert_eq!(accepted.flags, Flags::SYN.and(Flags::ACK));
            //= docs/spec/tcp.md#the-member
            //= type=test
            //# A member MUST treat a SYN that it rebinds as a SYN to its own unicast address, so that
            //# its SYN-ACK comes from U.
            assert_eq!(accepted.source, at(own, 80));
            let end = Flags::RST;
            assert_eq!(
                ask(end, own, 80),
                None,
                "no half-open connection stays behind"
            );
            let refused = ask(Flags::SYN, to, 81).expect("an answer");
            assert_eq!(refused.flags, Flags::RST.and(Flags::ACK));
            assert_eq!(refused.source, at(own, 81));
            for flags in [
                Flags::ACK,
                Flags::RST,
                Flags::SYN.and(Flags::ACK),
                Flags::FIN,
            ] {
                //= docs/spec/tcp.md#the-member
                //= type=test
                //# A member MUST answer no segment to A that belongs to no connection, but a SYN.
                assert_eq!(ask(flags, to, 80), None, "{flags:?} to {to}");
            }
        }
        //= docs/spec/link.md#what-a-member-s-kernel-holds
        //= type=test
        //# A packet to an anycast address that the host does not act for MUST be discarded
        //# silently: no reset, no ICMP.
        assert_eq!(ask(Flags::SYN, not_served, 80), None, "RFC 1546: silence");
    }
    let counted = counters(member::TABLE).unwrap();
    let counted: Vec<_> = counted
        .iter()
        .map(|(name, n)| (name.as_str(), *n))
        .collect();
    let expected = [("syn", 8), ("not_served", 4), ("not_a_syn", 16)];
    for counter in expected {
        assert!(counted.contains(&counter), "{counter:?} of {counted:?}");
    }
}

#[test]
fn the_gate_closes_by_itself_and_at_once_when_told() {
    if !in_namespace("the_gate_closes_by_itself_and_at_once_when_told") {
        return;
    }
    let mut tables = member_tables(Mode::Rebind);
    let (wire, marker) = (WireEnd::new(), UdpSocket::bind("10.15.46.1:0").unwrap());
    let open = |to: &str| answer(&wire, &marker, Flags::SYN, at(to, 80)).is_some();
    let all = prefixes(&SERVED);
    // Renewed often enough, a short lease holds.
    for _ in 0..20 {
        tables.lease(&all, Duration::from_millis(400)).unwrap();
        for [_, alone, inside, ..] in FAMILIES {
            assert!(open(alone) && open(inside));
        }
    }
    for [_, alone, inside, ..] in FAMILIES {
        //= docs/spec/link.md#what-a-member-s-kernel-holds
        //= type=test
        //# A member's kernel MUST act for an address no longer than a dead time after the member's
        //# last hello.
        wait_until("leases end", || !open(alone) && !open(inside));
    }
    // A lease that ended can begin again, and end at once.
    tables.lease(&all, LONG).unwrap();
    tables.close(&all[..1]).unwrap();
    tables.close(&all[..1]).unwrap();
    assert!(!open("198.18.0.1"));
    assert!(open("198.18.4.77") && open("2001:2:0:1546::1") && open("2001:2:0:1546::14d"));
    // Prefixes may lie in each other.
    tables.lease(&prefixes(&["198.18.0.0/16"]), LONG).unwrap();
    tables.lease(&all, LONG).unwrap();
    assert!(open("198.18.0.1"));
    tables.close(&prefixes(&["198.18.0.0/16"])).unwrap();
    assert!(open("198.18.0.1") && open("198.18.4.77"));
    sh("ip route add local 198.18.0.2 dev lo");
    assert!(!open("198.18.0.2"));
    // More than one transaction of an ordinary user may hold.
    let many: Vec<Prefix> = (0..2_000_u32)
        .map(|i| IpAddr::from([198, 18, 128 + (i >> 8) as u8, i as u8]).into())
        .collect();
    tables.lease(&many, LONG).unwrap();
    assert!(open("198.18.4.77"));
    tables.close(&many).unwrap();
    // A daemon that starts begins with a closed gate.
    tables.load_member(Mode::Rebind, true).unwrap();
    assert!(!open("198.18.4.77") && !open("2001:2:0:1546::1"));
}

/// IPv6 lets a service bind an address within a prefix only if it says that it means it.
fn bind_udp(to: SocketAddr) -> UdpSocket {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None).unwrap();
    if to.is_ipv6() {
        socket.set_freebind_v6(true).unwrap();
    }
    socket.bind(&to.into()).unwrap();
    socket.into()
}

#[test]
fn udp_goes_to_the_anycast_address_itself() {
    if !in_namespace("udp_goes_to_the_anycast_address_itself") {
        return;
    }
    let mut tables = member_tables(Mode::Rebind);
    tables.lease(&prefixes(&SERVED), LONG).unwrap();
    let wire = WireEnd::new();
    for [_, alone, inside, _, other] in FAMILIES {
        for to in [alone, inside] {
            let service = bind_udp(at(to, 53));
            service
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            wire.send_udp(at(other, 40_000), at(to, 53));
            let (_, from) = service.recv_from(&mut [0; 8]).unwrap();
            assert_eq!(from, at(other, 40_000));
            service.send_to(b"y", from).unwrap();
            assert!(matches!(wire.receive(), Packet::Udp(40_000)));
        }
    }
}

#[test]
fn a_member_reaches_its_own_anycast_address() {
    if !in_namespace("a_member_reaches_its_own_anycast_address") {
        return;
    }
    let mut tables = member_tables(Mode::Rebind);
    tables.load_client().unwrap();
    tables.lease(&prefixes(&SERVED), LONG).unwrap();
    for [own, alone, inside, not_served, _] in FAMILIES {
        let listener = TcpListener::bind((own, 80)).unwrap();
        for to in [alone, inside] {
            let mut client = TcpStream::connect((to, 80)).unwrap();
            let (mut served, _) = listener.accept().unwrap();
            assert_eq!(served.local_addr().unwrap(), at(own, 80));
            client.write_all(b"ask").unwrap();
            served.read_exact(&mut [0; 3]).unwrap();
            served.write_all(b"tell").unwrap();
            client.read_exact(&mut [0; 4]).unwrap();
            let seen = connections().unwrap();
            let local = client.local_addr().unwrap();
            let (anycast, member) = (at(to, 80), at(own, 80));
            assert_eq!(
                seen,
                [Connection {
                    local,
                    anycast,
                    member
                }]
            );
            drop(client);
            assert_eq!(served.read(&mut [0; 1]).unwrap(), 0, "a clean close");
            drop(served);
            wait_until("closed connections are not listed", || {
                connections().unwrap().is_empty()
            });
            let refused = TcpStream::connect((to, 81)).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        sh(&format!("ip route add local {not_served} dev lo"));
        let silence = TcpStream::connect_timeout(&at(not_served, 80), Duration::from_millis(100));
        assert_eq!(silence.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    }
}

#[test]
fn ports_are_used_again_without_delay_by_every_address() {
    if !in_namespace("ports_are_used_again_without_delay_by_every_address") {
        return;
    }
    let mut tables = member_tables(Mode::Rebind);
    tables.load_client().unwrap();
    tables.lease(&prefixes(&SERVED), LONG).unwrap();
    for [own, alone, inside, ..] in FAMILIES {
        let listener = TcpListener::bind((own, 80)).unwrap();
        for number in 0..1_500 {
            let to = at(if number % 2 == 0 { alone } else { inside }, 80);
            let client = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
            // From one address, so that both share its ports; each in turn, and again.
            client.set_reuse_address(true).unwrap();
            client.bind(&at(own, 40_000 + number / 3).into()).unwrap();
            // A SYN that has to be repeated waits for longer.
            let connected = client.connect_timeout(&to.into(), Duration::from_millis(900));
            connected.unwrap_or_else(|e| panic!("{number} to {to}: {e}"));
            let mut client = TcpStream::from(client);
            let (mut served, _) = listener.accept().unwrap();
            served.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            Socket::from(client)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
    }
    let counted = counters(client::TABLE).unwrap();
    let count = |what: &str| counted.iter().find(|(name, _)| name == what).unwrap().1;
    assert_eq!((count("bound"), count("full")), (3_000, 0), "{counted:?}");
}

#[test]
fn the_machine_serves_every_client_as_told() {
    for v6 in [false, true] {
        every_case(&mut Machine::new(v6));
    }
}

#[test]
fn a_host_in_user_space_serves_every_client_as_told() {
    for v6 in [false, true] {
        every_case(&mut User::new(v6));
    }
}

#[test]
fn the_rules_serve_every_client_as_told() {
    if !in_namespace("the_rules_serve_every_client_as_told") {
        return;
    }
    let mut kernel = Kernel::new();
    // Without and with a listener that keeps nothing of a SYN.
    for cookies in ["0", "2"] {
        std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", cookies).unwrap();
        for v6 in [false, true] {
            kernel.speak(v6);
            every_case(&mut kernel);
        }
    }
}

/// A handshake to the anycast address; the member's next sequence number.
fn handshake(kernel: &mut Kernel, port: u16) -> Segment {
    let names = kernel.names();
    let mut client = names.client;
    client.set_port(port);
    let mut segment = Segment {
        source: client,
        destination: names.anycast,
        flags: Flags::SYN,
        sequence: 1_000,
        acknowledgement: 0,
        length: 0,
    };
    let answer = kernel.send(&segment, false).expect("a SYN-ACK");
    assert_eq!(answer.flags, Flags::SYN.and(Flags::ACK));
    segment.flags = Flags::ACK;
    segment.sequence = 1_001;
    segment.acknowledgement = answer.sequence.wrapping_add(1);
    assert_eq!(kernel.send(&segment, false), None);
    segment
}

#[test]
fn a_plain_connection_that_its_service_gives_up_is_reset() {
    if !in_namespace("a_plain_connection_that_its_service_gives_up_is_reset") {
        return;
    }
    let mut kernel = Kernel::new();
    for v6 in [false, true] {
        for (listens, port) in [(Listens::Everywhere, 40_000), (Listens::AtAnycast, 40_010)] {
            kernel.speak(v6);
            kernel.serve(Mode::Auto, listens);
            let listener = kernel.listener.as_ref().unwrap();
            listener.set_nonblocking(true).unwrap();
            // The handshake is over, so it is there.
            let accept = |kernel: &Kernel| kernel.listener.as_ref().unwrap().accept().unwrap().0;
            let reset = |segment: Option<Segment>| {
                let flags = segment.expect("a reset").flags;
                assert!(flags.has(Flags::RST), "{flags:?}");
            };
            // With something unread.
            let mut data = handshake(&mut kernel, port + 1);
            let service = accept(&kernel);
            data.length = 5;
            assert!(kernel.send(&data, false).is_some());
            drop(service);
            reset(kernel.sent());
            // In good order, and then more comes.
            let mut data = handshake(&mut kernel, port + 2);
            drop(accept(&kernel));
            let fin = kernel.sent().expect("a FIN");
            assert!(fin.flags.has(Flags::FIN), "{fin:?}");
            data.length = 5;
            data.acknowledgement = data.acknowledgement.wrapping_add(1);
            reset(kernel.send(&data, false));
            // By both ends: the last FIN is acknowledged again.
            let mut fin = handshake(&mut kernel, port + 3);
            drop(accept(&kernel));
            kernel.sent().expect("a FIN");
            fin.flags = Flags::FIN.and(Flags::ACK);
            fin.acknowledgement = fin.acknowledgement.wrapping_add(1);
            for _ in 0..2 {
                let last = kernel.send(&fin, false).expect("an acknowledgement");
                assert_eq!(last.flags, Flags::ACK);
            }
        }
    }
}
