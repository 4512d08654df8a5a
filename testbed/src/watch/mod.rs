//! `hamp-lab watch`: a live view of a lab that is up.
//!
//! The holder says twice a second how the lab is ([`Snapshot`]); what changed between two answers
//! becomes an event. The view is words and numbers: nothing depends on colour, and 80 columns by 24
//! lines are enough.
//!
//! Files: `state` from snapshots to rates and events, `view` from there to the screen.

mod state;
mod view;

use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::hold::{Found, Request, Snapshot};

pub use state::State;

/// How often the holder is asked.
const EVERY: Duration = Duration::from_millis(500);
/// How long it may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How often keys and answers are looked for.
const TICK: Duration = Duration::from_millis(50);
/// How long `once` counts.
const COUNT: Duration = Duration::from_secs(1);

fn look(lab: &Found) -> Result<Snapshot> {
    lab.ask(&Request::Look, ANSWER)
}

/// The view as text, of the size that every terminal has.
///
/// # Errors
/// The lab has ended.
pub fn once(lab: &Found) -> Result<String> {
    let mut state = State::new(&lab.name);
    state.update(look(lab)?);
    std::thread::sleep(COUNT);
    state.update(look(lab)?);
    text(&state, 80, 24)
}

/// The view as text.
///
/// # Errors
/// None that a size of at least one cell has.
pub fn text(state: &State, width: u16, height: u16) -> Result<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height))?;
    terminal.draw(|frame| view::draw(frame, state))?;
    let cells = terminal.backend().buffer().content();
    let lines = cells.chunks(width.into()).map(|line| {
        let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    });
    Ok(lines.collect())
}

/// Draws the view until `q` is pressed.
///
/// # Errors
/// The lab has ended, or the terminal cannot be used.
pub fn run(lab: Found) -> Result<()> {
    let mut state = State::new(&lab.name);
    state.update(look(&lab)?);
    let (tell, told) = mpsc::channel();
    std::thread::Builder::new()
        .name("look".into())
        .spawn(move || {
            loop {
                std::thread::sleep(EVERY);
                let answer = look(&lab);
                let last = answer.is_err();
                if tell.send(answer).is_err() || last {
                    break;
                }
            }
        })?;
    let mut terminal = ratatui::try_init().context("terminal")?;
    let shown = show(&mut terminal, &mut state, &told);
    ratatui::try_restore().context("terminal")?;
    shown
}

fn show(
    terminal: &mut ratatui::DefaultTerminal,
    state: &mut State,
    told: &mpsc::Receiver<Result<Snapshot>>,
) -> Result<()> {
    terminal.draw(|frame| view::draw(frame, state))?;
    loop {
        let mut changed = false;
        if event::poll(TICK)? {
            // A new size is an event, too.
            changed = true;
            if is_end(&event::read()?) {
                return Ok(());
            }
        }
        while let Ok(answer) = told.try_recv() {
            state.update(answer.context("it has ended")?);
            changed = true;
        }
        if changed {
            terminal.draw(|frame| view::draw(frame, state))?;
        }
    }
}

/// `q`, Escape or Ctrl-C, which is a key in the terminal's raw mode.
fn is_end(event: &Event) -> bool {
    let Event::Key(key) = event else {
        return false;
    };
    let interrupt = key.code == KeyCode::Char('c') && key.modifiers == KeyModifiers::CONTROL;
    let quits = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
    key.kind == KeyEventKind::Press && (quits || interrupt)
}
