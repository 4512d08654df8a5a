//! `no-router`: a shared address inside one subnet, and no router anywhere (RFC 1546's AHIP-E
//! scheme; R28).

use std::collections::BTreeMap;

use super::*;
use crate::load::Service;
use crate::report::Kind;
use crate::report::packet::What;
use crate::report::traffic::Traffic;
use crate::script::Action;

/// Addresses of the subnet itself.
const OWN4: &str = "10.15.46.200";
const OWN6: &str = "fd15:46::200";

const LESSON: Lesson = Lesson {
    name: "no-router",
    about: "a shared address inside one subnet, and no router at all",
    question: "Question: one and two share 10.15.46.200 and fd15:46::200, addresses of their own \
               subnet. There is no router: nobody has a default route, nobody listens to membership \
               for the sake of routing. Who hears the membership messages then, and what are they \
               good for? How long does the link take until somebody answers for the address? And does \
               a client need to be told anything?",
    network: include_str!("../../../../examples/labs/no-router.toml"),
    steps: &[
        (
            "undisturbed",
            "client runs hamp; plain is any host of the subnet, with no route and no hamp.",
        ),
        ("kill one", "The daemon and the server of one end at once."),
        ("start one", "one is back."),
    ],
    shell: "plain",
    tells_answers: true,
};

/// The lab.
pub(super) const LAB: Scenario = Scenario {
    name: LESSON.name,
    about: LESSON.about,
    virtual_too: true,
    run,
};

fn run(options: &Options) -> Result<Story> {
    let mut course = Course::begin(&LESSON, options)?;
    let network = course.network(if options.quick { 200 } else { 1000 })?;
    let routes = network.nodes.iter().flat_map(|node| &node.routes);
    let routes: Vec<_> = routes
        .map(|route| format!("{} via {:?}", route.to, route.via))
        .collect();
    course.check(Check::none("no-routes", &routes, "routes"));
    let round = course.play("", &script(network, options.quick))?;
    let traffic = Traffic::of(&round.captured);
    course.telling.lines(&table(&round, &traffic));

    let routers = round
        .captured
        .frames
        .iter()
        .filter(|frame| is_of_a_router(&frame.bytes));
    let routers: Vec<_> = routers
        .map(|frame| format!("on link {}", frame.link))
        .collect();
    course.check(Check::none("nothing-of-a-router", &routers, "frames"));
    // The members listen for 500 ms before they serve; nothing else is waited for.
    let first = traffic
        .sent
        .iter()
        .find(|sent| matches!(sent.what, What::Message(_)));
    let ready = traffic.sent.iter().find(|sent| sent.is_hello());
    let ready = first
        .zip(ready)
        .map_or(f64::INFINITY, |(first, ready)| ready.at.ms_since(first.at));
    course.check(Check::at_most("ready-after", ready, 1500.0, "ms"));
    for host in ["client", "plain"] {
        course.check(answered_by(
            &format!("owner-answers/{host}"),
            &round,
            "undisturbed",
            host,
            "one",
        ));
        course.check(answered_by(
            &format!("next-answers/{host}"),
            &round,
            "kill one",
            host,
            "two",
        ));
    }
    for check in judge::losses(&round)
        .into_iter()
        .chain(judge::resolution(&round, 1))
    {
        course.check(check);
    }
    Ok(course.end(&format!(
        "Answer: the members hear one another, and that is enough: they agree on ranks, and ARP and \
         neighbour discovery carry the rest. {:.1} s after the first word on the link a member said \
         hello and answered; half a second of it is listening for others. A router would be one more \
         listener (RFC 1546: the AHIP-E scheme needs none). plain needed no route and no hamp, because \
         the address is one of its own subnet.",
        ready / 1e3
    )))
}

