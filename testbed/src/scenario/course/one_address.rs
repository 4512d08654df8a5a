//! `one-address`: three servers have one address. Who answers, what happens when that one is
//! unplugged, and who answers when it comes back?
//!
//! `client` asks all the time; `late` asks for the first time when the first server is back, so
//! that both kinds of client are seen: one that has an entry, and one that has none.

use super::*;
use crate::load::Service;
use crate::report::Kind;
use crate::script::Action;

const LESSON: Lesson = Lesson {
    name: "one-address",
    about: "one address, three servers: who answers?",
    question: "Question: one, two and three all serve 198.18.0.1 and 2001:2:0:1546::1, with \
               preferences 300, 200 and 100. Who answers a client: all in turn, the nearest, the \
               first that came? The cable of that one is pulled: how long does the client wait, and \
               for whom? It is plugged in again: who answers the client then, and who answers \
               somebody who has never asked before?",
    network: include_str!("../../../../examples/labs/one-address.toml"),
    steps: &[
        (
            "undisturbed",
            "client asks 20 times a second, over IPv4 and IPv6, by HTTP and by DNS.",
        ),
        (
            "unplug one",
            "one believes that it still serves the address; nobody hears it any more.",
        ),
        (
            "plug one",
            "one says hello again, as a new member of the highest preference.",
        ),
        (
            "late asks",
            "late has never asked before: it has no entry for the address.",
        ),
    ],
    shell: "client",
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
    let script = script(
        course.network(if options.quick { 200 } else { 1000 })?,
        options.quick,
    );
    let round = course.play("", &script)?;
    let first = answered_by("one-owns", &round, "undisturbed", "client", "one");
    course.check(first.noted("the highest preference"));
    let second = answered_by("two-takes-over", &round, "unplug one", "client", "two");
    course.check(second.noted("the next"));
    course.check(answered_by(
        "client-stays",
        &round,
        "plug one",
        "client",
        "two",
    ));
    course.check(answered_by(
        "late-asks-anew",
        &round,
        "late asks",
        "late",
        "one",
    ));
    course.check(answered_by(
        "client-still-stays",
        &round,
        "late asks",
        "client",
        "two",
    ));
    for check in judge::losses(&round)
        .into_iter()
        .chain(judge::resolution(&round, 1))
    {
        course.check(check);
    }
    Ok(course.end(
        "Answer: the member of the highest rank answers alone, here the one with the highest \
         preference. Nobody told the client that it was gone: two missed three of its hellos and \
         announced itself. When one came back, nothing was announced, because nothing was broken: \
         who has an entry keeps it (60 s at most), and who asks anew is answered by one.",
    ))
}

/// Times in milliseconds with hellos at 1 s; the quick form is the same with hellos at 200 ms.
fn script(network: Topology, quick: bool) -> Script {
    let ms = |full: u64, short: u64| if quick { short } else { full };
    let mut script = Script::new(network);
    for address in [A4, A6].map(address) {
        for service in [Service::Http, Service::Dns] {
            script = script.asks("client", address, service, 50);
        }
    }
    let asks = ms(13_000, 5000);
    for address in [A4, A6].map(address) {
        script = script.asks("late", address, Service::Dns, 50);
        if let Some(late) = script.clients.last_mut() {
            late.stream.offset += Duration::from_millis(asks);
        }
    }
    let cable = || ("one".to_owned(), "eth0".to_owned());
    let (host, interface) = cable();
    let unplug = Action::Unplug(host, interface);
    let (host, interface) = cable();
    let plug = Action::Plug(host, interface);
    script
        .at(ms(3000, 1000), "unplug one", Kind::Fault, vec![unplug])
        .at(ms(9000, 3000), "plug one", Kind::Orderly, vec![plug])
        .at(asks, "late asks", Kind::Quiet, Vec::new())
        .until(ms(17_000, 7000))
}
