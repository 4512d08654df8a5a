//! What is done to the network: hosts that end, sleep and begin, cables that are pulled or made
//! worse, partitions, and what people tell hamp to do.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use hamp::addr::Prefix;
use hamp::daemon::config::AddressOrPrefix;
use hamp::node::Node;
use hamp::time::{Duration, Instant};
use hamp::wire::frame;
use ipnet::IpNet;

use super::host::{Host, Trust, number};
use super::machine::Machine;
use super::{Device, Sim, nanos};
use crate::impair::Impairment;
use crate::load::Stream;
use crate::topology::PPM;

impl Sim {
    /// Spreads the first starts of all hosts over `span`, each at a random moment; hosts that are
    /// all switched on at one instant exist in simulations only.
    ///
    /// # Errors
    /// Time has passed already.
    pub fn start_within(&mut self, span: Duration) -> Result<()> {
        ensure!(self.now == 0, "the hosts have started");
        for part in &mut self.parts {
            for planned in std::mem::take(&mut part.queue) {
                let at = self.random.next_u64() % (nanos(span) + 1);
                // hamp counts microseconds.
                part.queue.push(at / 1000 * 1000, planned);
            }
        }
        Ok(())
    }

    /// Gives a host another `hamp.toml`, written like those of the topology. It is read at the next
    /// start.
    ///
    /// # Errors
    /// There is no such host, it runs, or the text says what cannot be.
    pub fn configure(&mut self, host: &str, text: &str) -> Result<()> {
        let node = self.position(host)?;
        self.topology.nodes[node].hamp = Some(text.to_owned());
        let text = self.topology.hamp_config(node)?;
        let host = self.host_mut(node)?;
        ensure!(host.machine.is_none(), "{} runs", host.name());
        host.about.configure(text.as_deref(), &mut host.interfaces)
    }

    /// Gives a host a key, or takes it away, and says whom it believes. It counts from the next
    /// start.
    ///
    /// # Errors
    /// There is no such host, or it runs.
    pub fn trust(&mut self, host: &str, trust: Trust) -> Result<()> {
        let node = self.position(host)?;
        let host = self.host_mut(node)?;
        ensure!(host.machine.is_none(), "{} runs", host.name());
        host.about.trust = trust;
        Ok(())
    }

    /// Starts hamp on a host: at once where that was still to come, or in a new life with a later
    /// epoch where it was killed.
    ///
    /// # Errors
    /// There is no such host, it has no `hamp` text, or it runs.
    pub fn start(&mut self, host: &str) -> Result<()> {
        let (node, now) = (self.position(host)?, self.now);
        self.host_mut(node)?.start(now)?;
        self.settle(node);
        Ok(())
    }

    /// Ends a host, and hamp on it, without a word to anybody, as a power cut does; a host that has
    /// not started yet does not.
    ///
    /// # Errors
    /// There is no such host, or it is dead.
    pub fn kill(&mut self, host: &str) -> Result<()> {
        let node = self.position(host)?;
        ensure!(self.host_mut(node)?.kill(), "{host} does not run");
        Ok(())
    }

    /// Ends hamp on a host without a word to anybody, as `kill -9` does. A whole host goes on.
    ///
    /// # Errors
    /// There is no such host, or hamp does not run on it.
    pub fn kill_hamp(&mut self, host: &str) -> Result<()> {
        let (node, now) = (self.position(host)?, self.now);
        ensure!(self.host_mut(node)?.kill_hamp(now), "{host} does not run");
        self.settle(node);
        Ok(())
    }

    /// Stops hamp on a host (SIGSTOP). Where it is alone, its socket keeps what comes, up to
    /// [`BACKLOG`](super::BACKLOG) frames; a whole host goes on, and what comes for hamp is lost.
    ///
    /// # Errors
    /// There is no such host, or it does not run.
    pub fn freeze(&mut self, host: &str) -> Result<()> {
        let (node, now) = (self.position(host)?, self.now);
        ensure!(self.host_mut(node)?.freeze(now), "{host} does not run");
        self.settle(node);
        Ok(())
    }

    /// Lets a frozen host go on.
    ///
    /// # Errors
    /// There is no such host, or it is not frozen.
    pub fn thaw(&mut self, host: &str) -> Result<()> {
        let (node, now) = (self.position(host)?, self.now);
        ensure!(self.host_mut(node)?.thaw(now), "{host} is not frozen");
        self.settle(node);
        Ok(())
    }

