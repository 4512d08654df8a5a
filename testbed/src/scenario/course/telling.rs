//! The story of a lab on a terminal, in plain words.

use std::collections::BTreeMap;

use anyhow::Result;

use super::super::words::wrapped;
use super::super::{Options, hands};
use super::Lesson;
use crate::Lab;
use crate::capture::Stamp;
use crate::report::{Mark, Request};
use crate::script::{Audience, Script, Step, World};

/// Where sentences begin that belong to the line above.
const INDENT: &str = "           ";

/// Who tells it.
pub(super) struct Telling<'a> {
    lesson: &'a Lesson,
    options: &'a Options,
    /// What times count from: the first mark of the script.
    begin: Option<Stamp>,
    /// By host and family.
    heard: BTreeMap<(String, u8), Heard>,
}

impl<'a> Telling<'a> {
    pub(super) fn new(lesson: &'a Lesson, options: &'a Options) -> Self {
        Self {
            lesson,
            options,
            begin: None,
            heard: BTreeMap::new(),
        }
    }

    /// The name, the question, and where the network is described.
    pub(super) fn question(&mut self, file: &str) {
        let Lesson {
            name,
            about,
            question,
            ..
        } = self.lesson;
        self.wrap(&format!("{name}: {about}"), "");
        self.line("");
        for part in question.split('\n') {
            self.wrap(part, "   ");
        }
        self.line("");
        self.wrap(
            &format!("The network is {file}. The answer: docs/labs/{name}.md"),
            "",
        );
    }

    /// A script begins.
    pub(super) fn round(&mut self, name: &str, script: &Script) {
        self.begin = None;
        self.heard.clear();
        self.line("");
        let hello = script.timing().map(|(hello, _)| hello).unwrap_or_default();
        let name = if name.is_empty() {
            String::new()
        } else {
            format!("{name}: ")
        };
        let world = match self.options.world {
            World::Kernel => String::new(),
            World::Virtual(seed) => format!(", in virtual time with seed {seed}"),
        };
        let seconds = script.length.as_secs_f64();
        let text = if hello.is_zero() {
            format!("{name}{seconds:.0} s{world}")
        } else {
            format!(
                "{name}{seconds:.0} s, hellos every {} ms{world}",
                hello.as_millis()
            )
        };
        self.wrap(&text, "   ");
    }

    /// The answer in short.
    pub(super) fn answer(&mut self, text: &str) {
        self.line("");
        for part in text.split('\n') {
            self.wrap(part, "   ");
        }
    }

    pub(super) fn lines(&self, lines: &[String]) {
        for line in lines {
            self.line(line);
        }
    }

    fn wrap(&self, text: &str, indent: &str) {
        self.lines(&wrapped(text, indent));
    }

    fn line(&self, text: &str) {
        let text = text.trim_end();
        if self.options.to_stderr {
            eprintln!("{text}");
        } else {
            crate::outln!("{text}");
        }
    }

    /// A sentence at a time of the script.
    fn tell(&self, at: Stamp, text: &str) {
        let seconds = at.ms_since(self.begin.unwrap_or(at)) / 1e3;
        self.wrap(&format!("{seconds:7.1} s  {text}"), &format!("{INDENT}  "));
    }
}

/// What a host got last over a family.
#[derive(Default)]
struct Heard {
    /// Who answered.
    member: String,
    /// The latest of the requests that were answered.
    sent: Stamp,
    /// Whether it has been told that there was no answer since.
    silent: bool,
}

impl Heard {
    /// What is new with this request: the member that answers now, or nobody.
    fn hear(&mut self, request: &Request) -> Option<Option<String>> {
        if request.sent < self.sent {
            return None;
        }
        match &request.outcome {
            Ok(member) => {
                self.sent = request.sent;
                let known = !std::mem::take(&mut self.silent) && self.member == *member;
                self.member.clone_from(member);
                (!known).then(|| Some(member.clone()))
            }
            Err(_) => (!std::mem::replace(&mut self.silent, true)).then_some(None),
        }
    }
}

impl Audience for Telling<'_> {
    fn before(&mut self, step: &Step, lab: Option<&Lab>) -> Result<()> {
        if !self.options.step {
            return Ok(());
        }
        let Some(lab) = lab else { return Ok(()) };
        let host = lab.host(self.lesson.shell);
        hands::step(&step.name, &hands::look(host, "ip neigh"))
    }

    fn step(&mut self, mark: &Mark) {
        if self.begin.is_none() {
            self.begin = Some(mark.from);
        } else {
            self.tell(mark.from, &format!("* {}", mark.name));
        }
        let words = self
            .lesson
            .steps
            .iter()
            .find(|(name, _)| *name == mark.name);
        if let Some((_, words)) = words {
            self.wrap(&format!("{INDENT}{words}"), INDENT);
        }
    }

    fn ended(&mut self, requests: &[Request]) {
        if !self.lesson.tells_answers {
            return;
        }
        // Over both families the same happens at nearly the same time: one line.
        let mut news: Vec<(&str, Option<String>, Stamp, Vec<u8>)> = Vec::new();
        for request in requests {
            let key = (request.host.clone(), request.family);
            let Some(member) = self.heard.entry(key).or_default().hear(request) else {
                continue;
            };
            let known = news
                .iter_mut()
                .find(|(host, who, ..)| *host == request.host && *who == member);
            match known {
                Some((.., families)) => families.push(request.family),
                None => news.push((&request.host, member, request.done, vec![request.family])),
            }
        }
        for (host, member, at, families) in news {
            let over = match families.as_slice() {
                [4] => "IPv4",
                [6] => "IPv6",
                _ => "IPv4 and IPv6",
            };
            let text = match member {
                Some(member) => format!("{host} is answered by {member} over {over}"),
                None => format!("{host} gets no answer over {over}"),
            };
            self.tell(at, &text);
        }
    }

    fn after(&mut self, lab: Option<&Lab>) -> Result<()> {
        match lab {
            Some(lab) if self.options.keep => hands::keep(lab, self.lesson.shell),
            _ => Ok(()),
        }
    }
}
