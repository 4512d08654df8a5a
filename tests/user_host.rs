//! Whole hosts in user space: members, a client and a stock host on one switch.

mod user_net;

use std::net::SocketAddr;

use hamp::node::{Change, Event};
use hamp::proto::Reason;
use hamp::time::{Duration, Instant};
use hamp::user::{Echo, End, TcpState};
use hamp::wire::frame::{Frame, request};
use user_net::{BOTH, DEAD, HELLO, LINK, Net, ip, mac, on_link, unicast};

const CLIENT: usize = 3;
const STOCK: usize = 4;
/// A request to a live member, neighbours unknown.
const PROMPT: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

/// The requests for `address` that `station` has sent since `since`.
fn requests(net: &Net, station: usize, address: &str, since: Instant) -> Vec<Instant> {
    let sent = net.sent.iter();
    let sent = sent.filter(|(at, by, _)| *by == station && *at >= since);
    sent.filter(|(_, _, frame)| {
        matches!(Frame::parse(frame), Ok(Frame::Request(r)) if r.target == ip(address))
    })
    .map(|(at, ..)| *at)
    .collect()
}

#[test]
fn a_client_and_a_stock_host_are_answered_from_the_anycast_address() {
    let mut net = Net::first_link();
    for station in [CLIENT, STOCK] {
        for address in BOTH {
            let owner = net.stations[net.owner(address)].number;
            let answer = net.ask(station, address, PROMPT).expect("an answer");
            assert_eq!(answer.from, SocketAddr::new(ip(address), 53));
            assert_eq!(answer.payload, [owner], "{address}");
        }
    }
}

#[test]
fn every_address_of_a_host_answers_an_echo_request() {
    let mut net = Net::first_link();
    for address in BOTH {
        let direct = unicast(2, address);
        for (asker, from) in [(CLIENT, ip(address)), (STOCK, ip(address)), (STOCK, direct)] {
            net.act(asker, |host, now| host.ping(now, from, 7, 1).unwrap());
            net.run_for(PROMPT);
            let (identifier, sequence) = (7, 1);
            let host = &mut net.stations[asker].host;
            let echo = Echo {
                from,
                identifier,
                sequence,
            };
            assert_eq!(host.ping_receive(), Some(echo));
            assert_eq!(host.ping_receive(), None);
        }
        // A member acts for nothing else of the class.
        let other = address
            .replace("198.18.0.1", "198.18.0.9")
            .replace("1546::1", "1546::9");
        net.act(CLIENT, |host, now| {
            host.ping(now, ip(&other), 7, 2).unwrap();
        });
        net.run_for(SECOND * 4);
        assert_eq!(net.stations[CLIENT].host.ping_receive(), None);
    }
}

#[test]
fn one_member_answers_a_request_and_no_other_does() {
    let mut net = Net::first_link();
    for address in BOTH {
        let since = net.now;
        let owner = net.owner(address);
        net.ask(STOCK, address, PROMPT).expect("an answer");
        let answers = net.sent.iter().filter(|(at, ..)| *at >= since);
        let answers = answers.filter_map(|(_, by, frame)| match Frame::parse(frame) {
            Ok(Frame::Answer(answer)) if answer.target == ip(address) => Some((*by, answer.stated)),
            _ => None,
        });
        let mac = mac(net.stations[owner].number);
        assert_eq!(answers.collect::<Vec<_>>(), [(owner, Some(mac))]);
    }
}

#[test]
fn a_connection_to_the_anycast_address_is_one_with_a_member() {
    let mut net = Net::first_link();
    for address in BOTH {
        let owner = net.stations[net.owner(address)].number;
        let connection = net.connect(CLIENT, address);
        assert_eq!(net.talk(CLIENT, connection, PROMPT), Some(owner));
        let host = &net.stations[CLIENT].host;
        let asked = SocketAddr::new(ip(address), 80);
        assert_eq!(host.tcp_remote(connection), Some(asked));
        let member = SocketAddr::new(unicast(owner, address), 80);
        assert_eq!(host.tcp_member(connection), Some(member));
        assert_eq!(host.connections().filter(|c| c.anycast == asked).count(), 1);
    }
}

