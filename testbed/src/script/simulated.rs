//! A script in virtual time: the same machines, and no waiting.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hamp::time::Instant;

use super::{Action, Script, Stage};
use crate::Lab;
use crate::capture::{Captured, Stamp};
use crate::report::Request;
use crate::sim::Sim;

/// The simulation that a script is played in.
pub(super) struct Simulated {
    sim: Sim,
    settle: Duration,
}

impl Simulated {
    pub(super) fn new(script: &Script, seed: u64) -> Result<Self> {
        let mut sim = Sim::new(&script.topology, seed)?;
        sim.record();
        sim.forget_events();
        Ok(Self {
            sim,
            settle: script.timing()?.1 * 2 + super::ORDERLY,
        })
    }
}

impl Stage for Simulated {
    fn now(&self) -> Stamp {
        Stamp(self.sim.now().as_micros() * 1000)
    }

    fn begin(&mut self) -> Result<()> {
        self.sim.run_for(self.settle);
        Ok(())
    }

    fn run_until(&mut self, at: Stamp) -> Result<()> {
        self.sim.run_until(Instant::from_micros(at.0 / 1000));
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<()> {
        let sim = &mut self.sim;
        match action {
            Action::Join(host, address) => sim.join(host, &address.to_string()),
            Action::Leave(host, address) => sim.leave(host, &address.to_string()),
            Action::Kill(host) => sim.kill(host),
            Action::Start(host) => sim.start(host),
            Action::Freeze(host) => sim.freeze(host),
            Action::Thaw(host) => sim.thaw(host),
            Action::Unplug(host, interface) => sim.carrier(host, interface, false),
            Action::Plug(host, interface) => sim.carrier(host, interface, true),
            Action::Impair {
                host,
                interface,
                to_host,
                from_host,
            } => {
                sim.impair_in(host, interface, to_host)?;
                sim.impair_out(host, interface, from_host)
            }
            Action::Partition(hosts) => sim.partition(hosts),
            Action::Heal => {
                sim.heal();
                Ok(())
            }
            Action::KillHamp(host) => {
                bail!("in virtual time {host} and its hamp are killed together")
            }
            Action::Forget(host) => {
                bail!("in virtual time {host} has no entries that it could forget")
            }
        }
    }

    fn ended(&self, _from: usize) -> Vec<Request> {
        Vec::new()
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn lab(&self) -> Option<&Lab> {
        None
    }

    fn end(self: Box<Self>) -> Result<(Vec<Request>, Captured)> {
        let captured = self.sim.frames().context("no record")?.clone();
        Ok((Vec::new(), captured))
    }
}
