//! Routes to members in a real kernel: put there in bulk, taken over, taken away; and what they do to
//! packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hamp::addr::{Class, Prefix};
use hamp::linux::fib::{DISCARD, Fib, Hop, Multipath, Op, Target};
use hamp::linux::netlink::{Bulk, Foreign};
use testbed::harness::skip;
use testbed::{Host, Lab, Topology, wait};

const LIMIT: Duration = Duration::from_secs(10);
const METRIC: u32 = 15;
const CLASS: [&str; 2] = ["198.18.0.0/16", "2001:2:0:1546::/112"];
const SERVICE: [&str; 2] = ["198.18.0.1", "2001:2:0:1546::1"];
const FLOWS: usize = 240;

fn main() -> ExitCode {
    testbed::init();
    testbed::harness::main(&[
        (
            "thousands_come_and_go_at_once",
            thousands_come_and_go_at_once,
        ),
        ("a_refusal_names_its_route", a_refusal_names_its_route),
        ("nothing_of_others_is_touched", nothing_of_others_is_touched),
        (
            "a_successor_takes_over_and_sweeps",
            a_successor_takes_over_and_sweeps,
        ),
        (
            "lost_objects_are_found_and_put_back",
            lost_objects_are_found_and_put_back,
        ),
        (
            "flows_of_members_that_stay_do_not_move",
            flows_of_members_that_stay_do_not_move,
        ),
        (
            "hops_in_the_route_itself_work_too",
            hops_in_the_route_itself_work_too,
        ),
        (
            "what_has_no_member_is_dropped_without_a_word",
            what_has_no_member_is_dropped_without_a_word,
        ),
        (
            "a_permanent_neighbour_survives_forgery",
            a_permanent_neighbour_survives_forgery,
        ),
        (
            "the_last_link_can_be_multicast",
            the_last_link_can_be_multicast,
        ),
        ("routes_of_others_are_seen", routes_of_others_are_seen),
    ])
}

/// A client behind a router, and three members on the router's other link.
struct Net {
    lab: Lab,
    bulk: Bulk,
    fib: Fib,
    /// Index of the router's interface to the members.
    link: u32,
}

impl Net {
    fn new(multipath: Option<Multipath>) -> Result<Self> {
        let mut topology = Topology::new("routes")
            .switch("w")
            .router("r")
            .link("w", &["10.2.0.1/24", "fd15:2::1/64"]);
        for member in 1..=3 {
            topology = topology
                .host(&format!("m{member}"))
                .link(
                    "w",
                    &[
                        format!("10.2.0.1{member}/24"),
                        format!("fd15:2::1{member}/64"),
                    ],
                )
                .route("default", "10.2.0.1")
                .route("default", "fd15:2::1");
        }
        let topology = topology
            .host("c")
            .cable(
                "r",
                &["10.1.0.2/24", "fd15:1::2/64"],
                &["10.1.0.1/24", "fd15:1::1/64"],
            )
            .route("default", "10.1.0.1")
            .route("default", "fd15:1::1");
        let lab = Lab::new(&topology)?;
        let router = lab.host("r");
        // By ports, so that a client with one address has many flows.
        for family in ["ipv4", "ipv6"] {
            router.sysctl(&format!("{family}/fib_multipath_hash_policy"), "1")?;
        }
        let mut bulk = router.inside(Bulk::open)??;
        let kernel = bulk.multipath()?;
        let multipath = multipath.unwrap_or(kernel);
        let link = index(router, "eth0")?;
        Ok(Self {
            lab,
            bulk,
            fib: Fib::new(multipath),
            link,
        })
    }

    fn resilient() -> Result<Self> {
        let mut net = Self::new(None)?;
        if net.bulk.multipath()? != (Multipath::Groups { resilient: true }) {
            return Err(skip(
                "this kernel has no resilient nexthop groups (Linux 5.13)",
            ));
        }
        Ok(net)
    }

    fn router(&self) -> &Host {
        self.lab.host("r")
    }

    fn hop(&self, v6: bool, member: u8) -> Hop {
        let via: IpAddr = match v6 {
            false => [10, 2, 0, 10 + member].into(),
            true => format!("fd15:2::1{member}").parse().expect("an address"),
        };
        Hop {
            link: self.link,
            via,
        }
    }

