//! `hamp-lab`: the labs of hamp, each one command.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use testbed::report::Run;
use testbed::scenario::{ALL, Options, Scenario};
use testbed::{Privilege, check, wait};

/// Labs for host anycast: whole networks on this machine, without root, that leave nothing behind.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 all checks passed, 1 a check failed, 2 usage,\n\
                  69 program or kernel feature missing, 77 privilege missing, 130 interrupted."
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
    /// List the labs
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a lab
    Run(RunArguments),
    /// Serve this host's name over HTTP and DNS, for labs
    Who(testbed::who::Arguments),
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    /// Which lab; `hamp-lab list` shows all
    name: String,
    /// The short form: 20 seconds at most
    #[arg(long)]
    quick: bool,
    /// Write everything measured to a JSON file (- is stdout, the story goes to stderr then)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one pcapng file per link to a directory
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
    /// Wait for Enter before each event, and show a command to look with
    #[arg(long)]
    step: bool,
    /// Leave a shell in the lab at the end
    #[arg(long)]
    keep: bool,
    /// Print line by line even on a terminal
    #[arg(long)]
    plain: bool,
    /// How to get the right to make namespaces
    #[arg(long, value_enum, default_value_t, env = "HAMP_LAB_PRIVILEGE")]
    privilege: Privilege,
}

fn main() -> ExitCode {
    testbed::init();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let code = match arguments.command {
        Command::Check { json, privilege } => look(json, privilege),
        Command::List { json } => list(json),
        Command::Run(arguments) => run(&arguments),
        Command::Who(arguments) => arguments.run().map(|()| 0),
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(_) if wait::go_on().is_err() => ExitCode::from(130),
        Err(error) => {
            eprintln!("hamp-lab: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn look(json: bool, privilege: Privilege) -> Result<u8> {
    let findings = check::look(privilege);
    if json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
        return Ok(findings.code());
    }
    for finding in &findings.findings {
        let mark = if finding.ok { "ok     " } else { "MISSING" };
        println!("{mark}  {:18} {}", finding.what, finding.found);
    }
    Ok(findings.code())
}

fn list(json: bool) -> Result<u8> {
    if json {
        let labs: Vec<_> = ALL
            .iter()
            .map(|s| serde_json::json!({ "name": s.name, "about": s.about }))
            .collect();
        let document = serde_json::json!({ "schema": "hamp-lab.list/1", "labs": labs });
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(0);
    }
    for scenario in ALL {
        println!("{:16} {}", scenario.name, scenario.about);
    }
    Ok(0)
}

fn run(arguments: &RunArguments) -> Result<u8> {
    let Some(scenario) = ALL.iter().find(|s| s.name == arguments.name) else {
        let names: Vec<_> = ALL.iter().map(|s| s.name).collect();
        eprintln!(
            "hamp-lab: no lab {:?}; there are: {}",
            arguments.name,
            names.join(", ")
        );
        return Ok(2);
    };
    if let Some(path) = arguments
        .json
        .as_deref()
        .filter(|path| *path != Path::new("-"))
    {
        writable(path).with_context(|| format!("write the figures to {}", path.display()))?;
    }
    // Enters the namespaces, which must come before the first thread.
    let findings = check::look(arguments.privilege);
    if !findings.ok {
        for line in findings.remedies() {
            eprintln!("hamp-lab: {line}");
        }
        return Ok(findings.code());
    }
    watch()?;
    let options = Options {
        quick: arguments.quick,
        step: arguments.step,
        keep: arguments.keep,
        pcap: arguments.pcap.clone(),
        draw: !arguments.plain && !arguments.step && std::io::stdout().is_terminal(),
        to_stderr: arguments.json.as_deref() == Some(Path::new("-")),
    };
    let run = (scenario.run)(&options)?;
    if let Some(path) = &arguments.json {
        write(path, &run, scenario)?;
    }
    Ok(u8::from(!run.passed))
}

/// Whether the file can be written, asked before a lab that takes minutes; what is in it stays.
fn writable(path: &Path) -> std::io::Result<()> {
    let existed = path.exists();
    std::fs::File::options()
        .append(true)
        .create(true)
        .open(path)?;
    if existed {
        Ok(())
    } else {
        std::fs::remove_file(path)
    }
}

fn write(path: &Path, run: &Run, scenario: &Scenario) -> Result<()> {
    let text = serde_json::to_string_pretty(run)? + "\n";
    if path == Path::new("-") {
        print!("{text}");
        return Ok(());
    }
    std::fs::write(path, text).with_context(|| {
        format!(
            "write the figures of {} to {}",
            scenario.name,
            path.display()
        )
    })
}

/// Notes when somebody wants an end: Ctrl-C, SIGTERM, or the death of the process that started us.
fn watch() -> Result<()> {
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
                std::process::exit(130);
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime.block_on(body))?;
    Ok(())
}
