//! The `hamp` command.
//!
//! stdout is for results, stderr for logs and errors; `--json` on everything that reports. It is a
//! library function too ([`main`]), so that a lab can run it from its own binary.

mod ask;
mod check;
mod config;
pub mod decode;
mod export;
mod number;
mod serve;
mod table;
mod told;
mod trust;
mod why;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::daemon::config::{FILE, TrustMode};
use crate::daemon::control::Request;
use crate::daemon::{Failure, clean, exit, run};

/// Host anycast for Linux: serve an address that other hosts serve too, or reach one.
#[derive(Debug, Parser)]
#[command(
    name = "hamp",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 69 program or kernel feature missing,\n\
            77 privilege missing, 78 configuration, 130 interrupted."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Where the daemon listens.
#[derive(Debug, clap::Args)]
struct Control {
    /// Control socket: @NAME in this network namespace, or a path (default: @hamp)
    #[arg(long, env = "HAMP_CONTROL", value_name = "SOCKET")]
    control: Option<String>,
}

/// A question to the daemon.
#[derive(Debug, clap::Args)]
struct Report {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    control: Control,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until it is told to stop
    Run {
        /// Configuration file; examples/hamp.toml documents every key
        #[arg(long, short, value_name = "FILE", default_value = FILE)]
        config: PathBuf,
        /// Log JSON lines
        #[arg(long)]
        log_json: bool,
        #[command(flatten)]
        control: Control,
    },
    /// Show roles, links, members, neighbour entries and counters of the daemon
    Status(check::Status),
    /// Serve an address or a prefix, and wait until it is served
    Join(serve::Join),
    /// Stop serving an address or a prefix, and wait until another member has taken over
    Leave(serve::Leave),
    /// Stop serving anything until `hamp undrain`, also after a restart
    Drain(serve::End),
    /// Serve again what the configuration names and what was joined before `hamp drain`
    Undrain(serve::Undrain),
    /// Show who serves what on each link, and in which order
    Members(Report),
    /// Say where an anycast address leads from here, and why
    Why {
        /// An address of the anycast class
        #[arg(value_name = "ADDR", value_parser = number::address)]
        address: IpAddr,
        #[command(flatten)]
        report: Report,
    },
    /// Show the neighbour entries for anycast addresses
    Neighbours(Report),
    /// Show TCP connections to anycast addresses and the members that have them
    Connections(Report),
    /// Show a router's routes to members
    Routes(Report),
    /// Show whose word counts and what came of it, or switch what becomes of everybody else's
    Trust {
        /// off: unchecked; count: checked, counted, used; enforce: refused
        #[arg(value_enum)]
        mode: Option<TrustMode>,
        #[command(flatten)]
        report: Report,
    },
    /// Have the daemon read keys, certificates, revocation lists and the mode of trust again
    Reload(Report),
    /// Read a configuration and say what it means, without starting
    #[command(subcommand)]
    Config(config::Command),
    /// Remove everything of ours from this network namespace; no daemon may run
    Clean(Report),
    /// Print the membership messages of a capture (pcap or pcapng) or of an interface, one a line
    Decode(decode::Options),
    /// Print the configuration with which BIRD or FRR carries the routes of hamp's router on
    Export(export::Arguments),
    /// Make and show this host's key
    #[command(subcommand)]
    Key(trust::KeyCommand),
    /// Say which keys may be members and routers, and take that back
    #[command(subcommand)]
    Authority(trust::AuthorityCommand),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Runs the command line `args`, whose first element is the program's name; what it ended with.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(code(args))
}

/// As [`main`], with the exit code as a number.
pub fn code(args: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are results, the rest is not; a closed pipe is nobody's error.
            let _ = error.print();
            return if error.use_stderr() {
                exit::USAGE
            } else {
                exit::OK
            };
        }
    };
    match execute(arguments.command) {
        Ok((text, code)) => print(&text, code),
        Err(failure) => {
            if failure.code != exit::INTERRUPTED {
                let _ = writeln!(io::stderr(), "hamp: {failure}");
            }
            failure.code
        }
    }
}

/// Prints a result, with which the command ends as `code`.
fn print(text: &str, code: u8) -> u8 {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let failure = Failure::io("stdout", &error);
            let _ = writeln!(io::stderr(), "hamp: {failure}");
            exit::FAILED
        }
        _ => code,
    }
}