    fn set(&mut self, to: Prefix, members: &[u8]) {
        let v6 = matches!(to, Prefix::V6(_));
        let hops = members.iter().map(|member| (self.hop(v6, *member), None));
        self.fib.set(to, METRIC, &hops.collect::<Vec<_>>());
    }

    /// Carries out what is to be done; all of it must succeed.
    fn settle(&mut self) -> Result<Vec<Op>> {
        let ops = self.fib.reconcile();
        let refused = self.bulk.carry_out(&ops)?;
        let first = refused
            .first()
            .map(|refusal| (&ops[refusal.index], refusal.errno));
        ensure!(
            refused.is_empty(),
            "{} refused, first {first:?}",
            refused.len()
        );
        Ok(ops)
    }

    /// Ours as `ip` shows it.
    fn shown(&self) -> Result<[String; 2]> {
        let router = self.router();
        Ok([
            router.sh("ip route show proto 154")?,
            router.sh("ip -6 route show proto 154")?,
        ])
    }

    fn everything(&self) -> Result<String> {
        self.router().sh(
            "ip route show table all; ip -6 route show table all; ip nexthop; \
             ip neigh show nud permanent",
        )
    }
}

fn index(host: &Host, name: &'static str) -> Result<u32> {
    Ok(host.inside(move || nix::net::if_::if_nametoindex(name))??)
}

fn service(v6: bool) -> Result<Prefix> {
    let address: IpAddr = SERVICE[usize::from(v6)].parse()?;
    Ok(address.into())
}

/// The `number`th host of the class.
fn prefix(v6: bool, number: u16) -> Prefix {
    let [high, low] = number.to_be_bytes();
    match v6 {
        false => IpAddr::from([198, 18, high, low]).into(),
        true => {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&[0x20, 1, 0, 2, 0, 0, 0x15, 0x46]);
            bytes[14..].copy_from_slice(&[high, low]);
            IpAddr::from(bytes).into()
        }
    }
}

fn thousands_come_and_go_at_once() -> Result<()> {
    let mut net = Net::new(None)?;
    let before = net.everything()?;
    for number in 0..3000 {
        for v6 in [false, true] {
            net.set(prefix(v6, number), &[1, 2, 3]);
        }
    }
    net.settle()?;
    for shown in net.shown()? {
        let routes = shown
            .lines()
            .filter(|line| line.contains("metric 15"))
            .count();
        ensure!(routes == 3000, "{routes} routes");
        // What other programs read: `ip`, BIRD.
        ensure!(shown.matches("via").count() == 9000, "gateways are shown");
    }
    for number in 0..3000 {
        for v6 in [false, true] {
            net.set(prefix(v6, number), &[2]);
        }
    }
    let ops = net.settle()?;
    if net.bulk.multipath()? != Multipath::Routes {
        let routes = ops
            .iter()
            .filter(|op| matches!(op, Op::Route { .. }))
            .count();
        ensure!(
            routes == 0,
            "one change of the group is enough, not {routes}"
        );
    }
    for shown in net.shown()? {
        ensure!(shown.matches("via").count() == 3000, "one gateway each");
    }
    net.fib.clear();
    net.settle()?;
    let after = net.everything()?;
    ensure!(before == after, "left:\n{after}");
    Ok(())
}

