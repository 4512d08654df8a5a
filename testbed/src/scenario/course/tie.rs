//! `tie`: two members of equal preference, eight addresses. A hash that everybody can compute says
//! who has which.

use std::collections::BTreeMap;

use super::belief::answers;
use super::*;
use crate::load::Service;
use crate::report::Kind;
use crate::report::packet::What;
use crate::report::traffic::Traffic;
use crate::script::Action;
use hamp::proto::ownership::score;
use hamp::wire::{MemberId, Message};

const LESSON: Lesson = Lesson {
    name: "tie",
    about: "two members, one tie: who has which of eight addresses?",
    question: "Question: one and two serve the same eight addresses, and everything about them is \
               equal. Nothing but the addresses is configured, and there is no leader. Who answers \
               for which address? When two leaves, and when it comes back: which addresses change \
               hands? You can know before you look: netns-scripts/ranks.sh computes it with openssl, \
               from docs/spec/link.md alone.",
    network: include_str!("../../../../examples/labs/tie.toml"),
    steps: &[
        (
            "undisturbed",
            "client asks for all eight, five times a second each.",
        ),
        (
            "two leaves",
            "An orderly leave of all eight: two serves on until one has announced itself.",
        ),
        (
            "two is back",
            "It serves all eight again; who has an entry keeps it.",
        ),
        ("late asks", "late has never asked before."),
    ],
    shell: "client",
    tells_answers: false,
};

/// The lab.
pub(super) const LAB: Scenario = Scenario {
    name: LESSON.name,
    about: LESSON.about,
    virtual_too: true,
    run,
};

/// The members.
const MEMBERS: [&str; 2] = ["one", "two"];

fn addresses() -> impl Iterator<Item = IpAddr> {
    let of = |prefix: &'static str| (1..=4).map(move |last| address(&format!("{prefix}{last}")));
    of("198.18.0.").chain(of("2001:2:0:1546::"))
}

fn run(options: &Options) -> Result<Story> {
    let mut course = Course::begin(&LESSON, options)?;
    let network = course.network(if options.quick { 200 } else { 1000 })?;
    let round = course.play("", &script(network, options.quick))?;
    let traffic = Traffic::of(&round.captured);
    let ids = ids(&traffic);
    let mut lines = vec![
        String::new(),
        format!(
            "{:20}{:>18}{:>18}  {:8}{:8}{:8}",
            "address", "score of one", "score of two", "first", "left", "late"
        ),
    ];
    let (mut wrong, mut stays, mut shares) = (Vec::new(), Vec::new(), [0u32; 2]);
    for address in addresses() {
        let scores = MEMBERS.map(|name| ids.get(name).map_or(0, |id| score(*id, address)));
        let winner = usize::from(scores[1] > scores[0]);
        shares[winner] += 1;
        let winner = MEMBERS[winner];
        let seen = |host: &str, phase: &str| seen(&round, &traffic, host, phase, address);
        let (first, left, late) = (
            seen("client", "undisturbed"),
            seen("client", "two leaves"),
            seen("late", "late asks"),
        );
        if first != winner || late != winner {
            wrong.push(format!(
                "{address}: {winner} wins, {first} and then {late} answers"
            ));
        }
        if left != "one" {
            stays.push(format!("{address}: {left}"));
        }
        let [one, two] = scores;
        lines.push(format!(
            "{:20}{one:>18x}{two:>18x}  {first:8}{left:8}{late:8}",
            address.to_string()
        ));
    }
    course.telling.lines(&lines);
    course.check(Check::none("highest-score-answers", &wrong, "addresses"));
    course.check(Check::none("one-has-all-when-alone", &stays, "addresses"));
    let idle = if shares.contains(&0) {
        vec![format!("{shares:?}")]
    } else {
        Vec::new()
    };
    let [one, two] = shares;
    course
        .check(Check::none("both-have-some", &idle, "failures").noted(format!("{one} and {two}")));
    for check in judge::losses(&round)
        .into_iter()
        .chain(judge::resolution(&round, 1))
    {
        course.check(check);
    }
    Ok(course.end(&format!(
        "Answer: for each address the member with the higher score, SipHash-2-4 over its id, the \
         family and the address (docs/spec/link.md, \"Ranks\"): {one} for one and {two} for two. \
         Everybody computes the same, so nobody has to agree with anybody. When two leaves, its \
         addresses go to one and no other address moves; when it is back it wins the same ones again, \
         for those who ask anew."
    )))
}

fn script(network: Topology, quick: bool) -> Script {
    let ms = |full: u64, short: u64| if quick { short } else { full };
    let asks = ms(9000, 6000);
    let mut script = Script::new(network);
    for address in addresses() {
        script = script.asks("client", address, Service::Dns, 200);
    }
    for address in addresses() {
        script = script.asks("late", address, Service::Dns, 200);
        if let Some(late) = script.clients.last_mut() {
            late.stream.offset += Duration::from_millis(asks);
        }
    }
    let all = |action: fn(String, IpAddr) -> Action| {
        addresses()
            .map(|address| action("two".into(), address))
            .collect::<Vec<_>>()
    };
    script
        .at(
            ms(2000, 1500),
            "two leaves",
            Kind::Orderly,
            all(Action::Leave),
        )
        .at(
            ms(6000, 4000),
            "two is back",
            Kind::Orderly,
            all(Action::Join),
        )
        .at(asks, "late asks", Kind::Quiet, Vec::new())
        .until(ms(12_000, 7500))
}

/// The ids of the members, as they say themselves.
fn ids(traffic: &Traffic) -> BTreeMap<&str, MemberId> {
    let said = traffic.sent.iter().filter_map(|sent| match &sent.what {
        What::Message(Some(message)) => match &**message {
            Message::Statement { member, .. } => Some((sent.from.as_str(), *member)),
            _ => None,
        },
        _ => None,
    });
    said.collect()
}

/// Who answered a host for an address last in a phase.
fn seen(round: &Round, traffic: &Traffic, host: &str, phase: &str, address: IpAddr) -> String {
    let Some(mark) = round.marks.iter().find(|mark| mark.name == phase) else {
        return "-".into();
    };
    let answers = answers(traffic, host, address);
    let last = answers
        .filter(|(at, _)| *at >= mark.from && *at < mark.to)
        .last();
    last.map_or_else(|| "-".into(), |(_, who)| who.to_owned())
}
