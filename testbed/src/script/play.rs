//! Playing a script: the two worlds behind one face, and the record that they leave.

use std::time::Duration;

use anyhow::{Context, Result};
use hamp::daemon::config::Config;

use super::audience::Steps;
use super::{Action, Audience, Manner, Script, Step, World, agree, kernel, simulated};
use crate::Lab;
use crate::capture::{Captured, Stamp};
use crate::report::{Kind, Mark, Request, Round};

/// After something orderly, a member may listen for 500 ms and another drain for 1 s before one
/// answers (docs/spec/membership.md); the rest is slack.
pub(super) const ORDERLY: Duration = Duration::from_millis(1750);
/// Slack beyond the dead time for a request that a fault may cost.
const SLACK: Duration = Duration::from_millis(200);
/// How often the audience is told what has ended.
const TELL: Duration = Duration::from_millis(100);

/// What both worlds can do.
pub(super) trait Stage {
    /// The present.
    fn now(&self) -> Stamp;
    /// Lets the hosts agree on who owns what, then lets the clients ask.
    fn begin(&mut self) -> Result<()>;
    /// Lets time pass until then.
    fn run_until(&mut self, at: Stamp) -> Result<()>;
    /// Does something.
    fn act(&mut self, action: &Action) -> Result<()>;
    /// The requests that have ended, from the `from`-th on, in the order of their ends.
    fn ended(&self, from: usize) -> Vec<Request>;
    /// Lets nobody ask any more, and waits for the last answers.
    fn finish(&mut self) -> Result<()>;
    /// What it runs in, if that is the kernel.
    fn lab(&self) -> Option<&Lab>;
    /// Ends it, and tells what was asked and sent.
    fn end(self: Box<Self>) -> Result<(Vec<Request>, Captured)>;
}

impl Script {
    /// Plays it to its end; `watch` is told each step when it happens.
    ///
    /// # Errors
    /// It cannot be played: what [`Script::check`] says, or what a host says of a step.
    pub fn play(&self, world: World, manner: &Manner, watch: impl FnMut(&Mark)) -> Result<Round> {
        self.play_to(world, manner, &mut Steps(watch))
    }

    /// As [`Script::play`], before an audience that may stop it before each step: what comes later
    /// is put off by as much.
    ///
    /// # Errors
    /// Likewise, and those of the audience.
    pub fn play_to(
        &self,
        world: World,
        manner: &Manner,
        audience: &mut dyn Audience,
    ) -> Result<Round> {
        self.check()?;
        let (hello, dead) = self.timing()?;
        let window = dead + SLACK;
        let mut stage: Box<dyn Stage> = match world {
            World::Kernel => Box::new(kernel::Kernel::new(self, manner)?),
            World::Virtual(seed) => Box::new(simulated::Simulated::new(self, seed)?),
        };
        stage.begin()?;
        let mut start = stage.now();
        let undisturbed = Step {
            at: Duration::ZERO,
            name: "undisturbed".into(),
            kind: Kind::Quiet,
            actions: Vec::new(),
        };
        let mut told = 0;
        let mut marks: Vec<Mark> = Vec::new();
        for step in std::iter::once(&undisturbed).chain(&self.steps) {
            run_before(&mut *stage, start.plus(step.at), &mut told, audience)?;
            if !step.actions.is_empty() {
                let stopped = stage.now();
                audience.before(step, stage.lab())?;
                let pause = stage.now().since(stopped).unwrap_or_default();
                start = start.plus(pause);
            }
            let from = stage.now();
            if let Some(last) = marks.last_mut() {
                last.to = from;
            }
            let settles = match step.kind {
                Kind::Quiet => Duration::ZERO,
                Kind::Orderly => ORDERLY,
                Kind::Fault => window,
            };
            let mark = Mark {
                name: step.name.clone(),
                kind: step.kind,
                host: step.actions.first().and_then(Action::host).map(Into::into),
                from,
                settled: from.plus(settles),
                to: from,
            };
            audience.step(&mark);
            marks.push(mark);
            for action in &step.actions {
                stage
                    .act(action)
                    .with_context(|| format!("{}: {action:?}", step.name))?;
            }
        }
        run_before(&mut *stage, start.plus(self.length), &mut told, audience)?;
        if let Some(last) = marks.last_mut() {
            last.to = stage.now();
        }
        stage.finish()?;
        audience.ended(&stage.ended(told));
        audience.after(stage.lab())?;
        let (mut requests, captured) = stage.end()?;
        requests.sort_by_key(|request| request.sent);
        Ok(Round {
            name: world.name().into(),
            hello,
            dead,
            window,
            anycast: self.anycast.clone(),
            members: self.members()?,
            stock: self.stock(),
            marks,
            requests,
            captured,
        })
    }

    /// The hosts without hamp.
    fn stock(&self) -> Vec<String> {
        let nodes = self.topology.nodes.iter();
        let stock =
            nodes.filter(|node| node.kind != crate::topology::Kind::Switch && node.hamp.is_none());
        stock.map(|node| node.name.clone()).collect()
    }

    /// The hosts that serve an anycast address at any time.
    fn members(&self) -> Result<Vec<String>> {
        let configs = agree::configs(&self.topology)?;
        let serves = |(index, config): (&usize, &Config)| {
            let name = &self.topology.nodes[*index].name;
            let joins = |action: &Action| matches!(action, Action::Join(host, _) if host == name);
            let mut actions = self.steps.iter().flat_map(|step| &step.actions);
            let serves = !config.addresses().is_empty() || actions.any(joins);
            serves.then(|| name.clone())
        };
        Ok(configs.iter().filter_map(serves).collect())
    }
}

/// Lets time pass until then, before an audience that has been told the first requests already.
fn run_before(
    stage: &mut dyn Stage,
    at: Stamp,
    told: &mut usize,
    audience: &mut dyn Audience,
) -> Result<()> {
    while at.since(stage.now()).is_some() {
        let next = stage.now().plus(TELL).min(at);
        stage.run_until(next)?;
        let ended = stage.ended(*told);
        *told += ended.len();
        audience.ended(&ended);
    }
    Ok(())
}