    /// Lets a host forget the link-layer addresses that it has learned.
    ///
    /// # Errors
    /// There is no such host, it does not run, or has hamp alone, which learns none.
    pub fn forget(&mut self, host: &str) -> Result<()> {
        self.drive(host, |machine, _| machine.forget())
    }

    /// Pulls the cable of an interface (`false`) or plugs it in again (`true`): both ends see it.
    ///
    /// # Errors
    /// There is no such host or interface.
    pub fn carrier(&mut self, host: &str, interface: &str, up: bool) -> Result<()> {
        let port = self.port(host, interface)?;
        self.carrier[port / 2] = up;
        let now = self.now;
        for port in [port, port ^ 1] {
            let (node, at) = (self.ports[port].node, self.ports[port].at);
            match &mut self.devices[node] {
                Device::Switch(switch) => switch.forget(port),
                Device::Host(host) => {
                    host.interfaces[at].carrier = up;
                    host.look_at_links(now);
                    self.settle(node);
                }
            }
        }
        Ok(())
    }

    /// Gives an interface other addresses.
    ///
    /// # Errors
    /// There is no such host or interface.
    pub fn readdress(&mut self, host: &str, interface: &str, addresses: &[IpNet]) -> Result<()> {
        let (port, now) = (self.port(host, interface)?, self.now);
        let (node, at) = (self.ports[port].node, self.ports[port].at);
        let host = self.host_mut(node)?;
        host.interfaces[at].addresses = addresses.to_vec();
        host.look_at_links(now);
        self.settle(node);
        Ok(())
    }

    /// Changes what happens to frames of a cable from now on: those sent *to* the host at this
    /// interface, and those sent *from* it, as [`Lab::impair`](crate::Lab::impair) does.
    ///
    /// # Errors
    /// There is no such host or interface, or an impairment is out of range.
    pub fn impair(
        &mut self,
        host: &str,
        interface: &str,
        to_host: Impairment,
        from_host: Impairment,
    ) -> Result<()> {
        to_host.check()?;
        from_host.check()?;
        let port = self.port(host, interface)?;
        self.ports[port ^ 1].impair(to_host);
        self.ports[port].impair(from_host);
        Ok(())
    }

    /// Parts `side` from all others of their present part: neither hears the other, and no cable
    /// goes down. Parts can be parted again.
    ///
    /// # Errors
    /// There is no such host.
    pub fn partition(&mut self, side: &[impl AsRef<str>]) -> Result<()> {
        let nodes: Result<Vec<_>> = side
            .iter()
            .map(|name| self.position(name.as_ref()))
            .collect();
        let group = self.groups.iter().max().map_or(0, |last| last + 1);
        for node in nodes? {
            self.groups[node] = group;
        }
        Ok(())
    }

    /// Everybody hears everybody again.
    pub fn heal(&mut self) {
        self.groups.fill(0);
    }

    /// Lets a host's clock be `ppm` parts per million too fast (slow is negative) from now on, as when
    /// it is steered or its temperature changes; it goes on from what it shows.
    ///
    /// # Errors
    /// There is no such host, or no clock is that wrong.
    pub fn set_clock(&mut self, host: &str, ppm: i32) -> Result<()> {
        ensure!(ppm.abs() <= PPM, "{ppm} ppm is not within -{PPM} to {PPM}");
        let (node, now) = (self.position(host)?, self.now);
        self.host_mut(node)?.clock.set_rate(now, ppm);
        self.settle(node);
        Ok(())
    }

    /// Serves `prefix` (an address or `ADDRESS/LENGTH`) on a host.
    ///
    /// # Errors
    /// There is no such host, it does not run, or hamp refuses.
    pub fn join(&mut self, host: &str, prefix: &str) -> Result<()> {
        let prefix = parse(prefix)?;
        let options = self.host(self.position(host)?)?.about.options();
        let joins = |machine: &mut Machine, now| machine.join(now, prefix, options);
        self.drive(host, joins).with_context(|| host.to_owned())
    }

    /// Stops serving `prefix` on a host.
    ///
    /// # Errors
    /// There is no such host, it does not run, or does not serve it.
    pub fn leave(&mut self, host: &str, prefix: &str) -> Result<()> {
        let prefix = parse(prefix)?;
        let leaves = |machine: &mut Machine, now| machine.leave(now, prefix);
        self.drive(host, leaves).with_context(|| host.to_owned())
    }

