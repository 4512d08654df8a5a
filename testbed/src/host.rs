//! One host: the thread that holds it, and what can be done in it.
//!
//! The holding thread makes the namespaces and starts the host's first process, whose parent-death
//! signal is tied to that thread. It stays, because a program can be started in a host only by a
//! thread that lives there, and because a thread whose children go to another process namespace can
//! start no threads: the holder does nothing but take jobs.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ipnet::IpNet;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Pid, sethostname};

use crate::init::{BIN, HOST_ARGUMENT, LOG};
use crate::process::{self, Output, Process, collect};

/// How long [`Host::run`] lets a command run.
pub const RUN_LIMIT: Duration = Duration::from_secs(30);

/// Where programs are looked for; an ordinary user's own path often lacks the `sbin` directories, and
/// FRR's daemons have one of their own.
pub(crate) const PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/frr";

/// Set to the host's name in the environment of what runs in a host.
pub(crate) const HOST_VARIABLE: &str = "HAMP_LAB_HOST";

type Job = Box<dyn FnOnce() + Send>;

/// One end of a link, in a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name in the host: `eth0`, `eth1`, ...
    pub name: String,
    /// The switch or host at the other end.
    pub peer: String,
    /// The name of its interface there.
    pub port: String,
    /// Link-layer address, fixed by the order of hosts and links.
    pub mac: [u8; 6],
    /// Addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
}

/// A host of a lab. Dropping it ends everything that runs in it.
#[derive(Debug)]
pub struct Host {
    name: String,
    pid: Pid,
    netns: File,
    jobs: Option<mpsc::Sender<Job>>,
    holder: Option<JoinHandle<()>>,
    pub(crate) interfaces: Vec<Interface>,
    /// Programs started with [`Host::spawn`]: our children, in the host's process namespace.
    children: Mutex<Vec<Weak<Mutex<Child>>>>,
}

/// A host whose first process is starting.
pub(crate) struct Starting {
    name: String,
    jobs: mpsc::Sender<Job>,
    holder: JoinHandle<()>,
    ready: mpsc::Receiver<Result<(Pid, File)>>,
}

impl Starting {
    /// Begins to start a host; several can start side by side.
    pub(crate) fn begin(name: &str) -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (tell, ready) = mpsc::channel();
        let own = name.to_owned();
        let holder = std::thread::Builder::new()
            .name(format!("host-{name}"))
            .spawn(move || hold(&own, &tell, &queue))
            .context("thread of a host")?;
        Ok(Self {
            name: name.into(),
            jobs,
            holder,
            ready,
        })
    }

    /// Waits until it is there.
    pub(crate) fn finish(self) -> Result<Host> {
        let Self {
            name,
            jobs,
            holder,
            ready,
        } = self;
        let (pid, netns) = ready
            .recv_timeout(Duration::from_secs(10))
            .map_err(|_| anyhow!("host {name} does not start"))?
            .with_context(|| format!("host {name}"))?;
        let (jobs, holder) = (Some(jobs), Some(holder));
        Ok(Host {
            name,
            pid,
            netns,
            jobs,
            holder,
            interfaces: Vec::new(),
            children: Mutex::default(),
        })
    }
}

/// Body of the thread that holds a host.
fn hold(name: &str, tell: &mpsc::Sender<Result<(Pid, File)>>, queue: &mpsc::Receiver<Job>) {
    let mut first = match found(name) {
        Ok((child, netns)) => {
            let pid = Pid::from_raw(child.id().cast_signed());
            let _ = tell.send(Ok((pid, netns)));
            child
        }
        Err(error) => {
            let _ = tell.send(Err(error));
            return;
        }
    };
    while let Ok(job) = queue.recv() {
        job();
    }
    let _ = first.kill();
    let _ = first.wait();
}

/// Makes the namespaces around the calling thread and starts the first process in them.
fn found(name: &str) -> Result<(Child, File)> {
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWPID,
    )
    .with_context(|| format!("namespaces ({})", crate::enter::remedy()))?;
    sethostname(name).context("host name")?;
    let netns = crate::enter::own_netns()?;
    defaults()?;
    let mut first = Command::new("/proc/self/exe")
        .arg(HOST_ARGUMENT)
        .arg(name)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .process_group(0)
        .current_dir("/")
        .spawn()
        .context("start the first process")?;
    let mut said = [0; 6];
    first
        .stdout
        .take()
        .context("no pipe")?
        .read_exact(&mut said)
        .context("the first process ended before it was ready")?;
    Ok((first, netns))
}

