//! Hosts in user space with several links, and routers among them.

mod user_net;

use std::net::SocketAddr;

use hamp::node::{Config, LinkId};
use hamp::time::Duration;
use hamp::user::{Host, Interface, Route, SocketError};
use user_net::{BOTH, LINK, Net, V4, V6, ip, mac, unicast};

const PROMPT: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);
const FAR: LinkId = LinkId(3);
const ROUTER: usize = 1;
const CLIENT: usize = 2;

/// The far side of a router: segment 1, 10.0.1.0/24 and fd01::/64.
fn far(number: u8) -> Interface {
    Interface {
        mac: mac(number + 100),
        addresses: vec![
            format!("10.0.1.{number}/24").parse().unwrap(),
            format!("fd01::{number:x}/64").parse().unwrap(),
        ],
        mtu: 1500,
    }
}

fn route(to: &str, via: &str, link: Option<LinkId>) -> Route {
    Route {
        to: to.parse().unwrap(),
        via: (!via.is_empty()).then(|| ip(via)),
        link,
        metric: 0,
    }
}

/// A member, a router between two segments, and a client on the far one.
fn routed() -> Net {
    let mut net = Net::new();
    let member = net.add(1, false);
    net.serve(member);
    let back = [
        route("10.0.1.0/24", "10.0.0.2", None),
        route("::/0", "fd00::2", None),
    ];
    net.stations[member].host.set_routes(back.to_vec());
    let router = net.add_host(2, Host::stock(2));
    net.attach(router, FAR, 1, far(2));
    let class = ["198.18.0.0/16", "2001:2:0:1546::/112"];
    let class = class.map(|class| route(class, "", Some(LINK)));
    net.stations[router].host.set_routes(class.to_vec());
    net.stations[router].host.set_forwarding(true);
    let client = net.add(3, true);
    net.act(client, |host, now| host.handle_link(now, LINK, None));
    net.attach(client, FAR, 1, far(3));
    let defaults = [
        route("0.0.0.0/0", "10.0.1.2", None),
        route("198.18.0.0/16", "10.0.1.2", None),
        route("::/0", "fd01::2", None),
        route("2001:2:0:1546::/112", "fd01::2", None),
    ];
    net.stations[client].host.set_routes(defaults.to_vec());
    net.run_for(SECOND * 2);
    net
}

#[test]
fn a_router_carries_unicast_and_anycast_packets() {
    let mut net = routed();
    for address in BOTH {
        let direct = unicast(1, address).to_string();
        for asked in [address, &direct] {
            let answer = net.ask(CLIENT, asked, PROMPT).expect("an answer");
            assert_eq!(answer.from, SocketAddr::new(ip(asked), 53));
            let connection = net.connect(CLIENT, asked);
            assert_eq!(net.talk(CLIENT, connection, PROMPT), Some(1), "{asked}");
        }
    }
}

#[test]
fn a_router_takes_one_hop_of_a_packet_s_life_and_lets_the_last_one_end() {
    let mut net = routed();
    for (address, header, life) in [(V4, 34, 22), (V6, 54, 21)] {
        net.ask(CLIENT, address, PROMPT).expect("an answer");
        let mut lives = net.sent.iter().rev().filter_map(|(_, by, frame)| {
            let to_service = frame.get(header + 2..header + 4) == Some(&53_u16.to_be_bytes());
            to_service.then(|| (*by, frame[life], frame.clone()))
        });
        let (by, left, _) = lives.next().unwrap();
        assert_eq!((by, left), (ROUTER, 63));
        let (by, left, mut frame) = lives.next().unwrap();
        assert_eq!((by, left), (CLIENT, 64));
        // The same with one hop left, and the checksum of IPv4 with it (RFC 1624).
        frame[life] = 1;
        if address == V4 {
            let sum = u32::from(u16::from_be_bytes([frame[24], frame[25]])) + (63 << 8);
            let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let sent = net.sent.len();
        net.act(ROUTER, |host, now| host.handle_frame(now, FAR, &frame));
        assert_eq!(net.sent.len(), sent);
    }
}

#[test]
fn a_host_that_does_not_forward_keeps_packets_to_itself() {
    let mut net = routed();
    net.stations[ROUTER].host.set_forwarding(false);
    for address in BOTH {
        assert_eq!(net.ask(CLIENT, address, SECOND), None);
    }
}

#[test]
fn a_packet_leaves_by_the_link_of_its_route_and_with_its_address() {
    let mut net = routed();
    for address in BOTH {
        let server = net.add(if address == V4 { 50 } else { 51 }, false);
        net.serve(server);
        let number = net.stations[server].number;
        let own = unicast(number, address);
        let connection = net.connect(ROUTER, &own.to_string());
        assert_eq!(net.talk(ROUTER, connection, PROMPT), Some(number));
        let local = net.stations[ROUTER].host.tcp_local(connection).unwrap();
        assert_eq!(local.ip(), unicast(2, address));
    }
    // Without a link there is no route.
    net.act(ROUTER, |host, now| host.handle_link(now, LINK, None));
    let to = SocketAddr::new(ip("10.0.0.1"), 80);
    let refused = net.act(ROUTER, |host, now| host.tcp_connect(now, None, to));
    assert_eq!(refused, Err(SocketError::NoRoute(to.ip())));
}

#[test]
fn a_host_reaches_the_address_that_it_serves_itself() {
    let mut net = Net::new();
    let both = net.add(1, true);
    net.serve(both);
    net.run_for(SECOND * 2);
    for address in BOTH {
        let answer = net.ask(both, address, PROMPT).expect("an answer");
        assert_eq!(answer.payload, [1]);
        let connection = net.connect(both, address);
        assert_eq!(net.talk(both, connection, PROMPT), Some(1));
        let member = net.stations[both].host.tcp_member(connection).unwrap();
        assert_eq!(member.ip(), unicast(1, address));
    }
}

#[test]
fn a_client_sends_by_the_link_where_members_are() {
    let mut net = routed();
    // The client gets a second link, to the member's segment, behind the first by its number.
    net.stations[CLIENT].host.set_routes(Vec::new());
    let near = LinkId(9);
    net.attach(CLIENT, near, 0, user_net::interface(3));
    net.run_for(SECOND * 2);
    for address in BOTH {
        let answer = net.ask(CLIENT, address, PROMPT).expect("an answer");
        assert_eq!(answer.payload, [1]);
        let bound = net.connect(CLIENT, address);
        assert_eq!(net.talk(CLIENT, bound, PROMPT), Some(1));
        let local = net.stations[CLIENT].host.tcp_local(bound).unwrap();
        assert_eq!(local.ip(), unicast(3, address));
    }
}

#[test]
fn hamp_takes_part_on_the_links_that_it_was_given_alone() {
    let mut net = Net::new();
    let config = Config {
        client: true,
        ..Config::default()
    };
    let mut host = Host::new(config, [1; 32], 1, 1);
    host.speak_on([LINK]);
    let both = net.add_host(1, host);
    net.serve(both);
    net.attach(both, FAR, 1, far(1));
    net.run_for(SECOND * 2);
    let node = net.stations[both].host.node();
    let links: Vec<_> = node.links().map(|(link, _)| link).collect();
    assert_eq!(links, [LINK]);
    // Nor does the class lead there when the other link is gone.
    net.act(both, |host, now| host.handle_link(now, LINK, None));
    let to = SocketAddr::new(ip("198.18.7.7"), 80);
    let refused = net.act(both, |host, now| host.tcp_connect(now, None, to));
    assert_eq!(refused, Err(SocketError::NoRoute(to.ip())));
}