fn execute(command: Command) -> Result<(String, u8), Failure> {
    let done = match command {
        Command::Run {
            config,
            log_json,
            control,
        } => {
            let options = run::Options {
                control: control.control,
                log_json,
            };
            run::run(&config, &options)?;
            Ok(String::new())
        }
        Command::Status(status) => return status.run(),
        Command::Why { address, report } => report.ask(&Request::Why { address }, why::why),
        Command::Members(report) => report.ask(&Request::Members, ask::members),
        Command::Neighbours(report) => report.ask(&Request::Neighbours, ask::neighbours),
        Command::Connections(report) => report.ask(&Request::Connections, ask::connections),
        Command::Routes(report) => report.ask(&Request::Routes, ask::routes),
        Command::Trust { mode, report } => report.ask(&Request::Trust { mode }, ask::trust),
        Command::Reload(report) => report.ask(&Request::Reload, ask::reloaded),
        Command::Join(join) => join.run(),
        Command::Leave(leave) => leave.run(),
        Command::Drain(end) => end.drain(),
        Command::Undrain(undrain) => undrain.run(),
        Command::Clean(report) => {
            let done = clean::clean(report.control.name())?;
            Ok(report.show(&done, ask::cleaned))
        }
        Command::Config(command) => command.run(),
        Command::Decode(options) => {
            decode::decode(&options, &mut io::BufWriter::new(io::stdout().lock()))?;
            Ok(String::new())
        }
        Command::Export(arguments) => arguments.run(),
        Command::Key(command) => trust::key(&command),
        Command::Authority(command) => trust::authority(&command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "hamp", &mut script);
            Ok(String::from_utf8_lossy(&script).into_owned())
        }
    };
    done.map(|text| (text, exit::OK))
}

impl Control {
    fn name(&self) -> &str {
        self.control.as_deref().unwrap_or("@hamp")
    }
}

impl Report {
    fn ask(
        &self,
        request: &Request,
        people: fn(&serde_json::Value) -> String,
    ) -> Result<String, Failure> {
        let answer = crate::daemon::control::ask(self.control.name(), request)?;
        Ok(self.show(&answer, people))
    }

    fn show(&self, answer: &serde_json::Value, people: fn(&serde_json::Value) -> String) -> String {
        if self.json {
            format!("{answer:#}\n")
        } else {
            people(answer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_is_as_reviewed() {
        let help = Arguments::command().render_help().to_string();
        assert_eq!(
            help,
            include_str!("help.txt"),
            "src/cli/help.txt is the reviewed text:\n{help}"
        );
    }

    #[test]
    fn a_bad_argument_is_told_in_words() {
        for (args, words) in [
            (&["leave"][..], "hamp leave [OPTIONS] --all"),
            (&["drain", "--timeout", "x"], "a whole number from 0 to"),
            (
                &["join", "198.18.0.1", "--preference", "70000"],
                "from 0 to 65535",
            ),
            (&["why", "nonsense"], "neither an address nor a prefix"),
            (
                &["why", "198.18.1.0/24"],
                "one address of it, such as 198.18.1.0",
            ),
            (&["export", "frr", "--as", "x"], "a whole number from 1 to"),
        ] {
            let args = std::iter::once(&"hamp").chain(args);
            let error = Arguments::try_parse_from(args).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn exit_codes_follow_the_table() {
        let run = |args: &[&str]| code(args.iter().map(OsString::from));
        assert_eq!(run(&["hamp", "--version"]), exit::OK);
        assert_eq!(run(&["hamp", "--no-such"]), exit::USAGE);
        assert_eq!(run(&["hamp", "join", "198.18.0.1/33"]), exit::USAGE);
        assert_eq!(run(&["hamp", "why", "nonsense"]), exit::USAGE);
        assert_eq!(run(&["hamp", "why", "198.18.0.0/24"]), exit::USAGE);
        assert_eq!(run(&["hamp", "drain", "--timeout", "x"]), exit::USAGE);
        assert_eq!(
            run(&["hamp", "run", "--config", "/no/such/file"]),
            exit::CONFIG
        );
        assert_eq!(run(&["hamp", "decode", "/no/such/file"]), exit::FAILED);
        assert_eq!(
            run(&["hamp", "status", "--control", "@hamp-nobody"]),
            exit::FAILED
        );
    }
}
