//! A story as one page that needs nothing but a browser: no network, no script, no font.
//!
//! Everything is laid out here, in numbers that do not depend on a screen: a picture that is wider
//! than its place scrolls in it, and texts stand where no other text can be whatever the width.
//! `page` the document, `events` what happened and the packets that decided, `timeline`,
//! `sequence` and `tables` the parts; `crate::picture` what pictures are made of.

mod events;
mod page;
mod sequence;
mod tables;
mod timeline;

use std::path::Path;

use anyhow::{Context, Result};

use super::story::Story;
use super::traffic::Traffic;

pub use page::page;

/// Writes `index.html`, `run.json`, and the pictures of topology and time as files of their own
/// (`topology.svg`, `timeline.svg`, of several rounds the last's) to a directory, which is made.
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
    put("topology.svg", crate::topology::draw::svg(&story.topology))?;
    if let Some(round) = story.rounds.last() {
        let traffic = Traffic::of(&round.captured);
        put(
            "timeline.svg",
            timeline::picture(round, &traffic, story.started),
        )?;
    }
    Ok(())
}
