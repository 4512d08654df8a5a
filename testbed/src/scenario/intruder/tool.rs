//! The intruder's tool: `examples/scapy/intruder.py` in a host, told what to do line by line.

use std::io::Write as _;
use std::process::ChildStdin;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hamp::daemon::{Failure, exit};
use serde_json::{Value, json};

use crate::{Host, Lab, Process, wait};

/// The tool and the layers that it imports, so that the lab needs no checkout.
const FILES: [(&str, &str); 2] = [
    (
        "hamp.py",
        include_str!("../../../../examples/scapy/hamp.py"),
    ),
    (
        "intruder.py",
        include_str!("../../../../examples/scapy/intruder.py"),
    ),
];
/// Where they are in a host.
const DIRECTORY: &str = "/run/lab/scapy";
/// The layers, which make certificates too.
pub(super) const LAYERS: &str = "/run/lab/scapy/hamp.py";
/// Python of this name, or Debian's, which is the one that has Debian's scapy.
const PYTHONS: [&str; 2] = ["python3", "/usr/bin/python3"];
/// What the orders import.
const IMPORTS: &str = "import scapy.layers.inet6, cryptography; print(scapy.__version__)";
/// How long the tool may take to start, and an order beyond its own time.
const PATIENCE: Duration = Duration::from_secs(20);

/// A Python that has what the tool needs, and scapy's version.
///
/// # Errors
/// There is none; with the packages that have it.
pub(super) fn python(host: &Host) -> Result<(&'static str, String)> {
    for python in PYTHONS {
        if let Ok(output) = host.run(&[python, "-c", IMPORTS])
            && let Ok(version) = output.ok()
        {
            return Ok((python, version.trim().to_owned()));
        }
    }
    Err(
        Failure::new(exit::MISSING, "no python3 with scapy and cryptography")
            .with_remedy(
                "sudo apt-get install --no-install-recommends python3-scapy python3-cryptography",
            )
            .into(),
    )
}

/// Writes the tool to a host.
///
/// # Errors
/// The host is gone.
pub(super) fn install(host: &Host) -> Result<()> {
    let mut files = FILES.iter();
    files.try_for_each(|(name, text)| host.write(&format!("{DIRECTORY}/{name}"), text))
}

/// The tool in one host.
#[derive(Debug)]
pub(super) struct Tool {
    host: String,
    input: ChildStdin,
    process: Process,
    orders: u64,
}

/// An order that was given.
#[derive(Clone, Debug)]
pub(super) struct Given {
    host: String,
    id: u64,
    limit: Duration,
    words: Value,
}

impl Tool {
    /// Starts it on these interfaces of a host.
    ///
    /// # Errors
    /// It does not start; with what it wrote.
    pub(super) fn start(host: &Host, python: &str, interfaces: &[&str]) -> Result<Self> {
        install(host)?;
        let script = format!("{DIRECTORY}/intruder.py");
        let mut argv = vec![python, "-B", &script];
        argv.extend(interfaces);
        let (process, input) = host.spawn_fed("intruder", &argv)?;
        let tool = Self {
            host: host.name().into(),
            input,
            process,
            orders: 0,
        };
        let ready = wait::until("the intruder's tool", PATIENCE, || {
            let ready = |said: Vec<Value>| said.iter().any(|line| line.get("ready").is_some());
            let ready = tool.said(host).is_ok_and(ready);
            (ready || tool.process.exited().is_some()).then_some(ready)
        });
        ensure!(
            ready?,
            "the intruder's tool does not start: {}",
            tool.log(host)
        );
        Ok(tool)
    }

    /// Gives an order, which lasts as long as its `ms` says.
    ///
    /// # Errors
    /// The tool has ended.
    pub(super) fn order(&mut self, mut words: Value) -> Result<Given> {
        self.orders += 1;
        let id = self.orders;
        words["id"] = json!(id);
        writeln!(self.input, "{words}").context("the intruder's tool has ended")?;
        let ms = words["ms"].as_u64().unwrap_or(1000);
        Ok(Given {
            host: self.host.clone(),
            id,
            limit: Duration::from_millis(ms) + PATIENCE,
            words,
        })
    }

    /// Waits for the end of an order; what the tool says of it.
    ///
    /// # Errors
    /// It could not be carried out, or does not end.
    pub(super) fn ended(&self, lab: &Lab, given: &Given) -> Result<Value> {
        let host = lab.host(&self.host);
        let said = wait::until_ok(&given.words.to_string(), given.limit, || {
            let said = self.said(host)?;
            let found = said.into_iter().find(|line| line["id"] == given.id);
            found.with_context(|| self.log(host))
        })?;
        match said.get("error") {
            Some(error) => bail!("{}: {error}", given.words),
            None => Ok(said),
        }
    }

    /// Whether an order was given to this tool.
    pub(super) fn has(&self, given: &Given) -> bool {
        self.host == given.host
    }

    fn log(&self, host: &Host) -> String {
        host.read(self.process.log()).unwrap_or_default()
    }

    /// Its lines so far; others are Python's own words.
    fn said(&self, host: &Host) -> Result<Vec<Value>> {
        let log = host.read(self.process.log())?;
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        Ok(lines.collect())
    }
}