fn a_refusal_names_its_route() -> Result<()> {
    let mut net = Net::new(None)?;
    // Somebody else's routes with the same metric: they are not replaced.
    let router = net.router();
    router.sh("ip route add 198.18.1.44 via 10.2.0.12 metric 15 proto bird")?;
    router.sh("ip route add 2001:2:0:1546::12c via fd15:2::12 metric 15 proto bird")?;
    for number in 0..1000 {
        net.set(prefix(false, number), &[1]);
        net.set(prefix(true, number), &[1]);
    }
    let ops = net.fib.reconcile();
    let refused = net.bulk.carry_out(&ops)?;
    let named: Vec<_> = refused
        .iter()
        .map(|refusal| match &ops[refusal.index] {
            Op::Route { prefix, .. } => (prefix.to_string(), refusal.errno),
            op => (format!("{op:?}"), refusal.errno),
        })
        .collect();
    let exists = nix::libc::EEXIST;
    let expected = [
        ("198.18.1.44/32".to_owned(), exists),
        ("2001:2:0:1546::12c/128".to_owned(), exists),
    ];
    ensure!(named == expected, "{named:?}");
    let shown = net.shown()?.concat();
    let routes = shown
        .lines()
        .filter(|line| line.contains("metric 15"))
        .count();
    ensure!(routes == 1998, "the others are there: {routes}");

    // Every one refused, in many batches: nothing is lost of that either.
    net.fib.clear();
    net.settle()
        .context("the end of routes that are not there")?;
    let link = 9999;
    let via = IpAddr::from([10, 2, 0, 11]);
    let hops = [Hop { link, via }].into();
    let ops: Vec<Op> = (0..2000)
        .map(|number| Op::Route {
            prefix: prefix(false, number),
            metric: METRIC,
            target: Target::Hops(std::sync::Arc::clone(&hops)),
            replace: false,
        })
        .collect();
    let refused = net.bulk.carry_out(&ops)?;
    let indices: Vec<usize> = refused.iter().map(|refusal| refusal.index).collect();
    ensure!(
        indices == (0..2000).collect::<Vec<_>>(),
        "{}",
        indices.len()
    );
    Ok(())
}

fn nothing_of_others_is_touched() -> Result<()> {
    let mut net = Net::new(None)?;
    net.router().sh(
        "ip route add 198.18.0.1 via 10.2.0.12 metric 20 proto bird; \
         ip route add 198.18.0.2 via 10.2.0.12 metric 16 proto static; \
         ip route add blackhole 198.18.0.0/16 metric 4294967294; \
         ip -6 route add 2001:2:0:1546::1 via fd15:2::12 metric 20 proto bird; \
         ip nexthop add id 7 via 10.2.0.12 dev eth0; \
         ip nexthop add id 0x1546000 via 10.2.0.12 dev eth0 proto zebra; \
         ip nexthop add id 0x1545fff via 10.2.0.12 dev eth0 proto zebra; \
         ip nexthop add id 0x1440000 via 10.2.0.12 dev eth0 proto zebra; \
         ip nexthop add id 0x1440002 group 0x1440000 proto zebra; \
         ip nexthop add id 0x1546002 via 10.2.0.12 dev eth0 proto zebra; \
         ip route add 203.0.113.0/24 nhid 0x1440002; \
         ip route add 203.0.114.0/24 nhid 0x1546002; \
         ip neigh add 10.2.0.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
    )?;
    let others = net.everything()?;
    let multipath = net.bulk.multipath()?;
    ensure!(net.everything()? == others, "asking what the kernel can do");
    net.fib = Fib::new(multipath);
    net.fib.adopt(&net.bulk.snapshot()?);
    for v6 in [false, true] {
        let mac = Some([2, 0, 0, 0, 0, 1]);
        let hops = [(net.hop(v6, 1), mac), (net.hop(v6, 2), mac)];
        net.fib.set(prefix(v6, 1), METRIC, &hops);
        net.fib.set(prefix(v6, 2), METRIC, &hops);
    }
    net.fib
        .set_discard(CLASS.iter().map(|class| class.parse().expect("a prefix")));
    net.settle()?;
    let got = net.router().sh("ip route get 198.18.0.1")?;
    ensure!(got.contains("via 10.2.0.1"), "{got}");
    net.fib.clear();
    net.settle()?;
    let after = net.everything()?;
    ensure!(after == others, "before:\n{others}\nafter:\n{after}");
    Ok(())
}