/// Kernel defaults that interfaces made later inherit: addresses usable at once (for a lab's cables
/// as long as it is built), nothing learned from routers.
fn defaults() -> Result<()> {
    for (key, value) in [
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/dad_transmits", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
    ] {
        std::fs::write(format!("/proc/sys/net/{key}"), value)
            .with_context(|| format!("sysctl net/{key}"))?;
    }
    Ok(())
}

/// Where commands in a host begin.
pub(crate) const DIRECTORY: &str = "/run/lab/tmp";

/// The environment of a command in a host: its path, its name.
pub(crate) fn surroundings(command: &mut Command, host: &str) {
    command
        .env("PATH", format!("{BIN}:{PATH}"))
        .env(HOST_VARIABLE, host)
        .env("TMPDIR", "/tmp")
        .env_remove("NOTIFY_SOCKET");
}

impl Host {
    /// Its name in the lab, which is also its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of its first process, as the lab sees it (for `nsenter -t`).
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its ends of links, `eth0` first.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// One of its ends of links.
    ///
    /// # Errors
    /// It has none of that name.
    pub fn interface(&self, name: &str) -> Result<&Interface> {
        let found = self.interfaces.iter().find(|i| i.name == name);
        found.with_context(|| format!("{} has no interface {name:?}", self.name))
    }

    /// Its first IPv4 or IPv6 address on a link.
    pub fn address(&self, v6: bool) -> Option<IpAddr> {
        let mut all = self
            .interfaces
            .iter()
            .flat_map(|i| &i.addresses)
            .map(IpNet::addr);
        all.find(|a| a.is_ipv6() == v6)
    }