//= docs/spec/tcp.md#the-member
//= type=test
//# In mode auto a member MUST rebind a marked SYN and MUST serve any other one plain; a service that
//# is bound to A itself MUST be served plain whatever the mark says.
#[test]
fn a_stock_host_has_a_plain_connection_to_the_anycast_address() {
    let mut net = Net::first_link();
    for address in BOTH {
        let owner = net.stations[net.owner(address)].number;
        let connection = net.connect(STOCK, address);
        assert_eq!(net.talk(STOCK, connection, PROMPT), Some(owner));
        let sent = net.sent.iter().filter(|(_, by, _)| *by == STOCK);
        let [anycast, unicast] =
            [address.to_owned(), unicast(owner, address).to_string()].map(|to| {
                sent.clone()
                    .filter(|(.., f)| sent_to(&to, 80)(f, owner))
                    .count()
            });
        assert!(
            anycast > 2 && unicast == 0,
            "{anycast} segments, and {unicast} of {address}"
        );
    }
}

#[test]
fn an_end_that_is_finished_still_hears_and_a_port_without_listener_refuses() {
    let mut net = Net::first_link();
    for address in BOTH {
        let to = SocketAddr::new(unicast(net.stations[STOCK].number, address), 90);
        let connect = |net: &mut Net| {
            let connection = net.act(CLIENT, |host, now| host.tcp_connect(now, None, to).unwrap());
            net.run_for(PROMPT);
            connection
        };
        let listener = net.act(STOCK, |host, _| host.tcp_listen(to).unwrap());
        let connection = connect(&mut net);
        let accepted = net.act(STOCK, |host, _| host.tcp_accept(listener).unwrap());
        net.act(CLIENT, |host, now| host.tcp_finish(now, connection));
        net.run_for(PROMPT);
        assert!(net.stations[STOCK].host.tcp_at_end(accepted));
        net.act(STOCK, |host, now| host.tcp_send(now, accepted, b"late"));
        net.run_for(PROMPT);
        let heard = net.act(CLIENT, |host, now| host.tcp_receive(now, connection, 16));
        assert_eq!(heard, b"late");
        net.act(STOCK, |host, now| host.tcp_unlisten(now, listener));
        let refused = connect(&mut net);
        assert_eq!(net.state(CLIENT, refused), TcpState::Ended(End::Refused));
    }
}

#[test]
fn when_a_member_dies_its_connections_break_and_new_ones_go_to_the_next() {
    let mut net = Net::first_link();
    for address in BOTH {
        let connection = net.connect(CLIENT, address);
        let first = net.talk(CLIENT, connection, PROMPT).expect("an answer");
        let owner = net.owner(address);
        net.ask(STOCK, address, PROMPT).expect("an answer");
        net.stations[owner].stopped = true;
        net.run_for(DEAD + Duration::from_millis(200));
        let next = net.stations[net.owner(address)].number;
        assert_ne!(next, first);
        for station in [CLIENT, STOCK] {
            let answer = net.ask(station, address, PROMPT).expect("an answer");
            assert_eq!(answer.payload, [next], "{address} asked by {station}");
        }
        // A connection has one peer, for ever.
        assert_eq!(net.talk(CLIENT, connection, SECOND), None);
        let bound = net.stations[CLIENT].host.tcp_member(connection).unwrap();
        assert_eq!(bound.ip(), unicast(first, address));
        let another = net.connect(CLIENT, address);
        assert_eq!(net.talk(CLIENT, another, PROMPT), Some(next));
        // The program learns it when its TCP gives up.
        net.run_for(Duration::from_secs(181));
        assert_eq!(
            net.state(CLIENT, connection),
            TcpState::Ended(End::TimedOut)
        );
        net.stations[owner].stopped = false;
        net.run_for(SECOND * 3);
    }
}