fn a_successor_takes_over_and_sweeps() -> Result<()> {
    let mut net = Net::new(None)?;
    for number in 0..100 {
        for v6 in [false, true] {
            net.set(prefix(v6, number), &[1, 2]);
        }
    }
    let mac = Some([2, 0, 0, 0, 0, 0x11]);
    let one = net.hop(false, 1);
    net.fib.set(prefix(false, 200), METRIC, &[(one, mac)]);
    net.fib
        .set_discard(CLASS.iter().map(|class| class.parse().expect("a prefix")));
    net.settle()?;
    let left = net.everything()?;

    // What a daemon that was killed would have left.
    let multipath = net.bulk.multipath()?;
    net.bulk = net.router().inside(Bulk::open)??;
    net.fib = Fib::new(multipath);
    net.fib.adopt(&net.bulk.snapshot()?);
    ensure!(net.fib.stale() == 201, "{} adopted", net.fib.stale());
    net.fib
        .set_discard(CLASS.iter().map(|class| class.parse().expect("a prefix")));
    let ops = net.settle()?;
    ensure!(ops.is_empty(), "nothing is to be done: {ops:?}");
    for number in 0..50 {
        for v6 in [false, true] {
            net.set(prefix(v6, number), &[2, 1]);
        }
    }
    let ops = net.settle()?;
    ensure!(ops.is_empty(), "confirming costs nothing: {ops:?}");
    ensure!(net.everything()? == left, "all is as it was");
    ensure!(net.fib.sweep() == 101);
    net.settle()?;
    let shown = net.shown()?.map(|shown| shown.matches("metric 15").count());
    ensure!(shown == [50, 50], "{shown:?}");
    let neighbours = net.router().sh("ip neigh show nud permanent")?;
    ensure!(neighbours.is_empty(), "{neighbours}");
    Ok(())
}

fn lost_objects_are_found_and_put_back() -> Result<()> {
    let mut net = Net::new(None)?;
    for v6 in [false, true] {
        net.set(prefix(v6, 1), &[1, 2]);
    }
    net.fib
        .set_discard(CLASS.iter().map(|class| class.parse().expect("a prefix")));
    net.settle()?;
    let before = net.shown()?;
    // The kernel takes the objects of a link that goes down away, and their routes with them.
    let address = "ip -6 address add fd15:2::1/64 dev eth0 nodad";
    net.router().sh(&format!(
        "ip link set eth0 down; ip link set eth0 up; {address}"
    ))?;
    ensure!(
        !net.shown()?.concat().contains("metric 15"),
        "gone with the link"
    );
    net.fib.observe(&net.bulk.snapshot()?);
    net.settle()?;
    let routes = net.shown()?.map(|shown| shown.matches("via").count());
    ensure!(
        routes == before.map(|shown| shown.matches("via").count()),
        "{routes:?}"
    );
    Ok(())
}

/// Members with a socket on the service's address.
struct Servers(BTreeMap<u8, UdpSocket>);

impl Servers {
    fn start(net: &Net, v6: bool) -> Result<Self> {
        let address: IpAddr = SERVICE[usize::from(v6)].parse()?;
        let at = SocketAddr::new(address, 7);
        let mut servers = BTreeMap::new();
        for member in 1..=3 {
            let host = net.lab.host(&format!("m{member}"));
            host.sh(&format!("ip address add {address} dev lo nodad"))?;
            let socket = host.inside(move || UdpSocket::bind(at))??;
            socket.set_nonblocking(true)?;
            servers.insert(member, socket);
        }
        Ok(Self(servers))
    }

    /// Sends a datagram from each socket; the member that each has come to.
    fn ask(&self, clients: &[UdpSocket], to: SocketAddr) -> Result<BTreeMap<u16, u8>> {
        let mut came = BTreeMap::new();
        let end = Instant::now() + LIMIT;
        // A first packet may be lost while addresses are resolved.
        let mut next = Instant::now();
        while came.len() < clients.len() {
            ensure!(
                Instant::now() < end,
                "{} of {} came",
                came.len(),
                clients.len()
            );
            if next <= Instant::now() {
                next = Instant::now() + Duration::from_secs(1);
                for client in clients {
                    if !came.contains_key(&client.local_addr()?.port()) {
                        client.send_to(b"x", to)?;
                    }
                }
            }
            for (member, socket) in &self.0 {
                while let Ok((_, from)) = socket.recv_from(&mut [0; 8]) {
                    if let Some(other) = came.insert(from.port(), *member) {
                        ensure!(
                            other == *member,
                            "port {} at {other} and {member}",
                            from.port()
                        );
                    }
                }
            }
            std::thread::yield_now();
        }
        Ok(came)
    }
}

