//! A lab in somebody's own hands: `--step` and `--keep`.

use std::io::BufRead;
use std::time::Duration;

use anyhow::Result;

use crate::{Host, Lab, enter, init, wait};

/// Waits for Enter before an event; the command is to be typed in another terminal.
///
/// # Errors
/// The run is to end.
pub(super) fn step(next: &str, look: &str) -> Result<()> {
    crate::outln!("\nNext: {next}. To look from another terminal:\n  {look}\nEnter goes on.");
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().lock().read_line(&mut String::new());
        let _ = tell.send(());
    });
    while told.recv_timeout(Duration::from_millis(50)).is_err() {
        wait::go_on()?;
    }
    Ok(())
}

/// A shell on one host, with what one needs to look at the others.
///
/// # Errors
/// No shell can be started.
pub(super) fn keep(lab: &Lab, at: &str) -> Result<()> {
    crate::outln!("\nThe lab stays until you leave this shell (on {at}). From another terminal:");
    for host in lab.hosts() {
        crate::outln!("  {:8} {}", host.name(), look(host, ""));
    }
    crate::outln!("There `hamp` is {}/hamp.", init::BIN);
    wait::ignore_interrupts();
    lab.host(at).shell()
}

/// The command line that runs `command` in a host, for another terminal of the same user.
pub(super) fn look(host: &Host, command: &str) -> String {
    let user = if enter::is_mapped() {
        // Short for --preserve-credentials, so that the line fits a terminal of 80 columns.
        " -U --preserve"
    } else {
        ""
    };
    format!("nsenter -t {}{user} -n -m -u -p {command}", host.pid())
        .trim_end()
        .to_owned()
}

/// The same for a command of hamp.
pub(super) fn look_at_hamp(host: &Host, command: &str) -> String {
    look(host, &format!("{}/hamp {command}", init::BIN))
}
