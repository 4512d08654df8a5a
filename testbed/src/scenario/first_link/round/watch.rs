//! Who answers, who is known, and waiting until that is as it should be.

use std::io::Write as _;

use super::*;

/// The least time between two moments in which the stock host forgets, after one whose question
/// was answered at once.
const FORGETS: Duration = Duration::from_millis(1750);
/// The least time after one whose question may have been repeated twice, about 1.02 s apart.
const FORGETS_LATER: Duration = Duration::from_secs(4);

impl Round<'_> {
    /// Waits until the member is back and known, and one member answers; then stays for a while.
    pub(super) fn recovered(
        &mut self,
        view: &mut View,
        name: &'static str,
        settle: Duration,
    ) -> Result<()> {
        view.state(name, "back");
        self.answers_status(name)?;
        self.settle(view, "recovery", MEMBERS.len(), &["client", name])?;
        self.settled_now();
        self.forget(true)?;
        self.stay(view, settle)
    }

    /// Makes the stock host forget its entries, so that it asks again, unless it is too early;
    /// `calm` if nothing is happening and its question will be answered at once.
    ///
    /// Members count a host's questions: two less than 1.5 s apart are a first one and its retry,
    /// which the next rank answers too. A host that really forgets asks less often than that, and
    /// this one so much less that a member that is late to read the one question does not take
    /// the next for its retry.
    pub(super) fn forget(&mut self, calm: bool) -> Result<()> {
        let (when, was_calm) = self.forgot;
        let least = if calm && was_calm {
            FORGETS
        } else {
            FORGETS_LATER
        };
        if let Some((_, input)) = &mut self.forgets
            && when.elapsed() >= least
        {
            let lines = format!("neigh del {A4} dev eth0\nneigh del {A6} dev eth0\n");
            input
                .write_all(lines.as_bytes())
                .context("tell the stock host to forget")?;
            self.forgot = (Instant::now(), calm);
        }
        Ok(())
    }

    /// Waits until these hosts know so many members, none of them leaving, and for a while each
    /// host has been answered by one member only; which one the client's is.
    pub(super) fn settle(
        &mut self,
        view: &mut View,
        what: &str,
        live: usize,
        eyes: &[&str],
    ) -> Result<usize> {
        let limit = self.hello * DEAD_HELLOS * 5 + Duration::from_secs(10);
        let start = Instant::now();
        loop {
            self.stay(view, Duration::from_millis(50))?;
            let answers = self.single_owner(self.span());
            if let Some(member) = answers
                && self.seen_by(eyes, live)?.is_some()
            {
                return Ok(member);
            }
            if start.elapsed() > limit {
                bail!(
                    "{what}: after {} ms {live} members are not known or no single one answers; {}",
                    limit.as_millis(),
                    self.recent()
                );
            }
        }
    }

    /// Waits until all daemons know all members and agree on one owner of both addresses.
    pub(super) fn agree(&self) -> Result<()> {
        let limit = self.hello * DEAD_HELLOS * 5 + Duration::from_secs(10);
        let eyes: Vec<&str> = MEMBERS.into_iter().chain(["client"]).collect();
        wait::until_ok("all daemons to agree on an owner", limit, || {
            wait::go_on()?;
            self.seen_by(&eyes, MEMBERS.len())?.context("they do not")
        })
        .map(drop)
    }

    /// The owner of both addresses, if these hosts agree on it and see so many members of each,
    /// none of them leaving.
    pub(super) fn seen_by(&self, eyes: &[&str], live: usize) -> Result<Option<usize>> {
        let mut owner = None;
        for host in eyes {
            let document = self
                .lab
                .host(host)
                .run(&["hamp", "members", "--json"])?
                .ok()?;
            let document: serde_json::Value = serde_json::from_str(&document)?;
            for address in [A4, A6] {
                let prefixes = document["links"][0]["prefixes"].as_array();
                let ours = |p: &&serde_json::Value| {
                    p["prefix"].as_str().and_then(|p| p.split('/').next()) == Some(address)
                };
                let Some(prefix) = prefixes.and_then(|all| all.iter().find(ours)) else {
                    return Ok(None);
                };
                let ranks = prefix["ranks"].as_array().map_or(&[][..], Vec::as_slice);
                let stays = |rank: &&serde_json::Value| rank["draining"] == false;
                let index = MEMBERS.iter().position(|m| {
                    let mac = self.lab.host(m).interfaces()[0].mac;
                    prefix["owner_mac"] == crate::lab::mac_text(mac)
                });
                if ranks.iter().filter(stays).count() != live
                    || index.is_none()
                    || (owner.is_some() && owner != index)
                {
                    return Ok(None);
                }
                owner = index;
            }
        }
        Ok(owner)
    }

    /// How long everything must have been answered by one member.
    pub(super) fn span(&self) -> Duration {
        self.window().max(Duration::from_millis(300))
    }

    /// Ended requests that were sent within the last [`Self::span`].
    pub(super) fn recent_requests(&self, span: Duration) -> Vec<Request> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Stamp::now();
        // In the order of their ends: one that was sent lately ended lately.
        let lately = ended
            .iter()
            .rev()
            .take_while(|r| now.ms_since(r.done) <= span.as_secs_f64() * 1e3);
        lately
            .filter(|r| now.ms_since(r.sent) <= span.as_secs_f64() * 1e3)
            .cloned()
            .collect()
    }

    /// The member that has answered the client over IPv4 for this long, if every host has had one
    /// member per family.
    pub(super) fn single_owner(&self, span: Duration) -> Option<usize> {
        let recent = self.recent_requests(span);
        let mut members: std::collections::BTreeMap<(&str, u8), &String> =
            std::collections::BTreeMap::new();
        let mut streams = std::collections::BTreeSet::new();
        for request in &recent {
            let member = request.outcome.as_ref().ok()?;
            if *members
                .entry((&request.host, request.family))
                .or_insert(member)
                != member
            {
                return None;
            }
            streams.insert((&request.host, &request.service, request.family));
        }
        // Two services over two families, of the client, the stock host and the one behind s3.
        let member = *members.get(&("client", 4))?;
        (streams.len() == 12)
            .then(|| MEMBERS.iter().position(|m| m == member))
            .flatten()
    }

    /// What has happened lately, for an error.
    pub(super) fn recent(&self) -> String {
        let mut counts = std::collections::BTreeMap::new();
        for r in self.recent_requests(self.span()) {
            let end = r.outcome.unwrap_or_else(|e| e);
            *counts
                .entry((r.host, r.service, r.family, end))
                .or_insert(0) += 1;
        }
        let text =
            |((host, service, family, end), n)| format!("{host} {service} v{family} {end}: {n}");
        counts.into_iter().map(text).collect::<Vec<_>>().join("; ")
    }

    /// The member that the client has now.
    pub(super) fn owner_index(&self) -> Result<usize> {
        let recent = self.recent_requests(self.span().max(self.hello));
        let last = recent.iter().find(|r| r.host == "client" && r.family == 4);
        last.and_then(|r| MEMBERS.iter().position(|m| r.outcome.as_deref() == Ok(*m)))
            .with_context(|| format!("nobody answers the client: {}", self.recent()))
    }
}