fn clients(net: &Net, v6: bool) -> Result<Vec<UdpSocket>> {
    let own: IpAddr = if v6 { "fd15:1::2" } else { "10.1.0.2" }.parse()?;
    let open = move || {
        let sockets = (0..FLOWS).map(|_| UdpSocket::bind((own, 0)));
        sockets.collect::<std::io::Result<Vec<_>>>()
    };
    Ok(net.lab.host("c").inside(open)??)
}

fn at(flows: &BTreeMap<u16, u8>, member: u8) -> BTreeSet<u16> {
    let its = flows.iter().filter(|(_, at)| **at == member);
    its.map(|(port, _)| *port).collect()
}

fn flows_of_members_that_stay_do_not_move() -> Result<()> {
    let mut net = Net::resilient()?;
    for v6 in [false, true] {
        let servers = Servers::start(&net, v6)?;
        let clients = clients(&net, v6)?;
        let to = SocketAddr::new(SERVICE[usize::from(v6)].parse()?, 7);
        net.set(service(v6)?, &[1, 2, 3]);
        net.settle()?;
        let all = servers.ask(&clients, to)?;
        for member in 1..=3 {
            let share = at(&all, member).len();
            ensure!(share > FLOWS / 6, "member {member} has {share} flows");
        }
        net.set(service(v6)?, &[1, 3]);
        net.settle()?;
        let without = servers.ask(&clients, to)?;
        ensure!(at(&without, 2).is_empty(), "none goes to the one that left");
        for member in [1, 3] {
            let (before, after) = (at(&all, member), at(&without, member));
            ensure!(
                before.is_subset(&after),
                "flows of member {member} have moved"
            );
            ensure!(
                before.len() < after.len(),
                "member {member} takes a share of the leaver's"
            );
        }
        // To the kernel a bucket is idle whose last packet came in the tick that moved it (10 ms at
        // most): the flows go on for longer than that.
        let moved = Instant::now();
        while moved.elapsed() < Duration::from_millis(30) {
            servers.ask(&clients, to)?;
        }
        // The one that comes back gets flows that are idle, and none that is not.
        net.set(service(v6)?, &[1, 2, 3]);
        net.settle()?;
        let back = servers.ask(&clients, to)?;
        let moved = without
            .iter()
            .filter(|(port, at)| back.get(port) != Some(at));
        let moved = moved.count();
        ensure!(moved == 0, "{moved} flows have moved when a member came");
    }
    Ok(())
}

fn hops_in_the_route_itself_work_too() -> Result<()> {
    let mut net = Net::new(Some(Multipath::Routes))?;
    for v6 in [false, true] {
        let servers = Servers::start(&net, v6)?;
        let clients = clients(&net, v6)?;
        let to = SocketAddr::new(SERVICE[usize::from(v6)].parse()?, 7);
        for members in [&[1, 2, 3][..], &[2], &[1, 3], &[1, 2, 3], &[3]] {
            net.set(service(v6)?, members);
            net.settle()?;
            let flows = servers.ask(&clients, to)?;
            let used: Vec<u8> = (1..=3).filter(|m| !at(&flows, *m).is_empty()).collect();
            ensure!(used == members, "{used:?} instead of {members:?}");
            let snapshot = net.bulk.snapshot()?;
            ensure!(snapshot.groups.is_empty() && snapshot.nexthops.is_empty());
        }
        // And from a group, and back to one: what a changed setting does.
        let multipath = net.bulk.multipath()?;
        for (multipath, groups) in [(multipath, 1), (Multipath::Routes, 0)] {
            net.fib = Fib::new(multipath);
            net.fib.adopt(&net.bulk.snapshot()?);
            net.set(service(v6)?, &[1, 2]);
            net.fib.sweep();
            net.settle()?;
            ensure!(multipath == Multipath::Routes || net.bulk.snapshot()?.groups.len() == groups);
            let flows = servers.ask(&clients, to)?;
            ensure!(at(&flows, 3).is_empty() && !at(&flows, 1).is_empty());
        }
        net.set(service(v6)?, &[]);
        net.settle()?;
        ensure!(net.shown()?.concat().is_empty(), "{:?}", net.shown()?);
    }
    Ok(())
}

