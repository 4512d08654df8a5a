//! `hamp-lab up`, `down`, `exec`, `shell`, `log`, `link`: labs that stay up.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Subcommand;
use hamp::daemon::config::Document;
use hamp::daemon::{Failure, exit};
use testbed::hold::{self, About, Found, HostAbout, Request};
use testbed::{Impairment, Privilege, Topology, watch};

/// Longest topology file, in bytes: 65,536 nodes fit.
const FILE: u64 = 16 << 20;
/// How long a change of a link may take.
const CHANGE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(super) struct Up {
    /// Topology file (docs/topology.md); - is standard input
    file: PathBuf,
    /// What to call the lab; the topology's own name otherwise
    #[arg(long)]
    name: Option<String>,
    /// Only say whether the file is right
    #[arg(long)]
    dry_run: bool,
    /// How to get the right to make namespaces
    #[arg(long, value_enum, default_value_t, env = "HAMP_LAB_PRIVILEGE")]
    privilege: Privilege,
}

#[derive(Debug, clap::Args)]
pub(super) struct Down {
    /// Which lab; needed if several are up
    name: Option<String>,
    /// All labs
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

/// Which lab, for commands that do something in it.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Which lab; needed if several are up
    #[arg(short, long, value_name = "NAME")]
    lab: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Exec {
    #[command(flatten)]
    which: Which,
    /// Which host
    host: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Shell {
    #[command(flatten)]
    which: Which,
    /// Which host
    host: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Log {
    #[command(flatten)]
    which: Which,
    /// Go on as the log grows
    #[arg(short, long)]
    follow: bool,
    /// Which host
    host: String,
    /// Which program of it
    #[arg(default_value = "hamp")]
    program: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Link {
    #[command(flatten)]
    which: Which,
    /// Which host
    host: String,
    /// Which interface of it
    interface: String,
    #[command(subcommand)]
    change: Change,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Pull the cable: no carrier
    Down,
    /// Plug it in again
    Up,
    /// Say what happens to frames from now on; without keys nothing happens to them any more
    Impair {
        /// Keys of an impairment: delay_ms=20 loss_percent=1 (docs/topology.md)
        #[arg(value_name = "KEY=NUMBER")]
        keys: Vec<String>,
        /// Only frames that the host gets; the others arrive unimpaired
        #[arg(long = "in")]
        only_in: bool,
        /// Only frames that the host sends; the others arrive unimpaired
        #[arg(long = "out", conflicts_with = "only_in")]
        only_out: bool,
    },
}

/// An impairment from words like `delay_ms=20`: the keys are those of files.
fn impairment(keys: &[String]) -> Result<Impairment> {
    let text = keys.join("\n");
    let how = Document::parse(&text, "impairment").and_then(|document| document.read());
    how.map_err(|error| Failure::new(exit::USAGE, error.message).into())
}

#[derive(Debug, clap::Args)]
pub(super) struct Watch {
    /// Which lab; needed if several are up
    name: Option<String>,
    /// Print what is there once, after counting for a second
    #[arg(long)]
    once: bool,
}

pub(super) fn watch(arguments: &Watch) -> Result<u8> {
    let which = Which {
        lab: arguments.name.clone(),
    };
    match which.find()? {
        Meant::Ours(lab) if arguments.once => {
            testbed::out!("{}", watch::once(&lab)?);
            Ok(exit::OK)
        }
        Meant::Ours(_) if !std::io::stdout().is_terminal() => {
            let text = "watch needs a terminal, or --once";
            Err(Failure::new(exit::USAGE, text).into())
        }
        Meant::Ours(lab) => watch::run(lab).map(|()| exit::OK),
        Meant::Done(code) => Ok(code),
    }
}

pub(super) fn up(arguments: &Up) -> Result<u8> {
    let (file, text) = read(&arguments.file)?;
    if arguments.dry_run {
        let topology = Topology::parse(&text, &file)?;
        let hosts = topology.nodes.len();
        testbed::outln!("{file}: {hosts} nodes, {} cables", topology.links.len());
        return Ok(exit::OK);
    }
    let about = hold::start(arguments.name.as_deref(), &file, &text, arguments.privilege)?;
    testbed::outln!("{} is up: {}", about.name, names(&about));
    if let Some(first) = about.hosts.iter().find(|host| host.kind != "switch") {
        let shell = format!("hamp-lab shell {}", first.name);
        testbed::outln!("  {shell:32} a shell in a host");
        let run = format!("hamp-lab exec {} -- ip address", first.name);
        testbed::outln!("  {run:32} a command in a host");
    }
    let down = format!("hamp-lab down {}", about.name);
    testbed::outln!("  {down:32} the end of it");
    Ok(exit::OK)
}

/// What a topology file is called in messages, and what is in it.
pub(super) fn read(file: &Path) -> Result<(String, String)> {
    let (name, text) = if file == Path::new("-") {
        ("stdin".into(), bounded(std::io::stdin()))
    } else {
        let name = file.display().to_string();
        (name, std::fs::File::open(file).and_then(bounded))
    };
    let text = text.map_err(|error| Failure::new(exit::CONFIG, format!("{name}: {error}")))?;
    Ok((name, text))
}

/// All that is there, which may be a device without an end.
fn bounded(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE {
        let why = format!("it is longer than {} MiB", FILE >> 20);
        return Err(std::io::Error::other(why));
    }
    Ok(text)
}

fn names(about: &About) -> String {
    let names: Vec<_> = about.hosts.iter().map(|host| host.name.as_str()).collect();
    names.join(", ")
}

pub(super) fn down(arguments: &Down) -> Result<u8> {
    let labs = if arguments.all {
        hold::find()?
    } else {
        vec![hold::one(arguments.name.as_deref())?]
    };
    if labs.is_empty() {
        testbed::outln!("no lab is up");
    }
    // One that hangs does not keep the others up.
    let mut failed = Ok(exit::OK);
    for lab in labs {
        match end(&lab) {
            Ok(()) => testbed::outln!("{} is down", lab.name),
            Err(error) => {
                if let Err(before) = std::mem::replace(&mut failed, Err(error)) {
                    eprintln!("hamp-lab: {before:#}");
                }
            }
        }
    }
    failed
}

fn end(lab: &Found) -> Result<()> {
    if lab.is_ours() {
        return lab.down();
    }
    let output = lab.as_its_user().args(["down", &lab.name]).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failure::new(exit::FAILED, said).into());
    }
    Ok(())
}

/// A lab of ours, or the exit code of the same command as the user whose lab it is.
enum Meant {
    Ours(Found),
    Done(u8),
}

impl Which {
    fn find(&self) -> Result<Meant> {
        let lab = hold::one(self.lab.as_deref())?;
        if lab.is_ours() {
            return Ok(Meant::Ours(lab));
        }
        let same = std::env::args_os().skip(1);
        let status = lab.as_its_user().args(same).status()?;
        let code = status.code().unwrap_or(exit::FAILED.into());
        Ok(Meant::Done(u8::try_from(code).unwrap_or(exit::FAILED)))
    }
}

/// A host of a lab.
fn host(lab: &Found, name: &str) -> Result<HostAbout> {
    let about = lab.about()?;
    let found = about.hosts.iter().find(|host| host.name == name).cloned();
    found.ok_or_else(|| {
        let text = format!("lab {} has no host {name:?}: {}", lab.name, names(&about));
        Failure::new(exit::FAILED, text).into()
    })
}

pub(super) fn exec(arguments: &Exec) -> Result<u8> {
    run_in(&arguments.which, &arguments.host, &arguments.command)
}

fn run_in(which: &Which, name: &str, command: &[String]) -> Result<u8> {
    match which.find()? {
        Meant::Ours(lab) => hold::inside::run(&host(&lab, name)?, command),
        Meant::Done(code) => Ok(code),
    }
}

pub(super) fn shell(arguments: &Shell) -> Result<u8> {
    let shell = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into());
    run_in(&arguments.which, &arguments.host, &[shell])
}

pub(super) fn log(arguments: &Log) -> Result<u8> {
    let lab = match arguments.which.find()? {
        Meant::Ours(lab) => lab,
        Meant::Done(code) => return Ok(code),
    };
    let host = host(&lab, &arguments.host)?;
    let program = &arguments.program;
    if !host.programs.contains(program) {
        let programs = match &host.programs[..] {
            [] => "it has none".into(),
            programs => programs.join(", "),
        };
        let text = format!("{} has no program {program:?}: {programs}", host.name);
        return Err(Failure::new(exit::FAILED, text).into());
    }
    let path = format!("/run/lab/log/{program}.log");
    let mut command = vec!["tail", "-n", "+1"];
    command.extend(arguments.follow.then_some("-F"));
    command.extend(["--", &path]);
    let command: Vec<_> = command.into_iter().map(Into::into).collect();
    hold::inside::run(&host, &command)
}

pub(super) fn link(arguments: &Link) -> Result<u8> {
    let lab = match arguments.which.find()? {
        Meant::Ours(lab) => lab,
        Meant::Done(code) => return Ok(code),
    };
    let (host, interface) = (arguments.host.clone(), arguments.interface.clone());
    let request = match &arguments.change {
        Change::Down | Change::Up => Request::Carrier {
            host,
            interface,
            up: matches!(arguments.change, Change::Up),
        },
        Change::Impair {
            keys,
            only_in,
            only_out,
        } => {
            let how = impairment(keys)?;
            let unless = |not: bool| if not { Impairment::default() } else { how };
            Request::Impair {
                host,
                interface,
                to_host: unless(*only_out),
                from_host: unless(*only_in),
            }
        }
    };
    lab.ask::<()>(&request, CHANGE)
        .with_context(|| format!("{} of {}", arguments.interface, arguments.host))?;
    Ok(exit::OK)
}