fn script(network: Topology, quick: bool) -> Script {
    let ms = |full: u64, short: u64| if quick { short } else { full };
    let mut script = Script::new(network);
    for address in [OWN4, OWN6].map(address) {
        for service in [Service::Http, Service::Dns] {
            script = script.asks("client", address, service, 50);
        }
        script = script.asks("plain", address, Service::Dns, 50);
    }
    let one = || "one".to_owned();
    script
        .at(
            ms(3000, 1500),
            "kill one",
            Kind::Fault,
            vec![Action::Kill(one())],
        )
        .at(
            ms(9000, 4000),
            "start one",
            Kind::Orderly,
            vec![Action::Start(one())],
        )
        .until(ms(14_000, 7000))
}

/// Router solicitations and advertisements, redirects (RFC 4861 §4), and queries of those who route
/// groups.
fn is_of_a_router(frame: &[u8]) -> bool {
    let at = |index: usize| frame.get(index).copied();
    let icmpv6 = at(12) == Some(0x86) && at(13) == Some(0xdd) && at(20) == Some(58);
    let neighbours = icmpv6 && matches!(at(54), Some(133 | 134 | 137));
    neighbours || group_message(frame).is_some_and(is_query)
}

/// The type of an IGMP message (RFC 3376 §4) or of an MLD message (RFC 3810 §5). Both have a Router
/// Alert option in front: a longer IPv4 header, a hop-by-hop header of 8 bytes.
fn group_message(frame: &[u8]) -> Option<u8> {
    let at = |index: usize| frame.get(index).copied();
    match [at(12)?, at(13)?] {
        [0x08, 0x00] if at(23)? == 2 => at(14 + usize::from(at(14)? & 0x0f) * 4),
        [0x86, 0xdd] if at(20)? == 0 && at(54)? == 58 => at(62),
        _ => None,
    }
}

/// Whether this is the type of a query: IGMP (RFC 3376 §4.1) or MLD (RFC 3810 §5.1).
fn is_query(kind: u8) -> bool {
    kind == 0x11 || kind == 130
}

/// What was on the link, by kind and sender.
fn table(round: &Round, traffic: &Traffic) -> Vec<String> {
    let mut hosts: Vec<&str> = Vec::new();
    for link in &round.captured.links {
        if !hosts.contains(&link.host.as_str()) {
            hosts.push(&link.host);
        }
    }
    let mut counts: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for sent in &traffic.sent {
        let kind = match &sent.what {
            What::Message(_) if sent.is_hello() => "membership: hello",
            What::Message(_) if sent.is_report() => "membership: report",
            What::Message(_) => "membership: query",
            What::Question { .. } => "ARP, ND: who has?",
            What::Answer {
                announcement: false,
                ..
            } => "ARP, ND: it is here",
            What::Answer { .. } => "ARP, ND: announcement",
            What::Syn { .. } => "TCP: SYN, SYN-ACK",
            What::Datagram { .. } => "UDP",
            What::Other => continue,
        };
        *counts
            .entry(kind)
            .or_default()
            .entry(&sent.from)
            .or_default() += 1;
    }
    for frame in round.captured.frames.iter().filter(|frame| frame.from_host) {
        let host = &round.captured.links[frame.link].host;
        let kind = match group_message(&frame.bytes) {
            Some(kind) if is_query(kind) => "IGMP, MLD: query of a router",
            Some(_) => "IGMP, MLD: I listen to ...",
            None => continue,
        };
        *counts.entry(kind).or_default().entry(host).or_default() += 1;
    }
    let head: String = hosts.iter().map(|host| format!("{host:>10}")).collect();
    let mut lines = vec![String::new(), format!("{:30}{head}", "frames sent by")];
    for (kind, by) in counts {
        let cells = hosts
            .iter()
            .map(|host| by.get(host).copied().unwrap_or_default());
        let cells: String = cells.map(|count| format!("{count:>10}")).collect();
        lines.push(format!("{kind:30}{cells}"));
    }
    let routers = round.captured.frames.iter();
    let routers = routers.filter(|frame| is_of_a_router(&frame.bytes)).count();
    lines.push(format!("{:30}{routers:>10}", "anything of a router"));
    lines
}