fn what_has_no_member_is_dropped_without_a_word() -> Result<()> {
    let mut net = Net::new(None)?;
    let answers = |net: &Net| -> Result<String> {
        let client = net.lab.host("c");
        let ping = |to| client.run(&["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", to]);
        let heard = [ping("198.18.9.9")?, ping("2001:2:0:1546::99")?];
        Ok(heard.map(|heard| heard.stdout).concat())
    };
    let loud = answers(&net)?;
    ensure!(
        loud.matches("nreachable").count() >= 2,
        "without the route: {loud}"
    );
    net.fib
        .set_discard(CLASS.iter().map(|class| class.parse().expect("a prefix")));
    net.settle()?;
    let quiet = answers(&net)?;
    ensure!(
        !quiet.contains("From") && !quiet.contains("nreachable"),
        "{quiet}"
    );
    ensure!(quiet.matches("100% packet loss").count() == 2, "{quiet}");
    let shown = net.shown()?;
    for shown in &shown {
        ensure!(shown.contains(&format!("metric {DISCARD}")), "{shown}");
    }
    // A route to a member is better than it.
    let servers = Servers::start(&net, false)?;
    net.set(service(false)?, &[2]);
    net.settle()?;
    let flows = servers.ask(
        &clients(&net, false)?[..3],
        SocketAddr::new(SERVICE[0].parse()?, 7),
    )?;
    ensure!(at(&flows, 2).len() == 3);
    Ok(())
}

