//! What a person sees: a drawing that is renewed on a terminal, lines elsewhere, a table at the
//! end.

mod tables;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::capture::Stamp;
use crate::report::{Kind, Mark, Request, Run};
use crate::scenario::Options;
use crate::scenario::words::{self, WIDTH};
use crate::{judge, load};

/// Lines that everything fits into.
const LINES: usize = 40;
/// Characters of the strip of answers.
const STRIP: usize = 72;
/// How often the drawing is renewed.
const RENEW: Duration = Duration::from_millis(250);

/// The story as it is told.
pub(super) struct View {
    draw: bool,
    to_stderr: bool,
    started: Stamp,
    hello: Duration,
    /// Requests that were looked at.
    seen: usize,
    owners: BTreeMap<u8, String>,
    /// By family and slot: members that answered, and whether something was lost.
    slots: [BTreeMap<u64, (String, bool)>; 2],
    lines: Vec<String>,
    /// What is the matter with each host, as far as something is.
    states: BTreeMap<&'static str, String>,
    /// Phases whose result has been told.
    told: usize,
    drawn: Instant,
}

impl View {
    /// A view of a run that began at `started`.
    pub(super) fn new(options: &Options, started: Stamp) -> Self {
        Self {
            draw: options.draw,
            to_stderr: options.to_stderr,
            started,
            hello: Duration::ZERO,
            seen: 0,
            owners: BTreeMap::new(),
            slots: Default::default(),
            lines: Vec::new(),
            states: BTreeMap::new(),
            told: 0,
            drawn: Instant::now(),
        }
    }

    /// A round begins.
    pub(super) fn begin(&mut self, hello: Duration) {
        self.hello = hello;
        (self.seen, self.told) = (0, 0);
        self.owners.clear();
        self.slots = Default::default();
        let ms = hello.as_millis();
        self.log(&format!(
            "hellos every {ms} ms, dead after {} ms",
            super::DEAD_HELLOS as u128 * ms
        ));
    }

    /// Notes what is the matter with a host; nothing if it is well again.
    pub(super) fn state(&mut self, host: &'static str, state: &str) {
        self.states.insert(host, state.into());
    }

    /// A line of the story, stamped now.
    pub(super) fn log(&mut self, text: &str) {
        self.log_at(text, Stamp::now());
    }

    /// An event of the story.
    pub(super) fn event(&mut self, name: &str, at: Stamp) {
        self.log_at(&format!("* {name}"), at);
    }

    fn log_at(&mut self, text: &str, at: Stamp) {
        let line = format!("{:8.3} s  {text}", at.ms_since(self.started) / 1e3);
        let line: String = line.chars().take(WIDTH).collect();
        if !self.draw {
            self.print(&line);
        }
        self.lines.push(line);
    }

    fn print(&self, text: &str) {
        if self.to_stderr {
            eprintln!("{text}");
        } else {
            crate::outln!("{text}");
        }
    }

    /// Takes in what has ended since the last tick.
    pub(super) fn tick(&mut self, ended: &[Request], marks: &[Mark], window: Duration) {
        for request in ended.get(self.seen..).unwrap_or_default() {
            self.take(request, marks);
        }
        self.seen = ended.len();
        // The result of a phase is known once its last request has been given up.
        while let Some(mark) = marks.get(self.told) {
            let over = mark.to > mark.from
                && Stamp::now() > mark.to.plus(load::PATIENCE + Duration::from_millis(100));
            if !over {
                break;
            }
            self.told += 1;
            self.result(ended, marks, mark, window);
        }
        if self.draw && self.drawn.elapsed() >= RENEW {
            self.drawn = Instant::now();
            self.redraw();
        }
    }

    fn take(&mut self, request: &Request, marks: &[Mark]) {
        if request.host != "client" {
            return;
        }
        let width = if self.hello < Duration::from_millis(500) {
            250.0
        } else {
            1000.0
        };
        let slot = (request.sent.ms_since(self.started) / width).max(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped"
        )]
        let slot = slot as u64;
        let family = usize::from(request.family == 6);
        let entry = self.slots[family].entry(slot).or_default();
        match &request.outcome {
            Err(_) => entry.1 = true,
            Ok(member) => {
                if !entry.0.contains(member.as_str()) {
                    entry.0.push_str(member);
                }
                let known = self.owners.get(&request.family);
                if known != Some(member) {
                    let from = known.map_or_else(|| "nobody".to_owned(), Clone::clone);
                    let since = marks.last().map_or(0.0, |m| request.done.ms_since(m.from));
                    let text = format!(
                        "  v{} is answered by {member} (was {from}), {since:.0} ms",
                        request.family
                    );
                    self.log_at(&text, request.done);
                    self.owners.insert(request.family, member.clone());
                }
            }
        }
    }

    /// One line about what a phase cost.
    fn result(&mut self, ended: &[Request], marks: &[Mark], mark: &Mark, window: Duration) {
        let share = judge::share(ended, marks, mark);
        let lost: Vec<_> = share.filter(|r| r.outcome.is_err()).collect();
        let count = |f| lost.iter().filter(|r| r.family == f).count();
        let last = lost
            .iter()
            .map(|r| r.sent.ms_since(mark.from))
            .reduce(f64::max);
        let text = match (last, mark.kind) {
            (None, _) => format!("  {}: nothing lost", mark.name),
            (Some(last), Kind::Fault) => format!(
                "  {}: lost v4 {} v6 {}, last at {last:.0} ms of {}",
                mark.name,
                count(4),
                count(6),
                window.as_millis()
            ),
            (Some(_), _) => format!("  {}: LOST v4 {} v6 {}", mark.name, count(4), count(6)),
        };
        self.log(&text);
    }

    fn redraw(&self) {
        let mut out = String::from("\x1b[H\x1b[2J");
        let mut line = |text: &str| {
            out.extend(text.chars().take(WIDTH));
            out.push_str("\r\n");
        };
        let now = Stamp::now().ms_since(self.started) / 1e3;
        line(&format!(
            "first-link   hello {} ms   {now:.1} s",
            self.hello.as_millis()
        ));
        line("");
        let (mut names, mut states) = (String::new(), String::new());
        for host in super::MEMBERS.into_iter().chain(["client", "stock"]) {
            // NOTE(unwrap): writing to a String cannot fail.
            write!(names, "{host:^15}").unwrap();
            write!(
                states,
                "{:^15}",
                self.states.get(host).map_or("", String::as_str)
            )
            .unwrap();
        }
        line(&names);
        line(&states);
        line(&"       |".repeat(5).replace("       |", "       |       "));
        line(&format!(
            "  -----{}-----",
            "+--------------".repeat(5).trim_end_matches('-')
        ));
        line("");
        line("  answers to the client: 1 2 3 the member, * more than one, x something lost");
        for (index, family) in [4u8, 6].iter().enumerate() {
            line(&format!("  v{family} {}", self.strip(index)));
        }
        line("");
        let room = LINES - 14;
        for text in &self.lines[self.lines.len().saturating_sub(room)..] {
            line(text);
        }
        crate::out!("{out}");
        let _ = std::io::stdout().flush();
    }

    fn strip(&self, family: usize) -> String {
        let slots = &self.slots[family];
        let Some(last) = slots.keys().next_back() else {
            return String::new();
        };
        let from = last.saturating_sub(STRIP as u64 - 1);
        let one = |slot| match slots.get(&slot) {
            None => ' ',
            Some((_, true)) => 'x',
            Some((who, false)) if who.len() > 2 => '*',
            Some((who, false)) => who.chars().last().unwrap_or(' '),
        };
        (from..=*last).map(one).collect()
    }
}
