//! `arp`: what ARP really decides.
//!
//! First three servers have the same address and nothing else: every question draws three answers,
//! and the client's kernel believes one of them. Then the same servers run hamp. The cables have
//! different delays, so that first and last are what the file says. Only a kernel can be asked what
//! a kernel believes.

use super::belief::{Question, questions};
use super::*;
use crate::load::Service;
use crate::report::Kind;
use crate::report::traffic::Traffic;
use crate::script::Action;

const LESSON: Lesson = Lesson {
    name: "arp",
    about: "what ARP and neighbour discovery really decide",
    question: "Question: one, two and three have the same addresses, 198.18.0.1 and \
               2001:2:0:1546::1, as if by mistake. Frames from and to them take 15, 10 and 5 ms. \
               stock asks who has the address. How many answers does it get? Which one does its \
               kernel believe: the first, the last, the nearest? Is it the same over IPv4 and IPv6? \
               And what is different when the three run hamp?",
    network: include_str!("../../../../examples/labs/arp.toml"),
    steps: &[
        (
            "ask again",
            "stock forgets what it has learned: its next request is a question again.",
        ),
        ("and again", "Chance or rule?"),
    ],
    shell: "stock",
    tells_answers: true,
};

/// The lab.
pub(super) const LAB: Scenario = Scenario {
    name: LESSON.name,
    about: LESSON.about,
    virtual_too: false,
    run,
};

/// The servers, farthest first.
const SERVERS: [&str; 3] = ["one", "two", "three"];

fn run(options: &Options) -> Result<Story> {
    let mut course = Course::begin(&LESSON, options)?;
    let plain = course.play("without hamp", &script(course.topology.clone()))?;
    let seen = asked(&plain);
    course.telling.lines(&table(&seen));
    let (first, last) = ("three", "one");
    for (family, address, believed) in [(4, A4, first), (6, A6, last)] {
        let address = super::address(address);
        let of = || seen.iter().filter(|question| question.target == address);
        let few = of().filter(|question| question.answers.len() != SERVERS.len());
        let few: Vec<_> = few.map(|question| format!("{question:?}")).collect();
        course.check(Check::none(
            format!("plain-three-answers/v{family}"),
            &few,
            "questions",
        ));
        let other = of().filter(|question| question.believed != believed);
        let mut other: Vec<_> = other.map(|question| format!("{question:?}")).collect();
        if of().count() < 2 {
            other.push("fewer than two questions".into());
        }
        let id = if family == 4 {
            "plain-first-believed/v4"
        } else {
            "plain-last-believed/v6"
        };
        course.check(Check::none(id, &other, "questions"));
    }

    let shared = course.play("with hamp", &script(with_hamp(&course.topology)))?;
    let seen = asked(&shared);
    course.telling.lines(&table(&seen));
    let one = |question: &&Question| {
        let [(from, _, overrides)] = question.answers.as_slice() else {
            return false;
        };
        from == "one" && question.believed == "one" && !overrides
    };
    let wrong = seen.iter().filter(|question| !one(question));
    let mut wrong: Vec<_> = wrong.map(|question| format!("{question:?}")).collect();
    if seen.len() < 4 {
        wrong.push("fewer than four questions".into());
    }
    course.check(Check::none("hamp-one-answer", &wrong, "questions"));
    Ok(course.end(
        "Answer: every question draws three answers. ARP has no rule for that, and Linux keeps the \
         first answer for a second (locktime): the nearest server. Neighbour discovery has one: an \
         answer with the Override flag replaces what is known, and plain hosts set it, so the last \
         answer wins: the farthest server. With hamp there is one answer, from the member that the \
         administrator prefers, and its Override flag is clear (RFC 4861 section 7.2.4).",
    ))
}

/// The network with hamp on the servers in place of addresses that each has for itself.
fn with_hamp(plain: &Topology) -> Topology {
    let mut topology = plain.clone();
    for (at, name) in SERVERS.iter().enumerate() {
        let Some(index) = topology.position(name) else {
            continue;
        };
        topology.nodes[index].hamp = Some(format!(
            "[node]\nhello_ms = 200\n[member]\naddresses = [\"{A4}\", \"{A6}\"]\npreference = {}\n",
            300 - 100 * at
        ));
        for end in topology.links.iter_mut().flat_map(|link| &mut link.ends) {
            if end.node == index {
                let anycast = [A4, A6].map(address);
                end.addresses.retain(|net| !anycast.contains(&net.addr()));
            }
        }
    }
    topology
}

/// More than 1.5 s between two questions: sooner, the second would be a retry of the first, which
/// members of a lower rank answer too (docs/spec/link.md).
fn script(network: Topology) -> Script {
    let forget = || vec![Action::Forget("stock".into())];
    let mut script = Script::new(network);
    for address in [A4, A6].map(address) {
        script = script.asks("stock", address, Service::Dns, 100);
    }
    script
        .at(2000, "ask again", Kind::Quiet, forget())
        .at(4000, "and again", Kind::Quiet, forget())
        .until(5000)
}

/// The questions after stock forgot: before that, servers may still be starting.
fn asked(round: &Round) -> Vec<Question> {
    let forgot = round.marks.iter().find(|mark| mark.name == "ask again");
    let from = forgot.map_or(Stamp(0), |mark| mark.from);
    questions(&Traffic::of(&round.captured), "stock", from)
}

/// Each question with its answers.
fn table(seen: &[Question]) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        format!(
            "{:19}{:46}{}",
            "who has ...?", "answers, after ms", "believed"
        ),
    ];
    for Question {
        target,
        answers,
        believed,
    } in seen
    {
        let answers = answers.iter().map(|(from, after, overrides)| {
            let flag = if *overrides { " (O)" } else { "" };
            format!("{from} {after:.0}{flag}")
        });
        let answers: Vec<_> = answers.collect();
        lines.push(format!(
            "{:19}{:46}{believed}",
            target.to_string(),
            answers.join(", ")
        ));
    }
    lines
}
