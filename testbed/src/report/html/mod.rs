//! A story as one page that needs nothing but a browser: no network, no script, no font.
//!
//! Everything is laid out here, in numbers that do not depend on a screen: a picture that is wider
//! than its place scrolls in it, and texts stand where no other text can be whatever the width.
//! `page` the document, `events` what happened and the packets that decided, `timeline`,
//! `sequence`, `words` and `tables` the parts; `crate::picture` what pictures are made of.

mod events;
mod page;
mod sequence;
mod tables;
mod timeline;
mod words;

use std::path::Path;

use anyhow::{Context, Result};

use super::story::Story;
use super::traffic::Traffic;
use crate::topology::draw;

pub use page::page;

/// Writes `index.html`, `run.json`, and the pictures as files of their own (`topology.svg`; of the
/// last round `timeline.svg`, and `event-1.svg`, `event-2.svg`, ... with the packets that decided)
/// to a directory, which is made.
///
/// # Errors
/// A file cannot be written; the message names it.
pub fn write(dir: &Path, story: &Story) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let put = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    put("index.html", page(story))?;
    put("run.json", serde_json::to_string_pretty(&story.run)? + "\n")?;
    if draw::is_drawable(&story.topology) {
        put("topology.svg", draw::svg(&story.topology))?;
    }
    if let Some(round) = story.rounds.last() {
        let traffic = Traffic::of(&round.captured);
        put(
            "timeline.svg",
            timeline::picture(round, &traffic, story.zero(round)),
        )?;
        for (number, picture) in (1..).zip(events::pictures(round, &traffic)) {
            put(&format!("event-{number}.svg"), picture)?;
        }
    }
    Ok(())
}
