//! Routers in virtual time: what members say becomes routes, and of two routers one stands in.

use std::net::IpAddr;
use std::time::Duration;

use hamp::node::{
    Config, Event, Family, JoinOptions, LinkId, LinkState, Node, Route, RouterConfig,
};
use hamp::proto::member::{Identity, Member, Speech};
use hamp::proto::{Reason, Timing};
use hamp::time::Instant;
use hamp::wire::frame::{self, Frame};
use hamp::wire::{Authentication, MemberId, Message, Query, Record, RecordAddress, Scope};
use testbed::Topology;
use testbed::sim::Sim;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
/// What a report takes from a member's call to a router's table, beyond what the member waits.
const SLACK: Duration = Duration::from_millis(5);
const LISTEN: Duration = Duration::from_millis(500);
const DEAD: Duration = Duration::from_secs(3);
const V4: &str = "198.18.0.1";
const V6: &str = "2001:2:0:1546::1";
/// The first and the second interface of every host.
const WEST: LinkId = LinkId(2);
const EAST: LinkId = LinkId(3);

/// Members a1 to a3 and a stock host in the west, b1 and b2 in the east, and two routers between
/// them, of which r1 has the lower address in the west and r2 in the east. Those of `hosts` run.
fn started(router: &str, hosts: &[&str]) -> Sim {
    let mut site = Topology::new("site").switch("west").switch("east");
    let both = |net: u8, host: u8| {
        [
            format!("10.{net}.0.{host}/24"),
            format!("fd00:{net}::{host}/64"),
        ]
    };
    for (net, name, count) in [(1, "a", 3), (2, "b", 2)] {
        let switch = if net == 1 { "west" } else { "east" };
        for number in 1..=count {
            let host = site.host(&format!("{name}{number}"));
            site = host.link(switch, &both(net, number));
        }
    }
    for (name, west, east) in [("r1", 11, 12), ("r2", 12, 11)] {
        let host = site.host(name).link("west", &both(1, west));
        site = host.link("east", &both(2, east));
    }
    let site = site.host("stock").link("west", &both(1, 100));
    let mut sim = Sim::new(&site, 1).unwrap();
    sim.record();
    sim.run_for(SECOND);
    for host in ["a1", "a2", "a3", "b1", "b2"] {
        sim.configure(host, "").unwrap();
    }
    for host in ["r1", "r2"] {
        let text = format!("[router]\n{router}\n");
        sim.configure(host, &text).unwrap();
    }
    hosts.iter().for_each(|host| sim.start(host).unwrap());
    sim.run_for(5 * SECOND);
    sim
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(sim: &Sim, router: &str, address: &str) -> Option<Route> {
    let node = sim.node(router).unwrap().unwrap();
    let mut routes = node.router().unwrap().routes();
    routes.find(|route| route.prefix == ip(address).into())
}

/// The next hops of an address.
fn hops(sim: &Sim, router: &str, address: &str) -> Vec<String> {
    let route = route(sim, router, address);
    let hops = route.iter().flat_map(|route| route.hops.iter());
    hops.map(|hop| hop.address.to_string()).collect()
}

fn join(sim: &mut Sim, host: &str, address: &str, options: JoinOptions) {
    let join = |node: &mut Node, now| node.join(now, ip(address).into(), options);
    sim.act(host, join).unwrap().unwrap();
}

fn preferring(preference: u16) -> JoinOptions {
    JoinOptions {
        preference,
        ..JoinOptions::default()
    }
}

fn carried(scope: Scope) -> JoinOptions {
    JoinOptions {
        scope,
        ..JoinOptions::default()
    }
}

/// What a host's node has told since `since`.
fn told(sim: &Sim, host: &str, since: Instant) -> Vec<(Instant, Event)> {
    let events = sim
        .events()
        .iter()
        .filter(|e| e.at >= since && sim.name(e.host) == host);
    events.map(|e| (e.at, e.event.clone())).collect()
}

/// Queries that hosts have sent since `since`: when, who, what. Of two copies, the first.
fn queries(sim: &Sim, since: Instant) -> Vec<(Instant, String, Query)> {
    let captured = sim.frames().unwrap();
    let mut queries: Vec<(Instant, String, Query)> = Vec::new();
    for sent in captured.frames.iter().filter(|frame| frame.from_host) {
        let at = Instant::from_micros(sent.at.0 / 1000);
        let host = &captured.links[sent.link].host;
        if let Ok(Frame::Message { payload, .. }) = Frame::parse(&sent.bytes)
            && let Ok(Message::Query { query, .. }) = Message::decode(payload)
            && at >= since
            && !queries
                .iter()
                .any(|(_, _, known)| known.nonce == query.nonce)
        {
            queries.push((at, host.clone(), query));
        }
    }
    queries
}

/// Answers for `target` that hosts have sent in the west since `since`: announcements, or others.
fn answers(sim: &Sim, since: Instant, target: &str, announced: bool) -> Vec<(Instant, String)> {
    let captured = sim.frames().unwrap();
    let sent = captured.frames.iter().filter(|frame| frame.from_host);
    let answers = sent.filter_map(|sent| {
        let at = Instant::from_micros(sent.at.0 / 1000);
        let Ok(Frame::Answer(answer)) = Frame::parse(&sent.bytes) else {
            return None;
        };
        let wanted = answer.target == ip(target) && answer.announcement == announced;
        (wanted && at >= since).then(|| (at, captured.links[sent.link].host.clone()))
    });
    answers.collect()
}

// ===== The table and the routes =====

#[test]
fn a_join_a_leave_and_a_death_reach_the_router_in_time() {
    let mut sim = started("", &["r1", "a1", "b1"]);
    join(&mut sim, "a1", V4, JoinOptions::default());
    join(&mut sim, "a1", V6, JoinOptions::default());
    sim.run_for(LISTEN - SLACK);
    assert!(hops(&sim, "r1", V4).is_empty());
    sim.run_for(2 * SLACK);
    assert_eq!(hops(&sim, "r1", V4), ["10.1.0.1"]);
    assert_eq!(hops(&sim, "r1", V6), ["fd00:1::1"]);
    let hop = route(&sim, "r1", V4).unwrap().hops[0];
    assert_eq!(hop.link, WEST);
    let a1 = sim
        .node("a1")
        .unwrap()
        .unwrap()
        .links()
        .next()
        .unwrap()
        .1
        .state()
        .unwrap()
        .mac;
    assert_eq!(hop.mac, a1);
    // Members on two links are next hops side by side, and each is lost for itself.
    join(&mut sim, "b1", V4, JoinOptions::default());
    sim.run_for(LISTEN + SLACK);
    assert_eq!(hops(&sim, "r1", V4), ["10.1.0.1", "10.2.0.1"]);
    assert_eq!(route(&sim, "r1", V4).unwrap().hops[1].link, EAST);
    sim.run_for(2 * SECOND);
    sim.leave("a1", V4).unwrap();
    sim.run_for(SLACK);
    //= docs/spec/router.md#the-table
    //= type=test
    //# A router MUST take out the records of a member that is dead or has left.
    assert_eq!(hops(&sim, "r1", V4), ["10.2.0.1"]);
    assert_eq!(hops(&sim, "r1", V6), ["fd00:1::1"]);
    let since = sim.now();
    sim.kill_hamp("b1").unwrap();
    sim.kill_hamp("a1").unwrap();
    sim.run_for(DEAD + SLACK);
    assert!(hops(&sim, "r1", V4).is_empty());
    assert!(hops(&sim, "r1", V6).is_empty());
    let gone = |(_, event): &&(Instant, Event)| matches!(event, Event::Route { hops, .. } if hops.is_empty());
    assert_eq!(told(&sim, "r1", since).iter().filter(gone).count(), 2);
}

#[test]
fn hellos_change_no_route() {
    let mut sim = started("", &["r1", "a1", "a2"]);
    join(&mut sim, "a1", V4, JoinOptions::default());
    join(&mut sim, "a2", V4, JoinOptions::default());
    sim.run_for(3 * SECOND);
    let since = sim.now();
    sim.run_for(60 * SECOND);
    let routes = |(_, event): &&(Instant, Event)| matches!(event, Event::Route { .. });
    assert_eq!(told(&sim, "r1", since).iter().filter(routes).count(), 0);
    assert_eq!(hops(&sim, "r1", V4).len(), 2);
}

#[test]
fn the_preferred_carry_the_traffic_and_those_that_leave_only_when_nobody_else_does() {
    let mut sim = started("", &["r1", "a1", "a2", "a3"]);
    join(&mut sim, "a1", V4, preferring(100));
    join(&mut sim, "a2", V4, preferring(200));
    join(&mut sim, "a3", V4, preferring(200));
    sim.run_for(SECOND);
    //= docs/spec/router.md#routes
    //= type=test
    //# The next hops of a prefix MUST be of those members that are best by these, in this order: not
    //# draining before draining; higher preference.
    assert_eq!(hops(&sim, "r1", V4), ["10.1.0.2", "10.1.0.3"]);
    sim.leave("a2", V4).unwrap();
    sim.run_for(SLACK);
    assert_eq!(hops(&sim, "r1", V4), ["10.1.0.3"]);
    sim.leave("a3", V4).unwrap();
    sim.run_for(SLACK);
    assert_eq!(
        hops(&sim, "r1", V4),
        ["10.1.0.1"],
        "a3 drains and is preferred"
    );
    let table = sim.node("r1").unwrap().unwrap().router().unwrap();
    assert_eq!(
        table.members(ip(V4).into()).count(),
        3,
        "they serve on for a while"
    );
    assert_eq!(table.memberships(), 3);
    sim.run_for(2 * SECOND);
    let table = sim.node("r1").unwrap().unwrap().router().unwrap();
    assert_eq!(table.memberships(), 1);
}

#[test]
fn a_route_goes_no_further_than_any_of_its_members_may() {
    let mut sim = started("", &["r1", "a1", "a2", "a3"]);
    join(&mut sim, "a1", V4, carried(Scope::Link));
    sim.run_for(SECOND);
    //= docs/spec/router.md#routes
    //= type=test
    //# A router MUST NOT make a route of a record of scope link, or of a scope that it does not know.
    assert_eq!(route(&sim, "r1", V4), None);
    join(&mut sim, "a2", V4, carried(Scope::Global));
    sim.run_for(SECOND);
    assert_eq!(route(&sim, "r1", V4).unwrap().scope, Scope::Global);
    join(&mut sim, "a3", V4, carried(Scope::Site));
    sim.run_for(SECOND);
    let shared = route(&sim, "r1", V4).unwrap();
    //= docs/spec/router.md#routes
    //= type=test
    //# A route MUST NOT have a wider scope than the record of any of its next hops.
    assert_eq!((shared.scope, shared.hops.len()), (Scope::Site, 2));
    sim.leave("a3", V4).unwrap();
    sim.run_for(SLACK);
    assert_eq!(route(&sim, "r1", V4).unwrap().scope, Scope::Global);
}

#[test]
fn a_bounded_set_of_next_hops_keeps_those_it_has() {
    let mut sim = started("ecmp = 2", &["r1", "a1", "a2", "a3"]);
    for host in ["a2", "a3"] {
        join(&mut sim, host, V4, JoinOptions::default());
        sim.run_for(SECOND);
    }
    join(&mut sim, "a1", V4, JoinOptions::default());
    sim.run_for(SECOND);
    //= docs/spec/router.md#routes
    //= type=test
    //# A router MUST bound the next hops of a route; a next hop MUST stay one as long as it is among
    //# the best.
    assert_eq!(hops(&sim, "r1", V4), ["10.1.0.2", "10.1.0.3"]);
    sim.kill_hamp("a2").unwrap();
    sim.run_for(DEAD + SLACK);
    assert_eq!(hops(&sim, "r1", V4), ["10.1.0.1", "10.1.0.3"]);
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_taken_in_when_there_is_room() {
    let mut sim = started("memberships = 3", &["r1", "a1", "a2"]);
    let (one, two) = (["198.18.0.1", "198.18.0.2"], ["198.18.0.3", "198.18.0.4"]);
    one.iter()
        .for_each(|address| join(&mut sim, "a1", address, JoinOptions::default()));
    sim.run_for(SECOND);
    let since = sim.now();
    two.iter()
        .for_each(|address| join(&mut sim, "a2", address, JoinOptions::default()));
    sim.run_for(SECOND);
    let count = |sim: &Sim| {
        sim.node("r1")
            .unwrap()
            .unwrap()
            .router()
            .unwrap()
            .memberships()
    };
    //= docs/spec/router.md#the-table
    //= type=test
    //# A router MUST bound the memberships that it keeps.
    assert_eq!(count(&sim), 2);
    let a2 = sim
        .node("a2")
        .unwrap()
        .unwrap()
        .links()
        .next()
        .unwrap()
        .1
        .member()
        .identity()
        .id;
    let refused = |(_, event): &&(Instant, Event)| {
        *event
            == Event::Refused {
                link: WEST,
                id: a2,
                reason: Reason::RouterLimit,
            }
    };
    assert_eq!(told(&sim, "r1", since).iter().filter(refused).count(), 1);
    let node = sim.node("r1").unwrap().unwrap();
    assert_eq!(node.counters().ignored_for(Reason::RouterLimit), 1);
    let west = node.links().next().unwrap().1;
    assert_eq!(
        west.refused()
            .map(|(id, why, _)| (id, why))
            .collect::<Vec<_>>(),
        [(a2, Reason::RouterLimit)]
    );
    // One more than a member has does not cost it those that it has.
    join(&mut sim, "a1", "198.18.0.5", JoinOptions::default());
    join(&mut sim, "a1", "198.18.0.6", JoinOptions::default());
    sim.run_for(SECOND);
    //= docs/spec/router.md#the-table
    //= type=test
    //# A router MUST NOT give up a membership that it has for one that does not fit.
    assert_eq!(hops(&sim, "r1", one[0]), ["10.1.0.1"]);
    assert!(count(&sim) <= 3);
    sim.kill_hamp("a1").unwrap();
    sim.run_for(DEAD + SLACK);
    assert_eq!(hops(&sim, "r1", two[1]), ["10.1.0.2"]);
    assert_eq!(count(&sim), 2);
}

#[test]
fn a_member_may_ask_to_be_forgotten_sooner_than_it_dies() {
    let state = |number: u8| LinkState {
        mac: [2, 0, 0, 0, 0, number],
        ipv4: Some([10, 0, 0, number].into()),
        ipv6: None,
        mtu: 1500,
    };
    let config = Config {
        router: Some(RouterConfig::default()),
        ..Config::default()
    };
    let mut router = Node::new(config, [9; 32], 1);
    let mut now = Instant::from_millis(1_000);
    router.handle_link(now, WEST, Some(state(9)));
    let identity = Identity {
        id: MemberId([1; 16]),
        interface: 2,
        mac: state(1).mac,
        ipv4: state(1).ipv4,
        ipv6: None,
        mtu: 1500,
        sealing: 0,
    };
    let mut member = Member::new(identity, Timing::default(), [1; 32], 1);
    let record = |address: &str, lifetime| Record {
        address: RecordAddress::Prefix(ip(address).into()),
        draining: false,
        scope: Scope::Global,
        preference: 100,
        lifetime,
        serial: None,
    };
    member.join(now, record("198.18.0.1", 3 * SECOND));
    member.join(now, record("198.18.0.2", 3 * SECOND / 2));
    // The member falls silent after its hello at 5 s, and is heard again at 7 s.
    let mut random = hamp::proto::random::Random::new(1);
    let mut seen = Vec::new();
    for _ in 0..1200 {
        now += 10 * MILLI;
        let silent = (5_500..6_800).contains(&(now.as_micros() / 1000));
        member.handle_timeout(now, &mut random);
        while member.poll_event().is_some() {}
        while let Some(speech) = member.poll_transmit() {
            let member = identity.id;
            let message = match speech {
                Speech::Hello(hello) => Message::Hello { member, hello },
                Speech::Statement(statement) => Message::Statement {
                    member,
                    statement,
                    authentication: Authentication::None,
                },
            };
            if !silent {
                let frame = frame::message(identity.mac, ip("10.0.0.1"), &message.encode());
                router.handle_frame(now, WEST, &frame, false);
            }
        }
        router.handle_timeout(now);
        while router.poll_transmit().is_some() || router.poll_event().is_some() {}
        let count = router.router().unwrap().route_count();
        if seen.last().is_none_or(|(_, last)| *last != count) {
            seen.push((now.as_micros() / 1000, count));
        }
    }
    //= docs/spec/router.md#the-table
    //= type=test
    //# A router MUST take a record out of its table when the record's lifetime has passed since the
    //# member's last sign of life, and put it back with the next one.
    let counts: Vec<_> = seen.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [0, 2, 1, 2], "{seen:?}");
    let (lapsed, back) = (seen[2].0, seen[3].0);
    assert!((6_500..=6_510).contains(&lapsed), "{seen:?}");
    assert!((7_000..=7_010).contains(&back), "{seen:?}");
}

// ===== The election =====

#[test]
fn the_lowest_address_is_forwarder_and_the_next_takes_over() {
    let mut sim = started("", &["r1", "r2", "a1"]);
    let id = |sim: &Sim, host: &str| {
        let (_, link) = sim.node(host).unwrap().unwrap().links().next().unwrap();
        link.member().identity().id
    };
    // Both are heard, though they serve nothing.
    let (_, link) = sim.node("a1").unwrap().unwrap().links().next().unwrap();
    let routers = link
        .peers()
        .filter(|(_, peer)| peer.is_router() && peer.records().is_empty());
    //= docs/spec/router.md#routers
    //= type=test
    //# A router MUST send statements and hellos on its links though it serves nothing.
    assert_eq!(routers.count(), 2);
    let forwarders = |sim: &Sim, host: &str| -> Vec<bool> {
        let links = sim.node(host).unwrap().unwrap().links();
        let known = links.flat_map(|(_, link)| Family::ALL.map(|family| link.forwarder(family)));
        known.map(|forwarder| forwarder.unwrap().own).collect()
    };
    //= docs/spec/router.md#election
    //= type=test
    //# The forwarder of a family MUST be the live router with the lowest unicast address of that
    //# family on the link; of equal addresses, the one with the lower id.
    assert_eq!(forwarders(&sim, "r1"), [true, true, false, false]);
    assert_eq!(forwarders(&sim, "r2"), [false, false, true, true]);
    let first = id(&sim, "r1");
    let since = sim.now();
    sim.kill_hamp("r1").unwrap();
    sim.run_for(DEAD + SLACK);
    assert_eq!(forwarders(&sim, "r2"), [true; 4]);
    let changes = |(_, event): &&(Instant, Event)| matches!(event, Event::Forwarder { .. });
    assert_eq!(told(&sim, "r2", since).iter().filter(changes).count(), 2);
    // Back again, it is the lowest again; and a router that leaves says so.
    sim.start("r1").unwrap();
    sim.run_for(LISTEN + SLACK);
    assert_eq!(forwarders(&sim, "r2"), [false, false, true, true]);
    assert_eq!(id(&sim, "r1"), first);
    sim.run_for(SECOND);
    sim.act("r1", |node, now| node.shutdown(now)).unwrap();
    sim.run_for(SLACK);
    assert_eq!(forwarders(&sim, "r2"), [true; 4]);
}

#[test]
fn the_querier_alone_asks_every_125_s() {
    let mut sim = started("", &["r1", "r2", "a1"]);
    let since = sim.now();
    sim.run_for(380 * SECOND);
    let queries = queries(&sim, since);
    let ours = queries
        .iter()
        .filter(|(_, _, query)| query.target == MemberId::EVERYBODY);
    let (mut west, mut east) = (Vec::new(), 0);
    for (at, host, query) in ours {
        //= docs/spec/router.md#election
        //= type=test
        //# The querier MUST query everybody every 125 s, with the flag anchor.
        assert!(query.anchor && !query.refresh);
        assert_eq!(query.interval, 125 * SECOND);
        if host == "r1" {
            west.push(*at);
        } else {
            assert_eq!(host, "r2", "the lowest in the east");
            east += 1;
        }
    }
    assert_eq!((west.len(), east), (3, 3));
    assert!(
        west.windows(2)
            .all(|two| two[1] - Duration::from_secs(125) == two[0]),
        "{west:?}"
    );
}

// ===== The proxy =====

#[test]
fn the_forwarder_answers_for_members_elsewhere_and_after_members_here() {
    let mut sim = started("", &["r1", "r2", "a1", "b1"]);
    join(&mut sim, "b1", V4, JoinOptions::default());
    join(&mut sim, "b1", V6, JoinOptions::default());
    sim.run_for(SECOND);
    for target in [V4, V6] {
        let since = sim.now();
        sim.resolve("stock", "eth0", ip(target)).unwrap();
        sim.run_for(SECOND);
        //= docs/spec/router.md#proxy
        //= type=test
        //# The routers of a link that have a route to an address that no member on the link serves
        //# MUST answer for it as members do, the forwarder as the member of rank 1 and each further
        //# one, in the order of the election, as one of the next rank.
        let answered = answers(&sim, since, target, false);
        assert_eq!(
            answered
                .iter()
                .map(|(_, host)| host.as_str())
                .collect::<Vec<_>>(),
            ["r1"]
        );
        assert!(answered[0].0 <= since + SLACK);
    }
    // An address that nobody serves is nobody's, unless another routing daemon leads there.
    let since = sim.now();
    sim.resolve("stock", "eth0", ip("198.18.9.9")).unwrap();
    sim.run_for(SECOND);
    assert_eq!(answers(&sim, since, "198.18.9.9", false), []);
    for router in ["r1", "r2"] {
        sim.act(router, |node, _| {
            node.set_remote(["198.18.9.0/24".parse().unwrap()]);
        })
        .unwrap();
    }
    sim.resolve("stock", "eth0", ip("198.18.9.9")).unwrap();
    sim.run_for(SECOND);
    assert_eq!(answers(&sim, since, "198.18.9.9", false).len(), 1);
    // A member here comes first. When it is silent, the forwarder answers the third request.
    join(&mut sim, "a1", V4, JoinOptions::default());
    sim.run_for(5 * SECOND);
    let since = sim.now();
    sim.resolve("stock", "eth0", ip(V4)).unwrap();
    sim.run_for(2 * SECOND);
    assert_eq!(answers(&sim, since, V4, false)[0].1, "a1");
    assert_eq!(answers(&sim, since, V4, false).len(), 1);
    sim.kill_hamp("a1").unwrap();
    let since = sim.now();
    for _ in 0..3 {
        sim.resolve("stock", "eth0", ip(V4)).unwrap();
        sim.run_for(700 * MILLI);
    }
    let late = answers(&sim, since, V4, false);
    //= docs/spec/router.md#proxy
    //= type=test
    //# Where members on the link serve it too, the forwarder alone MUST answer, as one of the lowest
    //# rank.
    assert_eq!(
        late.iter()
            .map(|(_, host)| host.as_str())
            .collect::<Vec<_>>(),
        ["r1"]
    );
    assert!(late[0].0 >= since + 1400 * MILLI);
    // Once it is dead, caches are told.
    sim.run_for(DEAD);
    let announced = answers(&sim, since, V4, true);
    //= docs/spec/router.md#proxy
    //= type=test
    //# When the last member of an address on the link is gone, the forwarder MUST announce the address
    //# as a member of rank 1 does, if a host has asked for it.
    assert_eq!(announced[0].1, "r1");
    assert!(announced[0].0 <= since + DEAD + SLACK);
    assert_eq!(answers(&sim, since, V6, true), []);
}

/// Hosts in the west have asked for both addresses, which a member in the east serves.
fn asked() -> Sim {
    let mut sim = started("", &["r1", "r2", "b1"]);
    for target in [V4, V6] {
        join(&mut sim, "b1", target, JoinOptions::default());
    }
    sim.run_for(SECOND);
    for target in [V4, V6] {
        sim.resolve("stock", "eth0", ip(target)).unwrap();
    }
    sim.run_for(2 * SECOND);
    sim
}

/// Who announced `target`, and how often.
fn announcers(sim: &Sim, since: Instant, target: &str) -> Vec<String> {
    let told = answers(sim, since, target, true).into_iter();
    told.map(|(_, host)| host).collect()
}

#[test]
fn the_successor_of_a_forwarder_tells_the_link() {
    for orderly in [true, false] {
        let mut sim = asked();
        let since = sim.now();
        let within = if orderly {
            sim.act("r1", |node, now| node.shutdown(now)).unwrap();
            SLACK
        } else {
            sim.kill_hamp("r1").unwrap();
            DEAD + SLACK
        };
        sim.run_for(8 * SECOND);
        for target in [V4, V6] {
            //= docs/spec/router.md#proxy
            //= type=test
            //# A router that becomes forwarder because the one before is gone, or is a router no longer,
            //# MUST announce what hosts have asked for and no member on the link serves, if it has a
            //# route to it.
            assert_eq!(announcers(&sim, since, target), ["r2"; 3], "{target}");
            assert!(answers(&sim, since, target, true)[0].0 <= since + within);
        }
        // One that comes, and is forwarder for its address, leaves what leads to the other as it is.
        if orderly {
            sim.kill_hamp("r1").unwrap();
        }
        let since = sim.now();
        sim.start("r1").unwrap();
        sim.run_for(8 * SECOND);
        let (_, west) = sim.node("r1").unwrap().unwrap().links().next().unwrap();
        assert!(west.forwarder(Family::V4).is_some_and(|first| first.own));
        assert!(announcers(&sim, since, V4).is_empty());
    }
}

#[test]
fn a_forwarder_without_a_route_leaves_the_answer_to_one_that_has_a_route() {
    let mut sim = asked();
    let since = sim.now();
    sim.carrier("r1", "eth1", false).unwrap();
    sim.run_for(4 * SECOND);
    for target in [V4, V6] {
        //= docs/spec/router.md#proxy
        //= type=test
        //# A router that has a route to an address that no member on the link serves MUST announce it
        //# when the forwarder asks for it: the second in line at once, each further one 100 ms later,
        //# unless another router has by then.
        //= docs/spec/router.md#proxy
        //= type=test
        //# A forwarder that loses its route to an address that hosts have asked for, and that no member
        //# on the link serves, MUST ask for it by ARP or neighbour discovery, three times at intervals
        //# of 1.1 s.
        let told = announcers(&sim, since, target);
        assert!(
            told.len() >= 3 && told.iter().all(|host| host == "r2"),
            "{told:?}"
        );
        let first = answers(&sim, since, target, true)[0].0;
        assert!(
            first <= since + SLACK,
            "{:?}",
            first - since.saturating_duration_since(Instant::ZERO)
        );
        // Whoever asks now is answered the second time.
        let since = sim.now();
        for _ in 0..2 {
            sim.resolve("stock", "eth0", ip(target)).unwrap();
            sim.run_for(1020 * MILLI);
        }
        //= docs/spec/router.md#proxy
        //= type=test
        //# A router MUST NOT answer for an address that it has no route to off the link.
        let answered: Vec<_> = answers(&sim, since, target, false)
            .into_iter()
            .map(|(_, host)| host)
            .collect();
        assert_eq!(answered, ["r2"]);
    }
}

#[test]
fn a_clients_entry_follows_the_router_that_announces() {
    let mut sim = started("", &["r1", "r2", "b1"]);
    sim.configure("a3", "[client]\n").unwrap();
    sim.start("a3").unwrap();
    join(&mut sim, "b1", V4, JoinOptions::default());
    sim.run_for(2 * SECOND);
    sim.resolve("a3", "eth0", ip(V4)).unwrap();
    sim.run_for(SECOND);
    let entry = |sim: &Sim| {
        let (_, link) = sim.node("a3").unwrap().unwrap().links().next().unwrap();
        link.neighbours().next().map(|(_, entry)| entry.member)
    };
    let id = |sim: &Sim, router: &str| {
        let (_, link) = sim.node(router).unwrap().unwrap().links().next().unwrap();
        Some(link.member().identity().id)
    };
    assert_eq!(entry(&sim), id(&sim, "r1"));
    sim.carrier("r1", "eth1", false).unwrap();
    sim.run_for(SECOND);
    //= docs/spec/link.md#a-client-s-entries
    //= type=test
    //# A client that knows no member for the target MUST move its entry to another router that
    //# announces the target.
    assert_eq!(entry(&sim), id(&sim, "r2"));
}

#[test]
fn an_address_that_moves_off_the_link_later_is_announced_then() {
    let mut sim = started("", &["r1", "r2", "a1", "b1"]);
    join(&mut sim, "a1", V4, JoinOptions::default());
    sim.run_for(SECOND);
    sim.resolve("stock", "eth0", ip(V4)).unwrap();
    sim.run_for(2 * SECOND);
    sim.kill_hamp("a1").unwrap();
    sim.run_for(5 * SECOND);
    let since = sim.now();
    join(&mut sim, "b1", V4, JoinOptions::default());
    sim.run_for(5 * SECOND);
    //= docs/spec/router.md#proxy
    //= type=test
    //# A forwarder that gets a route to an address whose last member on the link is gone MUST
    //# announce it, if a host has asked for it.
    assert_eq!(announcers(&sim, since, V4), ["r1"; 3]);
}

#[test]
fn a_router_that_may_not_stand_in_is_silent() {
    let mut sim = started("proxy = false", &["r1", "b1"]);
    join(&mut sim, "b1", V4, JoinOptions::default());
    sim.run_for(SECOND);
    let since = sim.now();
    sim.resolve("stock", "eth0", ip(V4)).unwrap();
    sim.run_for(SECOND);
    assert_eq!(answers(&sim, since, V4, false), []);
    assert_eq!(hops(&sim, "r1", V4), ["10.2.0.1"]);
}

// ===== Recovery =====

fn recovered(sim: &Sim, since: Instant) -> Vec<Instant> {
    let told = told(sim, "r1", since).into_iter();
    told.filter(|(_, event)| *event == Event::Recovered)
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn a_router_that_starts_asks_for_everything_and_says_when_it_has_it() {
    let mut sim = started("", &["r1", "a1", "a2", "b1"]);
    for host in ["a1", "a2", "b1"] {
        for number in 1..=200 {
            join(
                &mut sim,
                host,
                &format!("198.18.1.{number}"),
                JoinOptions::default(),
            );
        }
    }
    sim.run_for(3 * SECOND);
    sim.kill_hamp("r1").unwrap();
    sim.run_for(SECOND);
    let since = sim.now();
    sim.start("r1").unwrap();
    sim.run_for(150 * MILLI);
    let count = |sim: &Sim| {
        sim.node("r1")
            .unwrap()
            .unwrap()
            .router()
            .unwrap()
            .memberships()
    };
    assert_eq!(count(&sim), 600, "within the maximum response");
    assert_eq!(recovered(&sim, since), []);
    sim.run_for(10 * SECOND);
    let general = queries(&sim, since).into_iter();
    let general = general.filter(|(_, _, query)| query.target == MemberId::EVERYBODY);
    let asked: Vec<_> = general
        .map(|(at, _, query)| (at, query.refresh, query.anchor))
        .collect();
    //= docs/spec/router.md#recovery
    //= type=test
    //# A router that starts, or has lost its table, MUST query everybody twice, the first time with
    //# the flag refresh.
    assert_eq!(
        asked,
        [
            (since, true, false),
            (since, true, false),
            (since + SECOND, false, true),
            (since + SECOND, false, true)
        ],
        "on both links"
    );
    //= docs/spec/router.md#recovery
    //= type=test
    //# Recovery MUST NOT end before a dead time of the router has passed, nor while a question for
    //# records is unanswered or a report incomplete, and MUST end after 60 s.
    let ended = recovered(&sim, since);
    assert_eq!(ended.len(), 1);
    assert!(
        ended[0] >= since + DEAD && ended[0] <= since + DEAD + SLACK,
        "{ended:?}"
    );
}

#[test]
fn a_member_whose_report_never_comes_holds_recovery_up_for_a_minute_at_most() {
    let mut sim = started("", &["a1"]);
    join(&mut sim, "a1", V4, JoinOptions::default());
    sim.run_for(3 * SECOND);
    let since = sim.now();
    sim.start("r1").unwrap();
    // Hellos of a member that nobody can ask: a stock host plays them, captured from another link.
    let chain = hamp::proto::chain::Chain::new(MemberId([7; 16]), [7; 16], 0);
    for index in 1..=70 {
        let hello = hamp::wire::Hello {
            chain: [7; 8],
            index,
            value: chain.value(index).unwrap(),
        };
        let message = Message::Hello {
            member: MemberId([7; 16]),
            hello,
        }
        .encode();
        let frame = frame::message([2, 9, 9, 9, 9, 9], ip("10.1.0.77"), &message);
        for _ in 0..4 {
            sim.send("stock", "eth0", frame.clone()).unwrap();
            sim.run_for(250 * MILLI);
        }
    }
    let ended = recovered(&sim, since);
    assert_eq!(ended.len(), 1);
    assert!(
        ended[0] >= since + 59 * SECOND && ended[0] <= since + 61 * SECOND,
        "{ended:?}"
    );
    assert_eq!(hops(&sim, "r1", V4), ["10.1.0.1"]);
}

#[test]
fn a_router_that_slept_keeps_its_routes_until_it_knows_better() {
    let mut sim = started("", &["r1", "a1", "a2"]);
    join(&mut sim, "a1", V4, JoinOptions::default());
    join(&mut sim, "a2", "198.18.0.2", JoinOptions::default());
    sim.run_for(3 * SECOND);
    sim.freeze("r1").unwrap();
    sim.run_for(10 * SECOND);
    sim.kill_hamp("a2").unwrap();
    sim.run_for(20 * SECOND);
    let since = sim.now();
    sim.thaw("r1").unwrap();
    sim.run_for(2 * SECOND);
    //= docs/spec/router.md#recovery
    //= type=test
    //# A router that finds that it slept for its dead time MUST keep its routes until members say
    //# otherwise or recovery ends.
    let lost = |(_, event): &&(Instant, Event)| matches!(event, Event::Route { hops, .. } if hops.is_empty());
    assert_eq!(told(&sim, "r1", since).iter().filter(lost).count(), 0);
    assert_eq!(hops(&sim, "r1", "198.18.0.2"), ["10.1.0.2"]);
    sim.run_for(3 * SECOND);
    //= docs/spec/router.md#recovery
    //= type=test
    //# Members that were not heard when recovery ends MUST be taken out of the table.
    assert!(hops(&sim, "r1", "198.18.0.2").is_empty());
    assert_eq!(hops(&sim, "r1", V4), ["10.1.0.1"]);
    assert_eq!(recovered(&sim, since).len(), 1);
}
