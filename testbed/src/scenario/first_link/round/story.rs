//! The order of things, and the clock that they keep.

use super::*;

impl Round<'_> {
    /// Plays the story.
    pub(in super::super) fn play(&mut self, view: &mut View, last: bool) -> Result<Told> {
        if let Err(error) = self.story(view, last) {
            wait::go_on()?;
            view.log(&format!("the story ends here: {error:#}"));
            self.told.broke = Some(format!("{error:#}"));
            self.end_last();
        }
        self.finish(view)
    }

    pub(super) fn story(&mut self, view: &mut View, last: bool) -> Result<()> {
        let settle = self.window().max(Duration::from_millis(400));
        self.settle(view, "start", MEMBERS.len(), &["client"])?;
        self.begin(view, "undisturbed", Kind::Quiet, None)?;
        let wanted = self.options.undisturbed;
        self.stay(view, wanted.unwrap_or(self.either(1500, 5000)))?;
        self.quiet_tail();
        if wanted.is_some() {
            return Ok(());
        }

        self.leave(view, settle)?;
        self.fault(
            view,
            "kill daemon+servers",
            settle,
            Self::kill_all,
            Self::restart_all,
        )?;
        self.fault(
            view,
            "kill daemon",
            settle,
            Self::kill_daemon,
            Self::restart_daemon,
        )?;
        self.fault(view, "freeze daemon", settle, Self::freeze, Self::thaw)?;
        self.fault(view, "pull cable", settle, Self::unplug, Self::plug)?;

        self.begin(view, "programs", Kind::Quiet, None)?;
        // NOTE(unwrap): our own constants are addresses.
        let anycast = [A4, A6].map(|a| a.parse().unwrap());
        inject::send(self.lab.host("stock"), anycast)?;
        self.told.programs = services::programs(self.lab.host("client"));
        self.tick(view);
        self.quiet_tail();
        self.client_restart(view, settle)?;
        if last && !self.options.quick {
            self.entries(view)?;
        }
        Ok(())
    }

    /// Ends load and capture and hands over what they saw; the servers and daemons stay.
    pub(super) fn finish(&mut self, view: &mut View) -> Result<Told> {
        self.forgets = None;
        for load in self.loads.drain(..) {
            load.finish()?;
        }
        self.tick(view);
        if let Some(capture) = self.capture.take() {
            self.told.round.captured = capture.finish()?;
        }
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        self.told.round.requests = std::mem::take(&mut *ended);
        drop(ended);
        self.told.round.requests.sort_by_key(|r| r.sent);
        Ok(std::mem::take(&mut self.told))
    }

    pub(super) fn window(&self) -> Duration {
        window(self.hello)
    }

    pub(super) fn either(&self, quick_ms: u64, full_ms: u64) -> Duration {
        Duration::from_millis(if self.options.quick {
            quick_ms
        } else {
            full_ms
        })
    }

    /// Ends the phase before and begins another; with `--step`, after a key.
    pub(super) fn begin(
        &mut self,
        view: &mut View,
        name: &str,
        kind: Kind,
        host: Option<&'static str>,
    ) -> Result<()> {
        if self.options.step && kind != Kind::Quiet {
            let at = host.unwrap_or("client");
            hands::step(name, &hands::look_at_hamp(self.lab.host(at), "status"))?;
        }
        self.end_last();
        let now = Stamp::now();
        view.event(name, now);
        self.told.round.marks.push(Mark {
            name: name.into(),
            kind,
            host: host.map(Into::into),
            from: now,
            settled: now,
            to: now,
        });
        Ok(())
    }

    pub(super) fn end_last(&mut self) {
        if let Some(mark) = self.told.round.marks.last_mut()
            && mark.to == mark.from
        {
            mark.to = Stamp::now();
        }
    }

    pub(super) fn settled_now(&mut self) {
        if let Some(mark) = self.told.round.marks.last_mut() {
            mark.settled = Stamp::now();
        }
    }

    /// Ends a phase whose last requests are answered when the next one begins.
    pub(super) fn quiet_tail(&mut self) {
        self.end_last();
    }

    pub(super) fn stay(&mut self, view: &mut View, time: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let left = time.saturating_sub(start.elapsed());
            self.options
                .stay(left.min(Duration::from_millis(100)), || self.tick(view))?;
            self.forget(false)?;
            if left.is_zero() {
                return Ok(());
            }
        }
    }

    pub(super) fn tick(&self, view: &mut View) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        view.tick(&ended, &self.told.round.marks, self.window());
    }
}
