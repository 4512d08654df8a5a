//! The tables at the end.

use super::*;

impl View {
    /// The table and the checks of a round.
    pub(in super::super) fn round(&mut self, run: &Run, hello: Duration) {
        if self.draw {
            self.redraw();
        }
        let hello_ms = u64::try_from(hello.as_millis()).unwrap_or(u64::MAX);
        self.print(&format!(
            "\n{:32} {:^22} {:^22}",
            format!("hello {hello_ms} ms"),
            "IPv4",
            "IPv6"
        ));
        let head = format!("{:>5} {:>4} {:11}", "sent", "lost", "by");
        self.print(&format!("{:32} {head} {head}", "phase"));
        let mut names: Vec<&str> = Vec::new();
        for phase in run.phases.iter().filter(|p| p.hello_ms == hello_ms) {
            if !names.contains(&phase.name.as_str()) {
                names.push(&phase.name);
            }
        }
        for name in names {
            let mut cells = [(0, 0, BTreeMap::new()), (0, 0, BTreeMap::new())];
            for phase in run
                .phases
                .iter()
                .filter(|p| p.hello_ms == hello_ms && p.name == name)
            {
                let cell = &mut cells[usize::from(phase.family == 6)];
                cell.0 += phase.requests;
                cell.1 += phase.failed;
                for (member, count) in &phase.by_member {
                    *cell.2.entry(member.as_str()).or_insert(0) += count;
                }
            }
            let text = cells.map(|(sent, lost, by)| {
                let by: Vec<_> = by.keys().copied().collect();
                format!("{sent:>5} {lost:>4} {:11}", by.join(","))
            });
            self.print(&format!(
                "{:32} {}",
                name.chars().take(32).collect::<String>(),
                text.join(" ")
            ));
        }
        self.print("");
        self.print(&format!(
            "{:32} {:>12} {:>9} {:>5} {:>9} {:>8}",
            "takeover", "", "took ms", "lost", "last ms", "limit"
        ));
        for t in run.takeovers.iter().filter(|t| t.hello_ms == hello_ms) {
            let last = t
                .last_lost_ms
                .map_or_else(|| "-".into(), |l| format!("{l:.0}"));
            let who = format!("v{} {}>{}", t.family, t.from, t.to);
            self.print(&format!(
                "{:32} {who:>12} {:>9.0} {:>5} {last:>9} {:>8.0}",
                t.event.chars().take(32).collect::<String>(),
                t.took_ms,
                t.lost,
                t.window_ms
            ));
        }
    }

    /// Programs, checks and the verdict.
    pub(in super::super) fn end(&mut self, run: &Run) {
        self.print("");
        for program in &run.programs {
            let who = program.answered_by.clone();
            let who =
                who.unwrap_or_else(|| format!("FAILED {}", program.error.as_deref().unwrap_or("")));
            self.print(&format!(
                "{:58} {who}",
                program.command.chars().take(58).collect::<String>()
            ));
        }
        for line in words::end(run) {
            self.print(&line);
        }
    }
}