fn a_permanent_neighbour_survives_forgery() -> Result<()> {
    let mut net = Net::new(None)?;
    let mac = |member: &str| net.lab.host(member).interfaces()[0].mac;
    let (one, evil, router) = (mac("m1"), mac("m3"), mac("r"));
    let (hop, open) = (net.hop(false, 1), "10.2.0.12");
    net.fib.set(service(false)?, METRIC, &[(hop, Some(one))]);
    net.settle()?;
    net.router().sh(&format!("ping -c 1 -W 5 {open}"))?;
    let entries = || net.router().sh("ip neigh show dev eth0");
    let line = |address: &str| -> Result<String> {
        let all = entries()?;
        let found = all
            .lines()
            .find(|line| line.starts_with(&format!("{address} ")));
        Ok(found.context("an entry")?.to_owned())
    };
    ensure!(line("10.2.0.11")?.contains("PERMANENT"), "{}", entries()?);
    net.router().sysctl("ipv4/neigh/eth0/locktime", "0")?;
    let forged = |address: [u8; 4]| {
        let mut frame = [&router[..], &evil, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
        frame.extend([&evil[..], &address, &router, &[10, 2, 0, 1]].concat());
        frame
    };
    let frames = [forged([10, 2, 0, 11]), forged([10, 2, 0, 12])];
    let forger = net.lab.host("m3");
    let link = index(forger, "eth0")?;
    forger.inside(move || -> Result<()> {
        let socket = hamp::linux::packet::open_offloaded(link)?;
        for mut frame in frames {
            // This socket's frames begin with an empty offload header.
            frame.splice(0..0, [0; 10]);
            socket.send(&frame)?;
        }
        Ok(())
    })??;
    let evil = testbed::lab::mac_text(evil);
    wait::until("the forgery has its effect elsewhere", LIMIT, || {
        line(open).ok()?.contains(&evil).then_some(())
    })?;
    let kept = line("10.2.0.11")?;
    let right = testbed::lab::mac_text(one);
    ensure!(
        kept.contains(&right) && kept.contains("PERMANENT"),
        "{kept}"
    );
    ensure!(kept.contains("proto 154"), "{kept}");
    net.fib.clear();
    net.settle()?;
    let after = net.router().sh("ip neigh show nud permanent")?;
    ensure!(after.is_empty(), "{after}");
    Ok(())
}

fn the_last_link_can_be_multicast() -> Result<()> {
    let mut net = Net::new(None)?;
    for v6 in [false, true] {
        let via = if v6 {
            [0; 16].into()
        } else {
            IpAddr::from([0; 4])
        };
        let hop = Hop {
            link: net.link,
            via,
        };
        net.fib.set(service(v6)?, METRIC, &[(hop, None)]);
        net.settle()?;
        let got = net
            .router()
            .sh(&format!("ip route get {}", SERVICE[usize::from(v6)]))?;
        ensure!(got.contains("dev eth0") && !got.contains("via"), "{got}");
        let entries = net.router().sh("ip neigh show nud permanent")?;
        let mac = ["03:15:46:12:00:01", "03:15:46:00:00:01"][usize::from(v6)];
        ensure!(entries.contains(mac), "{entries}");
        // Every member gets each datagram.
        let servers = Servers::start(&net, v6)?;
        let to = SocketAddr::new(SERVICE[usize::from(v6)].parse()?, 7);
        for member in 1..=3 {
            let host = net.lab.host(&format!("m{member}"));
            host.sh(&format!("ip maddress add {mac} dev eth0"))?;
        }
        let client = &clients(&net, v6)?[0];
        let mut heard = BTreeSet::new();
        // A first packet may be lost while the client resolves its router's address.
        wait::until_ok("every member hears it", LIMIT, || {
            client.send_to(b"x", to)?;
            let hears = |(_, server): &(&u8, &UdpSocket)| server.recv_from(&mut [0; 8]).is_ok();
            heard.extend(servers.0.iter().filter(hears).map(|(member, _)| *member));
            ensure!(heard.len() == 3, "heard by {heard:?}");
            Ok(())
        })?;
        net.fib.set(service(v6)?, METRIC, &[]);
        net.settle()?;
    }
    Ok(())
}

fn routes_of_others_are_seen() -> Result<()> {
    let mut net = Net::new(None)?;
    net.router().sh(
        "ip route add 198.18.5.0/24 via 10.2.0.12 proto bird metric 32; \
         ip route add 198.18.0.0/16 dev eth0; ip route add 192.0.2.0/24 via 10.2.0.12",
    )?;
    let (tell, told) = std::sync::mpsc::channel();
    net.router()
        .thread("watch", move || -> std::io::Result<()> {
            let mut foreign = Foreign::watch(Class::default())?;
            while tell.send(foreign.wait()?).is_ok() {}
            Ok(())
        })?;
    // Notifications come one by one, what is known in between may be told as well.
    let expect = |expected: &[&str]| -> Result<()> {
        let expected: BTreeSet<Prefix> = expected.iter().map(|p| p.parse().expect("one")).collect();
        let mut last = BTreeSet::new();
        while last != expected {
            let next = told.recv_timeout(LIMIT);
            last = next.with_context(|| format!("{last:?} instead of {expected:?}"))?;
        }
        Ok(())
    };
    expect(&["198.18.5.0/24"])?;
    net.router()
        .sh("ip route add 198.18.6.1 via 10.2.0.12 proto zebra; \
         ip route add 2001:2:0:1546::5 proto bird \
           nexthop via fd15:2::11 dev eth0 nexthop via fd15:2::12 dev eth0")?;
    expect(&["198.18.5.0/24", "198.18.6.1/32", "2001:2:0:1546::5/128"])?;
    // A hop goes, the route stays; another protocol takes a route over.
    net.router()
        .sh("ip route del 2001:2:0:1546::5 via fd15:2::11 dev eth0; \
         ip route replace 198.18.5.0/24 via 10.2.0.11 proto zebra metric 32; \
         ip route del 198.18.6.1")?;
    expect(&["198.18.5.0/24", "2001:2:0:1546::5/128"])?;
    // Ours are no news, however many.
    for number in 0..2000 {
        net.set(prefix(false, number), &[1]);
    }
    net.settle()?;
    net.router()
        .sh("ip route add 198.18.7.1 via 10.2.0.12 proto bgp metric 20")?;
    let next = told.recv_timeout(LIMIT)?;
    ensure!(
        next.len() == 3,
        "the first news is of the new one: {next:?}"
    );
    net.router()
        .sh("ip route del 198.18.7.1; ip route del 198.18.5.0/24; ip route del 2001:2:0:1546::5")?;
    expect(&[])
}