    /// Does something with hamp, alone on a host that acts, at the time that its clock shows, and
    /// whatever follows from it.
    ///
    /// # Errors
    /// There is no such host, it does not act, or it is a whole host.
    pub fn act<T>(&mut self, host: &str, what: impl FnOnce(&mut Node, Instant) -> T) -> Result<T> {
        self.drive(host, |machine, now| Ok(what(machine.node_mut()?, now)))
    }

    /// Lets clients on a host ask from now on, at the stream's rate; [`Sim::requests`] has what
    /// comes of it.
    ///
    /// # Errors
    /// There is no such host, it does not run, or has hamp alone.
    pub fn ask(&mut self, host: &str, stream: Stream) -> Result<()> {
        let (node, now) = (self.position(host)?, self.now);
        let host_of = self.host_mut(node)?;
        let now = host_of.clock.at(now);
        let machine = host_of.machine.as_mut();
        let machine = machine.with_context(|| format!("{host} does not run"))?;
        machine.as_whole()?.apps.ask(now, host, stream);
        self.settle(node);
        Ok(())
    }

    /// Lets no client ask any more; requests on their way may still end.
    pub fn stop_asking(&mut self) {
        for device in &mut self.devices {
            if let Device::Host(host) = device
                && let Some(Ok(whole)) = host.machine.as_mut().map(Machine::as_whole)
            {
                whole.apps.stop();
            }
        }
    }

    /// Does something with what runs on a host that acts, and whatever follows from it.
    fn drive<T>(
        &mut self,
        host: &str,
        what: impl FnOnce(&mut Machine, Instant) -> Result<T>,
    ) -> Result<T> {
        let (node, now) = (self.position(host)?, self.now);
        let host_of = self.host_mut(node)?;
        let now = host_of.clock.at(now);
        let machine = host_of.acting();
        let machine = machine.with_context(|| format!("{host} does not run, or is frozen"))?;
        let result = what(machine, now);
        self.settle(node);
        result
    }

    /// The kernel of a host asks the link of an interface who has `target` (ARP, or neighbour
    /// discovery): hamp on it sees the request, and so does the link.
    ///
    /// # Errors
    /// There is no such host or interface, or the interface has no address of the target's family.
    pub fn resolve(&mut self, host: &str, interface: &str, target: IpAddr) -> Result<()> {
        let port = self.port(host, interface)?;
        let at = self.ports[port].at;
        let asker = &self.host_mut(self.ports[port].node)?.interfaces[at];
        let mut own = asker.addresses.iter().map(IpNet::addr);
        let source = own.find(|own| own.is_ipv6() == target.is_ipv6());
        let request = source.and_then(|source| frame::request(asker.mac, source, target));
        let request =
            request.with_context(|| format!("{host} has no address to ask for {target} from"))?;
        self.send(host, interface, request)
    }

    /// Sends any frame from an interface, as a program of the host with a packet socket does.
    ///
    /// # Errors
    /// There is no such host or interface.
    pub fn send(&mut self, host: &str, interface: &str, frame: Vec<u8>) -> Result<()> {
        let (port, now) = (self.port(host, interface)?, self.now);
        let (node, at) = (self.ports[port].node, self.ports[port].at);
        let host = self.host_mut(node)?;
        let speaks = host.interfaces[at].speaks;
        let now = host.clock.at(now);
        if let Some(machine) = host.acting().filter(|_| speaks) {
            machine.see(now, number(at), &frame);
        }
        self.emit(port, frame);
        self.settle(node);
        Ok(())
    }

    pub(super) fn first_start(&mut self, node: usize) {
        let now = self.now;
        if let Device::Host(host) = &mut self.devices[node]
            && host.starts
            && host.start(now).is_ok()
        {
            self.settle(node);
        }
    }

    fn host_mut(&mut self, node: usize) -> Result<&mut Host> {
        match &mut self.devices[node] {
            Device::Host(host) => Ok(host),
            Device::Switch(_) => bail!("{} is a switch", self.topology.nodes[node].name),
        }
    }
}

fn parse(prefix: &str) -> Result<Prefix> {
    let parsed: AddressOrPrefix = prefix.parse().map_err(anyhow::Error::msg)?;
    Ok(parsed.0)
}