#[test]
fn when_a_member_leaves_its_connections_go_on_and_new_ones_go_to_the_next() {
    let mut net = Net::first_link();
    for address in BOTH {
        let connection = net.connect(CLIENT, address);
        let first = net.talk(CLIENT, connection, PROMPT).expect("an answer");
        let owner = net.owner(address);
        net.act(owner, |host, now| {
            host.leave(now, ip(address).into()).unwrap();
        });
        net.run_for(SECOND * 5);
        let next = net.stations[net.owner(address)].number;
        assert_ne!(next, first);
        assert_eq!(net.talk(CLIENT, connection, PROMPT), Some(first));
        let another = net.connect(CLIENT, address);
        assert_eq!(net.talk(CLIENT, another, PROMPT), Some(next));
    }
}

//= docs/spec/link.md#what-a-member-s-kernel-holds
//= type=test
//# A member's kernel MUST act for an address no longer than a dead time after the member's last
//# hello.
#[test]
fn a_member_that_slept_serves_nothing_until_it_has_another_lease() {
    let mut net = Net::first_link();
    for address in BOTH {
        let owner = net.owner(address);
        let number = net.stations[owner].number;
        net.ask(CLIENT, address, PROMPT).expect("an answer");
        // What the client sends to the member meanwhile is waiting there when it wakes up.
        let (is_udp, is_syn) = (sent_to(address, 53), sent_to(address, 80));
        net.connect(CLIENT, address);
        let frames: Vec<_> = [is_udp, is_syn]
            .iter()
            .map(|wanted| {
                let mut sent = net.sent.iter().rev();
                let found = sent.find(|(_, by, frame)| *by == CLIENT && wanted(frame, number));
                found.expect("a frame").2.clone()
            })
            .collect();
        net.stations[owner].stopped = true;
        net.run_for(DEAD * 2);
        let counted = dropped(&net, owner);
        let host = &mut net.stations[owner].host;
        for frame in &frames {
            host.handle_frame(net.now, LINK, frame);
            while let Some(transmit) = host.poll_transmit() {
                let ours = Frame::parse(&transmit.frame);
                assert!(ours.is_ok(), "ARP, discovery or hamp: {ours:?}");
            }
        }
        assert_eq!(dropped(&net, owner), counted + 2);
        net.stations[owner].stopped = false;
        net.run_for(SECOND * 3);
        assert!(net.ask(CLIENT, address, PROMPT).is_some());
    }
}

#[test]
fn a_frozen_member_serves_no_more_but_keeps_its_connections() {
    let mut net = Net::first_link();
    for address in BOTH {
        let connection = net.connect(CLIENT, address);
        let first = net.talk(CLIENT, connection, PROMPT).expect("an answer");
        let owner = net.owner(address);
        net.act(owner, |host, now| host.freeze(now));
        assert!(
            net.ask(CLIENT, address, PROMPT).is_some(),
            "the lease lasts"
        );
        let since = net.now;
        net.run_for(DEAD + HELLO);
        let next = net.ask(CLIENT, address, PROMPT).expect("an answer").payload;
        assert_ne!(next, [first]);
        assert_eq!(net.talk(CLIENT, connection, PROMPT), Some(first));
        net.act(owner, |host, now| host.thaw(now));
        net.run_for(SECOND * 3);
        assert_eq!(
            net.ask(CLIENT, address, PROMPT).unwrap().payload,
            next,
            "a live entry stays"
        );
        assert_eq!(net.ask(STOCK, address, SECOND).unwrap().payload.len(), 1);
        assert!(net.events.iter().any(|(at, by, event)| {
            *at >= since && *by == owner && matches!(event, Event::Rejoined { .. })
        }));
        assert_eq!(net.talk(CLIENT, connection, PROMPT), Some(first));
    }
}

