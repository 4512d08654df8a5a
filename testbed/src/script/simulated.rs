//! A script in virtual time: the same machines, and no waiting.

use std::time::Duration;

use anyhow::{Context, Result};
use hamp::time::Instant;

use super::play::{ORDERLY, Stage};
use super::{Action, Client, Script};
use crate::Lab;
use crate::capture::{Captured, Stamp};
use crate::load::PATIENCE;
use crate::report::Request;
use crate::sim::Sim;

/// The simulation that a script is played in.
pub(super) struct Simulated {
    sim: Sim,
    clients: Vec<Client>,
    settle: Duration,
}

impl Simulated {
    pub(super) fn new(script: &Script, seed: u64) -> Result<Self> {
        let mut sim = Sim::whole(&script.topology, seed)?;
        sim.record();
        sim.forget_events();
        Ok(Self {
            sim,
            clients: script.clients.clone(),
            settle: script.timing()?.1 * 2 + ORDERLY,
        })
    }
}

impl Stage for Simulated {
    fn now(&self) -> Stamp {
        Stamp(self.sim.now().as_micros() * 1000)
    }

    fn begin(&mut self) -> Result<()> {
        self.sim.run_for(self.settle);
        let mut clients = self.clients.iter();
        clients.try_for_each(|client| self.sim.ask(&client.host, client.stream.clone()))
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
            } => sim.impair(host, interface, *to_host, *from_host),
            Action::Partition(hosts) => sim.partition(hosts),
            Action::Heal => {
                sim.heal();
                Ok(())
            }
            Action::KillHamp(host) => sim.kill_hamp(host),
            Action::Forget(host) => sim.forget(host),
        }
    }

    fn ended(&self, from: usize) -> Vec<Request> {
        let ended = self.sim.requests().get(from..);
        ended.unwrap_or_default().to_vec()
    }

    fn finish(&mut self) -> Result<()> {
        self.sim.stop_asking();
        self.sim.run_for(PATIENCE);
        Ok(())
    }

    fn lab(&self) -> Option<&Lab> {
        None
    }

    fn end(self: Box<Self>) -> Result<(Vec<Request>, Captured)> {
        let captured = self.sim.frames().context("no record")?.clone();
        Ok((self.sim.requests().to_vec(), captured))
    }
}
