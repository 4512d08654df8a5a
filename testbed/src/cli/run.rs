//! `hamp-lab run`: one lab, its story and its figures.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use hamp::daemon::{Failure, exit};
use testbed::report::{self, Run};
use testbed::scenario::{self, Options, Scenario};
use testbed::script::World;
use testbed::{Privilege, check};

use super::watch_signals;

/// Where a lab is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum WorldName {
    /// In network namespaces, in real time
    Kernel,
    /// In a simulation, faster than time passes
    Virtual,
}

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Which lab; `hamp-lab list` shows all
    name: String,
    /// The short form: 20 seconds at most
    #[arg(long)]
    quick: bool,
    /// Let nothing happen, and ask for so many seconds (first-link)
    #[arg(long, value_name = "SECONDS", conflicts_with = "quick")]
    undisturbed: Option<u64>,
    /// Write everything measured to a JSON file (- is stdout, the story goes to stderr then)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write what was on the links to a directory, as pcapng
    #[arg(long, value_name = "DIR")]
    pcap: Option<PathBuf>,
    /// Write a page about the run, with pictures, to a directory: index.html, run.json, SVGs
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Where to play it; some labs can be played in the kernel only
    #[arg(long, value_enum, default_value = "kernel")]
    world: WorldName,
    /// What all randomness in virtual time comes from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
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

pub(super) fn run(arguments: &Arguments) -> Result<u8> {
    let Some(scenario) = scenario::all().find(|s| s.name == arguments.name) else {
        let names: Vec<_> = scenario::all().map(|s| s.name).collect();
        return usage(format!(
            "no lab {:?}; there are: {}",
            arguments.name,
            names.join(", ")
        ));
    };
    let world = match arguments.world {
        WorldName::Kernel => World::Kernel,
        WorldName::Virtual => World::Virtual(arguments.seed),
    };
    if world != World::Kernel && !scenario.virtual_too {
        let name = scenario.name;
        return usage(format!(
            "{name} asks a kernel what it does; it cannot be played in virtual time"
        ));
    }
    if world != World::Kernel && (arguments.step || arguments.keep || arguments.pcap.is_some()) {
        return usage("--step, --keep and --pcap look at a kernel; leave out --world virtual");
    }
    if let Some(path) = arguments
        .json
        .as_deref()
        .filter(|path| *path != Path::new("-"))
    {
        writable(path).with_context(|| format!("write the figures to {}", path.display()))?;
    }
    if let Some(dir) = &arguments.report {
        std::fs::create_dir_all(dir)
            .with_context(|| format!("write the report to {}", dir.display()))?;
    }
    if world == World::Kernel {
        // Enters the namespaces, which must come before the first thread.
        let findings = check::look(arguments.privilege);
        if !findings.ok {
            for line in findings.remedies() {
                eprintln!("hamp-lab: {line}");
            }
            return Ok(findings.code());
        }
    }
    if arguments.undisturbed.is_some() && scenario.name != "first-link" {
        return usage("--undisturbed is for first-link");
    }
    watch_signals()?;
    let options = Options {
        quick: arguments.quick,
        undisturbed: arguments.undisturbed.map(Duration::from_secs),
        step: arguments.step,
        keep: arguments.keep,
        world,
        pcap: arguments.pcap.clone(),
        draw: !arguments.plain && !arguments.step && std::io::stdout().is_terminal(),
        to_stderr: arguments.json.as_deref() == Some(Path::new("-")),
    };
    let mut story = (scenario.run)(&options)?;
    let line = report::command_line();
    story.commands.insert(0, ("This run".into(), line));
    if let Some(path) = &arguments.json {
        write(path, &story.run, scenario)?;
    }
    if let Some(dir) = &arguments.report {
        report::html::write(dir, &story)?;
    }
    Ok(u8::from(!story.run.passed))
}

/// The error of a command line that cannot be.
fn usage<T>(text: impl Into<String>) -> Result<T> {
    Err(Failure::new(exit::USAGE, text).into())
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
        testbed::out!("{text}");
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