#[test]
fn a_member_that_was_frozen_for_a_moment_has_missed_nothing() {
    let mut net = Net::first_link();
    let frozen = net.owner(BOTH[0]);
    let leaver = (frozen + 1) % 3;
    let since = net.now;
    net.act(frozen, |host, now| host.freeze(now));
    net.act(leaver, |host, now| {
        host.leave(now, ip(BOTH[0]).into()).unwrap();
    });
    net.run_for(DEAD - HELLO);
    let ranked = |net: &Net| {
        let (_, link) = net.stations[frozen].host.node().links().next().unwrap();
        let ranks = link.ranks(ip(BOTH[0]));
        ranks.iter().filter(|member| !member.draining).count()
    };
    assert_eq!(ranked(&net), 3, "it has not heard of it");
    net.act(frozen, |host, now| host.thaw(now));
    assert_eq!(ranked(&net), 2, "it has read what waited");
    net.run_for(SECOND);
    assert_eq!(net.owner(BOTH[0]), frozen);
    let mut events = net.events.iter().filter(|(at, ..)| *at >= since);
    let loss = |event: &Event| match event {
        Event::Member { change, .. } => *change == Change::Dead,
        event => matches!(event, Event::Rejoined { .. }),
    };
    assert!(
        !events.any(|(.., event)| loss(event)),
        "nobody was taken for dead"
    );
}

#[test]
fn a_client_without_hamp_for_a_while_keeps_its_connections_and_is_a_stock_host() {
    let mut net = Net::first_link();
    for address in BOTH {
        let connection = net.connect(CLIENT, address);
        let first = net.talk(CLIENT, connection, PROMPT).expect("an answer");
        net.act(CLIENT, |host, now| host.freeze(now));
        let since = net.now;
        for _ in 0..70 {
            assert_eq!(net.talk(CLIENT, connection, PROMPT), Some(first));
            net.ask(CLIENT, address, SECOND).expect("an answer");
            net.run_for(SECOND);
        }
        // It has asked everybody again, and believed what it was told.
        let asked = requests(&net, CLIENT, address, since);
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert!(asked[0] <= since + Duration::from_secs(60));
        net.act(CLIENT, |host, now| host.restart(now, [9; 32], 2_000));
        net.run_for(SECOND);
        let since = net.now;
        assert_eq!(net.talk(CLIENT, connection, PROMPT), Some(first));
        net.ask(CLIENT, address, PROMPT).expect("an answer");
        assert_eq!(requests(&net, CLIENT, address, since).len(), 1);
    }
}

/// Recognises a frame to `address`, this port, at a host.
fn sent_to(address: &str, port: u16) -> impl Fn(&[u8], u8) -> bool {
    let (address, offset) = match ip(address) {
        std::net::IpAddr::V4(a) => (a.octets().to_vec(), 30),
        std::net::IpAddr::V6(a) => (a.octets().to_vec(), 38),
    };
    move |frame, number| {
        let end = offset + address.len();
        frame.starts_with(&mac(number))
            && frame.get(offset..end) == Some(&address)
            && frame.get(end + 2..end + 4) == Some(&port.to_be_bytes())
    }
}

fn dropped(net: &Net, station: usize) -> u64 {
    net.stations[station]
        .host
        .counters()
        .ignored_for(Reason::NotServed)
}

//= docs/spec/tcp.md#the-member
//= type=test
//# A member MUST answer no segment to A that belongs to no connection, but a SYN.
#[test]
fn a_member_takes_no_segment_of_no_connection_at_the_anycast_address() {
    let mut net = Net::first_link();
    for address in BOTH {
        let owner = net.owner(address);
        net.connect(STOCK, address);
        net.run_for(PROMPT);
        let number = net.stations[owner].number;
        let is_syn = sent_to(address, 80);
        let sent = net.sent.iter().rev();
        let mut found = sent.filter(|(_, by, frame)| *by == STOCK && is_syn(frame, number));
        let mut frame = found.next().expect("a SYN").2.clone();
        let before = not_a_syn(&net, owner);
        turn_into_stray(&mut frame, address);
        let sent = net.sent.len();
        net.deliver(owner, &frame);
        assert_eq!(not_a_syn(&net, owner), before + 1);
        assert_eq!(net.sent.len(), sent, "no reset");
    }
}

