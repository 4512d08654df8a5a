//! What happens to members and to the client, and how it is made good again.

use super::*;

impl Round<'_> {
    pub(super) fn leave(&mut self, view: &mut View, settle: Duration) -> Result<()> {
        let owner = self.owner_index()?;
        let name = MEMBERS[owner];
        self.begin(view, &format!("leave {name}"), Kind::Orderly, Some(name))?;
        view.state(name, "left");
        self.tell(name, "leave")?;
        let other = self.settle(view, "takeover", MEMBERS.len() - 1, &["client"])?;
        if other == owner {
            bail!("{name} has left and still answers");
        }
        self.settled_now();
        self.stay(view, settle)?;
        self.begin(view, &format!("join {name}"), Kind::Orderly, Some(name))?;
        self.tell(name, "join")?;
        self.recovered(view, name, settle)
    }

    /// `hamp leave` or `hamp join` on a member, for both addresses.
    pub(super) fn tell(&self, name: &str, verb: &str) -> Result<()> {
        for address in [A4, A6] {
            let said = self
                .lab
                .host(name)
                .run(&["hamp", verb, address, "--no-wait"])?
                .ok();
            said.with_context(|| format!("hamp {verb} {address} on {name}"))?;
        }
        Ok(())
    }

    pub(super) fn fault(
        &mut self,
        view: &mut View,
        what: &str,
        settle: Duration,
        strike: fn(&mut Self, usize) -> Result<()>,
        repair: fn(&mut Self, usize) -> Result<&'static str>,
    ) -> Result<()> {
        let owner = self.owner_index()?;
        let name = MEMBERS[owner];
        // Asked before, so that nothing comes between the stamp and the fault.
        self.epoch = self.epoch_of(owner)?;
        self.begin(view, &format!("{what} {name}"), Kind::Fault, Some(name))?;
        strike(self, owner)?;
        view.state(name, what);
        let window = self.window();
        if let Some(mark) = self.told.round.marks.last_mut() {
            mark.settled = mark.from.plus(window);
        }
        self.stay(view, window + settle)?;
        self.begin(view, &format!("after: {what}"), Kind::Orderly, Some(name))?;
        let done = repair(self, owner)?;
        view.log(&format!("{name}: {done}"));
        self.recovered(view, name, settle)?;
        if what.starts_with("freeze") {
            let (before, now) = (self.epoch.take(), self.epoch_of(owner)?);
            let new = !now.is_null() && before != now;
            self.told
                .rejoined
                .push((new, format!("epoch {before} before, {now} after")));
        }
        Ok(())
    }

    pub(super) fn kill_all(&mut self, index: usize) -> Result<()> {
        self.kill_daemon(index)?;
        let servers = self.servers[index].as_ref();
        servers.context("no servers")?.kill()
    }

    pub(super) fn restart_all(&mut self, index: usize) -> Result<&'static str> {
        let host = self.lab.host(MEMBERS[index]);
        self.servers[index] = None;
        let servers = Servers::start(host)?;
        servers.ready(host)?;
        self.servers[index] = Some(servers);
        self.restart_daemon(index)?;
        Ok("servers and daemon started again")
    }

    pub(super) fn kill_daemon(&mut self, index: usize) -> Result<()> {
        self.daemon(MEMBERS[index], |daemon| daemon.signal(Signal::SIGKILL))
    }

    pub(super) fn restart_daemon(&mut self, index: usize) -> Result<&'static str> {
        self.lab.start_program(MEMBERS[index], HAMP)?;
        Ok("daemon started again")
    }

    pub(super) fn freeze(&mut self, index: usize) -> Result<()> {
        self.daemon(MEMBERS[index], Process::freeze)
    }

    pub(super) fn thaw(&mut self, index: usize) -> Result<&'static str> {
        self.daemon(MEMBERS[index], Process::thaw)?;
        Ok("daemon wakes up")
    }

    /// The epoch of a member on its link, which a member that joins as new changes.
    pub(super) fn epoch_of(&self, index: usize) -> Result<serde_json::Value> {
        let argv = ["hamp", "status", "--json"];
        let status = self.lab.host(MEMBERS[index]).run(&argv)?.ok()?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        Ok(status["links"][0]["epoch"].clone())
    }

    pub(super) fn unplug(&mut self, index: usize) -> Result<()> {
        self.lab.carrier(MEMBERS[index], "eth0", false)
    }

    pub(super) fn plug(&mut self, index: usize) -> Result<&'static str> {
        self.lab.carrier(MEMBERS[index], "eth0", true)?;
        Ok("cable plugged in again")
    }

    /// Kills the client's daemon under load and with open connections, and starts it again.
    pub(super) fn client_restart(&mut self, view: &mut View, settle: Duration) -> Result<()> {
        let failures = Arc::new(Mutex::new((0, Vec::new())));
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let holders: Vec<_> = [A4, A6]
            .iter()
            .map(|address| {
                let (failures, stop) = (Arc::clone(&failures), Arc::clone(&stop));
                let body = move || hold::hold_open(address, &stop, &failures);
                self.lab.host("client").thread("open", body)
            })
            .collect::<Result<_>>()?;
        let count = || failures.lock().unwrap_or_else(PoisonError::into_inner).0;
        wait::until(
            "answers on open connections",
            Duration::from_secs(5),
            || (count() >= 4).then_some(()),
        )?;
        self.begin(view, "kill client's daemon", Kind::Orderly, None)?;
        self.daemon("client", |daemon| daemon.signal(Signal::SIGKILL))?;
        self.settled_now();
        self.stay(view, settle)?;
        self.begin(view, "restart client's daemon", Kind::Orderly, None)?;
        self.lab.start_program("client", HAMP)?;
        self.answers_status("client")?;
        view.state("client", "back");
        self.settled_now();
        self.stay(view, settle)?;
        self.quiet_tail();
        stop.store(true, std::sync::atomic::Ordering::Release);
        for holder in holders {
            let _ = holder.join();
        }
        let seen = std::mem::take(&mut *failures.lock().unwrap_or_else(PoisonError::into_inner));
        self.told.established = Some(seen);
        Ok(())
    }

    /// Kills the client's daemon, then the member, and waits for the client's kernel to let go of
    /// its entries.
    pub(super) fn entries(&mut self, view: &mut View) -> Result<()> {
        let owner = self.owner_index()?;
        let mac = self.lab.host(MEMBERS[owner]).interfaces()[0].mac;
        let mac = crate::lab::mac_text(mac);
        self.daemon("client", |daemon| daemon.signal(Signal::SIGKILL))?;
        // The traffic of this phase is lost for as long as the kernel takes: it is measured by its
        // entries alone.
        self.end_last();
        view.log(&format!(
            "kill client's daemon, then {}: how long do its entries live?",
            MEMBERS[owner]
        ));
        self.lab.carrier(MEMBERS[owner], "eth0", false)?;
        let (at, start) = (Stamp::now(), Instant::now());
        let limit = Duration::from_secs(70);
        for (family, address) in [(4, A4), (6, A6)] {
            loop {
                wait::go_on()?;
                let show = ["ip", "neigh", "show", "to", address, "dev", "eth0"];
                let entry = self.lab.host("client").run(&show)?.ok()?;
                if !entry.contains(&mac) || start.elapsed() > limit {
                    break;
                }
                self.options.stay(Duration::from_millis(100), || {})?;
            }
            self.told.entries.push((family, Stamp::now().ms_since(at)));
        }
        self.lab.carrier(MEMBERS[owner], "eth0", true)?;
        self.lab.start_program("client", HAMP)?;
        self.answers_status("client")
    }
}
