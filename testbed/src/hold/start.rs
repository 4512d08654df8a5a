//! From a file to a running holder.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use hamp::daemon::{Failure, exit};
use serde::{Deserialize, Serialize};

use super::holder::HOLD_ARGUMENT;
use super::talk::{About, Answer, hear, say};
use crate::{Privilege, Topology};

/// Longest name of a lab, in bytes.
const NAME_LENGTH: usize = 60;

/// Whether a lab can be called this: 1 to 60 letters, digits, `-`, `_` and `.`.
pub fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=NAME_LENGTH).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed)
}

/// What a holder is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// What the lab is to be called.
    pub(super) name: String,
    /// The file, as it was named, and what is in it.
    pub(super) file: String,
    pub(super) text: String,
    /// Whether root is to do it as an ordinary user does.
    pub(super) user: bool,
}

/// Starts a holder for the topology in `text`, and waits until all of it runs.
///
/// # Errors
/// What is wrong with the file, what this machine lacks, or what did not start; nothing is left of
/// it then. [`code`](super::code) knows the exit code of each.
pub fn start(name: Option<&str>, file: &str, text: &str, privilege: Privilege) -> Result<About> {
    let topology = Topology::parse(text, file)?;
    let name = name.unwrap_or(&topology.name);
    if !is_name(name) {
        let text = format!(
            "{name:?} is no name for a lab: 1 to {NAME_LENGTH} letters, digits, - _ and .; see --name"
        );
        return Err(Failure::new(exit::USAGE, text).into());
    }
    let order = Order {
        name: name.into(),
        file: file.into(),
        text: text.into(),
        user: privilege == Privilege::User,
    };
    let mut holder = Command::new("/proc/self/exe")
        .arg0("hamp-lab")
        .args([HOLD_ARGUMENT, name])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the holder")?;
    let told = tell(&mut holder, &order);
    if told.is_err() {
        // It ends by itself; what it had to say is why.
        let _ = holder.wait();
        if let Some(mut said) = holder.stderr.take() {
            let mut text = String::new();
            let _ = said.read_to_string(&mut text);
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
    told
}

/// Gives the order and waits for the answer.
fn tell(holder: &mut Child, order: &Order) -> Result<About> {
    let mut input = holder.stdin.take().context("no pipe")?;
    say(&mut input, order).context("tell the holder")?;
    drop(input);
    let mut output = holder.stdout.take().context("no pipe")?;
    let answer: Answer<About> = hear(&mut output).context("the holder of the lab")?;
    answer.into_result()
}