fn not_a_syn(net: &Net, station: usize) -> u64 {
    net.stations[station]
        .host
        .counters()
        .ignored_for(Reason::NotASyn)
}

/// Turns a SYN into an ACK from another port, its checksum with it (RFC 1624).
fn turn_into_stray(frame: &mut [u8], address: &str) {
    let tcp = if address.contains(':') { 54 } else { 34 };
    let word = |frame: &[u8], at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let mut sum = u32::from(!word(frame, tcp + 16));
    for (at, new) in [
        (tcp, 7_u16),
        (tcp + 12, word(frame, tcp + 12) & 0xffc0 | 0x10),
    ] {
        sum += u32::from(!word(frame, at)) + u32::from(new);
        frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).unwrap();
    frame[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
}

//= docs/spec/link.md#a-client-s-entries
//= type=test
//# An entry MUST NOT live for longer than 60 s, however busy it is.
#[test]
fn a_busy_client_asks_again_within_a_minute() {
    let mut net = Net::first_link();
    let since = net.now;
    for _ in 0..130 {
        for address in BOTH {
            net.ask(CLIENT, address, PROMPT).expect("an answer");
        }
        net.run_for(SECOND);
    }
    for address in BOTH {
        let asked = requests(&net, CLIENT, address, since);
        assert_eq!(asked.len(), 3, "{asked:?}");
        for pair in asked.windows(2) {
            let between = pair[1].saturating_duration_since(pair[0]);
            assert!(between <= Duration::from_secs(62), "{between:?}");
        }
    }
}

//= docs/spec/link.md#a-client-s-entries
//= type=test
//# A client MUST use the first answer that comes from a known member for the target, and no answer
//# of anybody else.
#[test]
fn a_client_learns_nothing_about_anycast_addresses_from_strangers() {
    let mut net = Net::first_link();
    let forger = mac(66);
    for address in BOTH {
        // The client's own address asked for from an anycast address, and a gratuitous claim.
        let own = unicast(100, address);
        let asked = request(forger, ip(address), own).unwrap();
        net.deliver(CLIENT, &asked);
        let claim =
            hamp::wire::frame::announcement(ip(address), forger, Some("fd00::42".parse().unwrap()));
        net.deliver(CLIENT, &claim.unwrap());
        assert!(net.ask(CLIENT, address, PROMPT).is_some());
        let known = net.stations[CLIENT].host.neighbours(LINK);
        assert!(known.into_iter().all(|(_, mac)| mac != forger));
    }
}

#[test]
fn the_same_input_gives_the_same_frames() {
    let run = |read_once| {
        let mut net = Net::new();
        net.read_once = read_once;
        let mut net = net.with_first_link();
        for address in BOTH {
            let connection = net.connect(CLIENT, address);
            net.talk(CLIENT, connection, PROMPT).expect("an answer");
            let owner = net.owner(address);
            net.stations[owner].stopped = true;
            net.run_for(SECOND);
            net.ask(STOCK, address, SECOND);
            net.stations[owner].stopped = false;
            net.run_for(SECOND);
        }
        (net.sent, net.events)
    };
    let one = run(false);
    assert!(one.0.len() > 300, "{} frames", one.0.len());
    assert!(one == run(false));
    assert!(one == run(true), "read once for all who hear them");
}

#[test]
fn a_route_that_is_set_goes_before_the_client_s_own() {
    let mut net = Net::first_link();
    let gateway = hamp::user::Route {
        via: Some(unicast(1, "")),
        ..on_link("198.18.0.0/16")
    };
    net.stations[CLIENT].host.set_routes(vec![gateway]);
    let since = net.now;
    net.ask(CLIENT, user_net::V4, PROMPT);
    assert_eq!(requests(&net, CLIENT, user_net::V4, since), []);
    assert_eq!(requests(&net, CLIENT, "10.0.0.1", since).len(), 1);
}
