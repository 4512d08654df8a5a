//! Logs: structured, to stderr.

use tracing_subscriber::EnvFilter;

use super::{Failure, exit};

/// Starts logging with the filter of `RUST_LOG`, or else `filter`; as JSON lines if `json`.
/// Errors: the filter is not one. Does nothing when the process logs already.
pub fn start(filter: &str, json: bool) -> Result<(), Failure> {
    let chosen = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty());
    let (filter, key) = match &chosen {
        Some(text) => (text.as_str(), "RUST_LOG"),
        None => (filter, "node.log"),
    };
    // At our end that library warns that its connection is closed, as it has to be.
    let filter = EnvFilter::try_new(format!("netlink_proto=error,{filter}"))
        .map_err(|error| Failure::new(exit::CONFIG, format!("{key}: \"{filter}\": {error}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // An error says that there is a subscriber, as in a lab that calls us as a library.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(ansi).with_target(false).try_init()
    };
    Ok(())
}