    /// Does `job` on the holding thread: inside all namespaces of the host. It must not start
    /// threads.
    pub fn inside<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (tell, told) = mpsc::channel();
        let job = Box::new(move || drop(tell.send(job())));
        let jobs = self.jobs.as_ref().context("host has ended")?;
        jobs.send(job)
            .map_err(|_| anyhow!("host {} has ended", self.name))?;
        told.recv()
            .map_err(|_| anyhow!("host {}: its job ended without an answer", self.name))
    }

    /// A new thread whose sockets are the host's (its files and processes are the lab's): load,
    /// probes, captures.
    pub fn thread<T: Send + 'static>(
        &self,
        name: &str,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let netns = self.netns.try_clone().context("namespace of a host")?;
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                let entered = setns(&netns, CloneFlags::CLONE_NEWNET);
                drop(netns);
                let _ = tell.send(entered);
                body()
            })?;
        told.recv()
            .context("thread in a host")?
            .context("enter the host")?;
        Ok(thread)
    }

    /// A command line ready to run in this host: its path, its name, no input, a process group of
    /// its own.
    fn command(&self, argv: &[String]) -> Result<Command> {
        let (program, arguments) = argv.split_first().context("empty command")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .current_dir(DIRECTORY);
        surroundings(&mut command, &self.name);
        Ok(command)
    }

    /// Runs a command to its end, at most [`RUN_LIMIT`], and collects what it writes.
    pub fn run(&self, argv: &[impl AsRef<str>]) -> Result<Output> {
        self.run_for(argv, RUN_LIMIT)
    }

    /// As [`Host::run`], with a limit of its own.
    pub fn run_for(&self, argv: &[impl AsRef<str>], limit: Duration) -> Result<Output> {
        let argv: Vec<String> = argv.iter().map(|a| a.as_ref().to_owned()).collect();
        let mut command = self.command(&argv)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let child = self.inside(move || command.spawn())?;
        let name = format!("{} on {}", argv[0], self.name);
        let child = child.with_context(|| format!("start {name}"))?;
        collect(&name, child, limit)
    }

    /// Runs shell text with `sh -ec`; its standard output, or an error.
    pub fn sh(&self, text: &str) -> Result<String> {
        self.run(&["sh", "-ec", text])?
            .ok()
            .with_context(|| text.to_owned())
    }

    /// Starts a program that stays; its output goes to `/run/lab/log/NAME.log` in the host.
    pub fn spawn(&self, name: &str, argv: &[impl AsRef<str>]) -> Result<Process> {
        self.spawn_with(name, argv, &[])
    }

    /// As [`Host::spawn`], with additional environment variables.
    pub fn spawn_with(
        &self,
        name: &str,
        argv: &[impl AsRef<str>],
        environment: &[(&str, &str)],
    ) -> Result<Process> {
        let mut command = self.command_of(argv)?;
        command.envs(environment.iter().copied());
        let (child, log) = self.start(name, command)?;
        Ok(self.process(name, child, log))
    }

    /// As [`Host::spawn`], with a pipe to its standard input.
    pub fn spawn_fed(&self, name: &str, argv: &[impl AsRef<str>]) -> Result<(Process, ChildStdin)> {
        let mut command = self.command_of(argv)?;
        command.stdin(Stdio::piped());
        let (mut child, log) = self.start(name, command)?;
        let input = child.stdin.take();
        let process = self.process(name, child, log);
        Ok((process, input.context("no pipe")?))
    }

    fn command_of(&self, argv: &[impl AsRef<str>]) -> Result<Command> {
        let argv: Vec<String> = argv.iter().map(|a| a.as_ref().to_owned()).collect();
        self.command(&argv)
    }

    /// Starts a command whose output goes to a file of the host; the file's path there.
    fn start(&self, name: &str, mut command: Command) -> Result<(Child, String)> {
        let log = format!("{LOG}/{name}.log");
        let path = log.clone();
        let child = self.inside(move || -> Result<Child> {
            let file = File::options().create(true).append(true).open(&path)?;
            command
                .stdout(file.try_clone()?)
                .stderr(file)
                .process_group(0);
            let program = command.get_program().to_owned();
            command
                .spawn()
                .with_context(|| program.display().to_string())
        })?;
        let child = child.with_context(|| format!("start {name} on {}", self.name))?;
        Ok((child, log))
    }

    /// A handle on a child, which is collected with the host if it is not before.
    fn process(&self, name: &str, child: Child, log: String) -> Process {
        let process = Process::new(&format!("{name} on {}", self.name), child, log);
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain(|c| c.strong_count() > 0);
        children.push(std::sync::Arc::downgrade(process.child()));
        process
    }

    /// A shell with our terminal, until the user leaves it.
    pub fn shell(&self) -> Result<()> {
        let argv = [std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into())];
        let mut command = self.command(&argv)?;
        // It stays in our process group, which is the terminal's foreground group.
        command.stdin(Stdio::inherit());
        command.env("PS1", format!("{}# ", self.name));
        let mut child = self
            .inside(move || command.spawn())?
            .context("start a shell")?;
        child.wait().context("wait for the shell")?;
        Ok(())
    }

    /// Writes a file in the host (only `/run`, `/tmp` and `/var/tmp` are private to it).
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        if !["/run/", "/tmp/", "/var/tmp/"]
            .iter()
            .any(|p| path.starts_with(p))
        {
            bail!("{path} is not private to host {}", self.name);
        }
        let (path, text) = (path.to_owned(), text.to_owned());
        let done = self.inside({
            let path = path.clone();
            move || {
                let parent = std::path::Path::new(&path).parent().map(ToOwned::to_owned);
                parent.map_or(Ok(()), std::fs::create_dir_all)?;
                std::fs::write(&path, text)
            }
        })?;
        done.with_context(|| format!("write {path} on {}", self.name))
    }

    /// Reads a file as the host sees it.
    pub fn read(&self, path: &str) -> Result<String> {
        let own = path.to_owned();
        let read = self.inside(move || std::fs::read_to_string(own))?;
        read.with_context(|| format!("read {path} on {}", self.name))
    }

    /// Sets a sysctl of this host's network namespace: `ipv4/ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let (path, value) = (format!("/proc/sys/net/{key}"), value.to_owned());
        let own = path.clone();
        self.inside(move || std::fs::write(own, value))?
            .with_context(|| format!("write {path} on {}", self.name))
    }
}

impl Host {
    /// Tells it to end, without waiting: the end of the queue ends the holder, which ends the first
    /// process, which ends all others.
    pub(crate) fn end(&mut self) {
        drop(self.jobs.take());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
        // The first process of a process namespace is not gone before all others are collected, and
        // those that we started are ours to collect.
        let children = self
            .children
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        for child in children.drain(..).filter_map(|c| c.upgrade()) {
            let _ = process::locked(&child).wait();
        }
        if let Some(holder) = self.holder.take() {
            let _ = holder.join();
        }
    }
}
