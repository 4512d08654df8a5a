//! The command line: one file a group of commands.

mod files;
mod look;
mod measure;
mod run;
mod up;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use hamp::daemon::exit;
use testbed::{Privilege, out, wait};

/// Labs for host anycast: whole networks on this machine, without root, that leave nothing behind.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 all checks passed, 1 a check failed, 2 usage,\n\
                  69 program or kernel feature missing, 77 privilege missing,\n\
                  78 a file is wrong, 130 interrupted."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what this machine lacks for the labs, and the remedy
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// How to get the right to make namespaces
        #[arg(long, value_enum, default_value_t, env = "HAMP_LAB_PRIVILEGE")]
        privilege: Privilege,
    },
    /// List the labs to run, and those that are up
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a lab
    Run(run::Arguments),
    /// Build a lab from a file, start what runs in it, and leave it up
    Up(up::Up),
    /// End a lab that is up
    Down(up::Down),
    /// Run a command in a host of a lab that is up
    Exec(up::Exec),
    /// A shell in a host of a lab that is up
    Shell(up::Shell),
    /// Show what a program of a host has written
    Log(up::Log),
    /// Change the cable of a host's interface in a lab that is up
    Link(up::Link),
    /// Watch a lab that is up: who owns what, requests, events
    Watch(up::Watch),
    /// Draw the network of a topology file
    Graph(files::Graph),
    /// Write a topology file for another tool
    Export(files::Export),
    /// Simulate thousands of members in virtual time, and say what that took
    Simulate(testbed::sim::scale::Arguments),
    /// Measure the testbed itself
    Measure {
        /// What to measure
        #[command(subcommand)]
        what: measure::What,
    },
    /// Serve this host's name over HTTP and DNS, for labs
    Who(testbed::who::Arguments),
}

/// Parses the command line and does what it says.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    let code = match arguments.command {
        Command::Check { json, privilege } => look::check(json, privilege),
        Command::List { json } => look::list(json),
        Command::Run(arguments) => run::run(&arguments),
        Command::Up(arguments) => up::up(&arguments),
        Command::Down(arguments) => up::down(&arguments),
        Command::Exec(arguments) => up::exec(&arguments),
        Command::Shell(arguments) => up::shell(&arguments),
        Command::Log(arguments) => up::log(&arguments),
        Command::Link(arguments) => up::link(&arguments),
        Command::Watch(arguments) => up::watch(&arguments),
        Command::Graph(arguments) => files::graph(&arguments),
        Command::Export(arguments) => files::export(&arguments),
        Command::Simulate(arguments) => testbed::sim::scale::run(&arguments).map(|()| 0),
        Command::Measure { what } => measure::run(&what),
        Command::Who(arguments) => arguments.run().map(|()| 0),
    };
    match code {
        Ok(code) => match out::failed() {
            None => ExitCode::from(code),
            Some(error) => {
                eprintln!("hamp-lab: {error}");
                ExitCode::from(exit::FAILED)
            }
        },
        Err(_) if wait::go_on().is_err() => ExitCode::from(exit::INTERRUPTED),
        Err(error) => {
            eprintln!("hamp-lab: {error:#}");
            ExitCode::from(testbed::hold::code(&error))
        }
    }
}

/// Notes when somebody wants an end: Ctrl-C, SIGTERM, or the death of the process that started us.
fn watch_signals() -> Result<()> {
    let parent = nix::unistd::getppid();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let body = async move {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut int), Ok(mut term), Ok(mut hup)) = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
            signal(SignalKind::hangup()),
        ) else {
            return;
        };
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
        loop {
            tokio::select! {
                _ = int.recv() => {}
                _ = term.recv() => {}
                _ = hup.recv() => {}
                _ = ticks.tick() => if nix::unistd::getppid() == parent { continue },
            }
            if wait::interrupt() {
                // Asked twice: the kernel takes the lab down with us.
                std::process::exit(exit::INTERRUPTED.into());
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime.block_on(body))?;
    Ok(())
}
