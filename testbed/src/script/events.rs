//! What happened on the links, told from frames and requests alone, so that a lab and a simulation
//! tell it in the same words.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hamp::addr::shown;
use hamp::wire::frame::Frame;
use hamp::wire::{Message, Statement};

use crate::capture::Stamp;
use crate::report::Round;

/// An announcement is repeated within this time and is one event (docs/spec/link.md).
const REPEATED: Duration = Duration::from_millis(2500);

/// Something that a host did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Stamp,
    /// Who.
    pub host: String,
    /// What: `serves 198.18.0.1`, `announces 198.18.0.1`, `dns over IPv4 is answered by s1`.
    pub what: String,
}

/// The events of a round from its first mark on, in order.
pub fn events(round: &Round) -> Vec<Event> {
    let begin = round.marks.first().map_or(Stamp(0), |mark| mark.from);
    let mut teller = Teller::default();
    for frame in round.captured.frames.iter().filter(|f| f.from_host) {
        let host = &round.captured.links[frame.link].host;
        match Frame::parse(&frame.bytes) {
            Ok(Frame::Message { payload, .. }) => {
                if let Ok(Message::Statement { statement, .. }) = Message::decode(payload) {
                    teller.statement(frame.at, host, &statement);
                }
            }
            Ok(Frame::Answer(answer))
                if answer.announcement && round.anycast.contains(&answer.target) =>
            {
                teller.announcement(frame.at, host, answer.target);
            }
            _ => {}
        }
    }
    teller.answers(round);
    let mut events = teller.events;
    events.retain(|event| event.at >= begin);
    events.sort_by(|a, b| (a.at, &a.host, &a.what).cmp(&(b.at, &b.host, &b.what)));
    events
}

#[derive(Default)]
struct Teller {
    events: Vec<Event>,
    /// What each host said last of each prefix, in its life with this epoch.
    served: BTreeMap<(String, String), (u64, &'static str)>,
    announced: BTreeMap<(String, IpAddr), Stamp>,
}

impl Teller {
    fn tell(&mut self, at: Stamp, host: &str, what: String) {
        let host = host.to_owned();
        self.events.push(Event { at, host, what });
    }

    /// A report repeats what was said before, over both families and more than once: news alone is
    /// an event.
    fn statement(&mut self, at: Stamp, host: &str, statement: &Statement) {
        for record in &statement.records {
            let Some(prefix) = record.prefix() else {
                continue;
            };
            let what = if record.lifetime.is_zero() {
                "has left"
            } else if record.draining {
                "leaves"
            } else {
                "serves"
            };
            let key = (host.to_owned(), shown(&prefix));
            let said = (statement.epoch, what);
            if self.served.insert(key, said) != Some(said) {
                self.tell(at, host, format!("{what} {}", shown(&prefix)));
            }
        }
    }

    fn announcement(&mut self, at: Stamp, host: &str, target: IpAddr) {
        let before = self.announced.insert((host.to_owned(), target), at);
        if before.is_none_or(|before| at > before.plus(REPEATED)) {
            self.tell(at, host, format!("announces {target}"));
        }
    }

    /// Another member answers.
    fn answers(&mut self, round: &Round) {
        let mut members: BTreeMap<(&str, &str, u8), &str> = BTreeMap::new();
        for request in &round.requests {
            let Ok(member) = &request.outcome else {
                continue;
            };
            let key = (&*request.host, &*request.service, request.family);
            if members.insert(key, member) != Some(member) {
                let (host, service, family) = key;
                let what = format!("{service} over IPv{family} is answered by {member}");
                self.tell(request.done, host, what);
            }
        }
    }
}
