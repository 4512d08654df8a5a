//! `cache`: the cache that lies.
//!
//! Both clients are deaf while the owner dies and its successor announces itself. The stock client
//! goes on sending to a dead link-layer address as long as its kernel trusts the entry; the other
//! trusts an entry only as long as it hears the member.

use super::belief::beliefs;
use super::*;
use crate::Impairment;
use crate::load::Service;
use crate::report::Kind;
use crate::report::traffic::Traffic;
use crate::script::Action;
use crate::topology::Program;

const LESSON: Lesson = Lesson {
    name: "cache",
    about: "the cache that lies: a stock client against one that runs hamp",
    question: "Question: for a few seconds nothing arrives at client and at stock, and their carriers \
               stay. Just then one dies, and two announces to an audience that hears nothing. When \
               both can hear again, nobody announces anything any more. How long does stock go on \
               sending to the dead one? How long does client, which runs hamp? What tells each of \
               them?",
    network: include_str!("../../../../examples/labs/cache.toml"),
    steps: &[
        (
            "undisturbed",
            "client and stock ask 10 times a second, over IPv4 and IPv6, by DNS.",
        ),
        (
            DEAF,
            "The cables of client and stock lose every frame; at the same moment one is killed.",
        ),
        (
            HEAR,
            "Frames pass again. two owns the address and has no reason to say so.",
        ),
    ],
    shell: "stock",
    tells_answers: true,
};

const DEAF: &str = "one dies unheard";
const HEAR: &str = "hear again";

/// The lab.
pub(super) const LAB: Scenario = Scenario {
    name: LESSON.name,
    about: LESSON.about,
    virtual_too: false,
    run,
};

/// What `--quick` does to the kernel of stock, so that it doubts its entries soon.
const DOUBT: &str = "for family in 4 6; do cd /proc/sys/net/ipv$family/neigh/eth0; \
                     echo 1000 >base_reachable_time_ms; echo 3 >delay_first_probe_time; done";

fn run(options: &Options) -> Result<Story> {
    let mut course = Course::begin(&LESSON, options)?;
    let mut network = course.network(if options.quick { 200 } else { 1000 })?;
    if options.quick {
        let stock = network.nodes.iter_mut().find(|node| node.name == "stock");
        let command = ["sh", "-c", DOUBT].map(Into::into).into();
        stock.context("no stock")?.programs.push(Program {
            name: "doubt".into(),
            command,
        });
    }
    let round = course.play("", &script(network, options.quick))?;
    let heard = round.marks.iter().find(|mark| mark.name == HEAR);
    let heard = heard.context("never heard again")?.from;
    let traffic = Traffic::of(&round.captured);
    let mut lines = vec![
        String::new(),
        format!(
            "{:28}{:>24}{:>24}",
            "after they hear again", "sent to the dead one", "first answer after"
        ),
    ];
    for host in ["client", "stock"] {
        for (family, address) in [(4, A4), (6, A6)] {
            let lies = beliefs(&traffic, host, super::address(address));
            let lies = lies.filter(|(at, to)| *at >= heard && to == "one").count();
            let mut answered = round.requests.iter().filter(|request| {
                let own = request.host == host && request.family == family;
                own && request.sent >= heard && request.outcome.is_ok()
            });
            let first = answered.next().map(|request| request.done.ms_since(heard));
            let after = first.map_or_else(|| "never".into(), |ms| format!("{:.1} s", ms / 1e3));
            let name = format!("{host} over IPv{family}");
            lines.push(format!(
                "{name:28}{:>24}{after:>24}",
                format!("{lies} requests")
            ));
            let ms = first.unwrap_or(f64::INFINITY);
            course.check(if host == "client" {
                let limit = round.dead.as_secs_f64() * 1e3 + 500.0;
                Check::at_most(format!("client-right-soon/v{family}"), ms, limit, "ms")
            } else {
                Check::at_most(
                    format!("stock-right-in-the-end/v{family}"),
                    ms,
                    60_000.0,
                    "ms",
                )
            });
            let believes = if host == "client" {
                lies == 0
            } else {
                lies > 0
            };
            let wrong = if believes {
                Vec::new()
            } else {
                vec![format!("{lies} requests")]
            };
            let id = if host == "client" {
                "client-not-fooled"
            } else {
                "stock-fooled"
            };
            course.check(Check::none(format!("{id}/v{family}"), &wrong, "failures"));
        }
    }
    course.telling.lines(&lines);
    Ok(course.end(
        "Answer: client is right as soon as it has heard two again: it trusts an entry only while it \
         hears the member that it leads to, and asks anew when it does not. stock has nothing but its \
         kernel's timers: an entry counts as reachable for 15 to 45 s after it was last confirmed, is \
         used for 5 s more, and is given up after three probes that nobody answers (RFC 4861 section \
         7.3.3, and the same code for ARP).",
    ))
}

fn script(network: Topology, quick: bool) -> Script {
    let ms = |full: u64, short: u64| if quick { short } else { full };
    let mut script = Script::new(network);
    for host in ["client", "stock"] {
        for address in [A4, A6].map(address) {
            script = script.asks(host, address, Service::Dns, 100);
        }
    }
    let cables = |how: Impairment| {
        ["client", "stock"].map(|host| Action::Impair {
            host: host.into(),
            interface: "eth0".into(),
            to_host: how,
            from_host: how,
        })
    };
    let mut deaf: Vec<_> = cables(Impairment::down()).into();
    deaf.push(Action::Kill("one".into()));
    let hear = cables(Impairment::default()).into();
    // The successor speaks up at the dead time, and twice more at intervals of 1.1 s.
    script
        .at(ms(2000, 400), DEAF, Kind::Fault, deaf)
        .at(ms(8000, 3800), HEAR, Kind::Fault, hear)
        .until(ms(54_000, 9500))
}
