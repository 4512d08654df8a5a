//! The view: title, hosts, owners, events.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};

use super::state::{State, owners, views};
use crate::hold::HostLook;

/// Lines that events have at least: an empty one, a heading and three.
const EVENT_LINES: u16 = 5;
/// Characters of the longest bar.
const BAR: u32 = 10;

pub(super) fn draw(frame: &mut Frame<'_>, state: &State) {
    let Some(last) = &state.last else {
        return;
    };
    let views = views(last);
    let lines = |rows: usize| u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(2);
    // Owners are few, and get their lines first; hosts what is left.
    let area = frame.area();
    let owner_lines = lines(views.len()).min(area.height / 3);
    let rest = area.height.saturating_sub(1 + owner_lines + EVENT_LINES);
    let [title, hosts, owned, events] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(lines(last.hosts.len()).min(rest)),
        Constraint::Length(owner_lines),
        Constraint::Min(0),
    ])
    .areas(area);
    let about = format!(
        "lab {}, {} nodes, up {}. q quits",
        state.name,
        last.hosts.len(),
        time(last.up_ms)
    );
    frame.render_widget(Paragraph::new(bold(about)), title);

    let rows = last.hosts.iter().enumerate().map(|(at, host)| {
        let rate = state.rates.get(at).copied();
        let most = state.rates.iter().copied().fold(0.0, f64::max);
        [
            host.name.clone(),
            host.kind.clone(),
            status(host),
            host.serving.join(" "),
            rate.map_or_else(|| "-".into(), |rate| format!("{rate:7.1}")),
            rate.map_or_else(String::new, |rate| bar(rate, most)),
        ]
    });
    let widths = [
        Constraint::Length(12),
        Constraint::Length(6),
        Constraint::Length(16),
        Constraint::Min(12),
        Constraint::Length(8),
        Constraint::Length(10),
    ];
    let heading = ["HOST", "KIND", "STATE", "SERVES", "  REQ/S", ""];
    table(frame, hosts, heading, rows.collect(), &widths);

    let rows = views.iter().map(|(prefix, by)| {
        let seen: Vec<_> = by
            .iter()
            .map(|(owner, who)| match by.len() {
                1 => who.join(" "),
                _ => format!("{owner}: {}", who.join(" ")),
            })
            .collect();
        [prefix.clone(), owners(by), seen.join("; ")]
    });
    let widths = [
        Constraint::Length(24),
        Constraint::Length(16),
        Constraint::Min(20),
    ];
    table(
        frame,
        owned,
        ["ANYCAST ADDRESS", "OWNER", "SEEN BY"],
        rows.collect(),
        &widths,
    );

    let mut text = vec![Line::default(), bold("EVENTS".into())];
    text.extend(
        state
            .events
            .iter()
            .map(|(at, what)| Line::from(format!("{:>10}  {what}", time(*at)))),
    );
    if state.events.is_empty() {
        text.push(Line::from("none yet"));
    }
    frame.render_widget(Paragraph::new(text), events);
}

fn bold(text: String) -> Line<'static> {
    Line::styled(text, Style::new().add_modifier(Modifier::BOLD))
}

/// A table; what does not fit is counted in its last line.
fn table<const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    heading: [&'static str; N],
    mut rows: Vec<[String; N]>,
    widths: &[Constraint; N],
) {
    // An empty line before, and the heading.
    let room = usize::from(area.height.saturating_sub(2));
    if rows.len() > room {
        let hidden = rows.len() - room.saturating_sub(1);
        rows.truncate(room.saturating_sub(1));
        let mut more = [const { String::new() }; N];
        more[0] = format!("{hidden} more");
        rows.push(more);
    }
    let style = Style::new().add_modifier(Modifier::BOLD);
    let table = Table::new(rows.into_iter().map(Row::new), widths)
        .header(Row::new(heading).style(style).top_margin(1))
        .column_spacing(1);
    frame.render_widget(table, area);
}

/// How a host is, in a word or two.
fn status(host: &HostLook) -> String {
    let ended = host.programs.iter().find(|program| program.ended.is_some());
    match (ended, host.answers) {
        (Some(program), _) => format!("{} ended", program.name),
        (None, Some(true)) => "answers".into(),
        (None, Some(false)) => "no answer".into(),
        (None, None) => "-".into(),
    }
}

/// A bar next to the largest rate.
fn bar(rate: f64, most: f64) -> String {
    let filled = |step: &u32| rate * f64::from(BAR) > most * f64::from(*step);
    "#".repeat((0..BAR).filter(filled).count())
}

/// A time since the lab runs.
fn time(ms: u64) -> String {
    let (minutes, seconds) = (ms / 60_000, ms / 1000 % 60);
    match minutes {
        0 => format!("{seconds}.{} s", ms / 100 % 10),
        1..60 => format!("{minutes} min {seconds:02} s"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}
