//! The life of a holder: bind, enter, build, start, answer, end.

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hamp::daemon::{Failure, exit};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::{close, dup2_stderr, dup2_stdin, dup2_stdout, geteuid, setsid};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use super::look::{self, Counting};
use super::names::{Found, address, own_uid};
use super::start::Order;
use super::talk::{About, Answer, HostAbout, LINE, Request, hear, say};
use crate::lab::HAMP;
use crate::script::agree;
use crate::topology::Kind;
use crate::{Lab, Privilege, Topology, check, enter, wait};

/// First argument of a process that is a holder.
pub(crate) const HOLD_ARGUMENT: &str = "__hold";

/// How long hamp may take until it answers in all hosts.
const START: Duration = Duration::from_secs(20);
/// How long hosts may take to agree on owners, beyond two dead times.
const AGREE: Duration = Duration::from_secs(2);
/// How long who connects may take to say what is wanted.
const ASK: Duration = Duration::from_secs(5);
/// How long requests that run may take at the end.
const FINISH: Duration = Duration::from_secs(5);

/// Everything that a holder holds.
struct Held {
    lab: Lab,
    name: String,
    file: String,
    since: Instant,
    counting: Counting,
}

/// What a holder does; its exit code.
pub(crate) fn hold() -> u8 {
    let begun = begin();
    let (code, answer) = match begun {
        Ok((held, listener)) => {
            let about = Answer::Ok(held.about());
            match report(&about) {
                // Who wanted the lab is gone, and so is the lab.
                Err(_) => return exit::FAILED,
                Ok(()) => match serve(held, listener) {
                    Ok(()) => return exit::OK,
                    Err(_) => return exit::FAILED,
                },
            }
        }
        Err(error) => (super::code(&error), Answer::<Value>::from(Err(error))),
    };
    let _ = say(&mut std::io::stdout(), &answer);
    code
}

/// Does what the order on standard input says, up to a lab in which everything runs.
fn begin() -> Result<(Held, UnixListener)> {
    setsid().context("a session of its own")?;
    let_go().context("descriptors of who started us")?;
    let order: Order = hear(&mut std::io::stdin()).context("read what is to be held")?;
    let topology = Topology::parse(&order.text, &order.file)?;
    let Order { name, file, .. } = order;
    let listener = UnixListener::bind_addr(&address(own_uid(), &name)?).map_err(|error| {
        let found = Found {
            uid: own_uid(),
            name: name.clone(),
        };
        let down = format!("hamp-lab down {name}, or another --name");
        let (text, remedy) = match error.kind() {
            std::io::ErrorKind::AddrInUse if found.is_another_users() => {
                let text = format!("another user has taken the name of a lab {name:?} of yours");
                (text, "another --name".into())
            }
            std::io::ErrorKind::AddrInUse => (format!("a lab {name:?} is up already"), down),
            _ => (format!("socket of lab {name:?}: {error}"), down),
        };
        Failure::new(exit::FAILED, text).with_remedy(remedy)
    })?;
    if check::program("ip").is_none() {
        let missing = Failure::new(exit::MISSING, "the program ip is missing");
        let remedy = "sudo apt-get install --no-install-recommends iproute2";
        return Err(missing.with_remedy(remedy).into());
    }
    let privilege = match order.user {
        true => Privilege::User,
        false => Privilege::Auto,
    };
    // It comes before the first thread.
    enter(privilege)
        .map_err(|error| Failure::new(exit::PRIVILEGE, format!("no namespaces: {error:#}")))?;
    let lab = Lab::new(&topology)?;
    lab.start()?;
    runs(&lab)?;
    // So that the first command finds members. Hosts that are not meant to hear one another never
    // agree, so it ends without an error too.
    let (_, dead) = agree::timing(lab.topology())?;
    if !dead.is_zero() {
        let _ = lab.agree(dead * 2 + AGREE);
    }
    let since = Instant::now();
    let held = Held {
        lab,
        name,
        file,
        since,
        counting: Counting::default(),
    };
    Ok((held, listener))
}

/// Closes all but the standard streams. What a script has open (a lock, the pipe somebody reads to
/// its end) would otherwise stay open as long as the lab.
fn let_go() -> Result<()> {
    let listed = std::fs::read_dir("/proc/self/fd")?;
    let numbers = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let numbers: Vec<i32> = numbers.collect();
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // The one of the directory itself is closed by now.
        let _ = close(number);
    }
    Ok(())
}

/// Waits until every hamp answers, and sees whether a program ended with an error meanwhile.
fn runs(lab: &Lab) -> Result<()> {
    let all = || {
        let nodes = lab.topology().nodes.iter();
        nodes.flat_map(|node| programs(node).into_iter().map(move |name| (node, name)))
    };
    let ended = || {
        all().try_for_each(|(node, program)| {
            let log =
                |process: &crate::Process| Some((process.exited()?, process.log().to_owned()));
            match lab.program(&node.name, &program, log).flatten() {
                Some((status, log)) if !status.success() => {
                    let said = lab.host(&node.name).read(&log).unwrap_or_default();
                    let lines: Vec<_> = said.lines().rev().take(5).collect();
                    let lines: Vec<_> = lines.into_iter().rev().collect();
                    let how = crate::process::ended(status);
                    bail!("{program} on {}: {how}\n{}", node.name, lines.join("\n"))
                }
                _ => Ok(()),
            }
        })
    };
    for (node, _) in all().filter(|(_, program)| program == HAMP) {
        let host = lab.host(&node.name);
        wait::until(&format!("hamp on {}", node.name), START, || {
            if let Err(error) = ended() {
                return Some(Err(error));
            }
            let answer = host.run(&["hamp", "status", "--json"]);
            answer
                .is_ok_and(|answer| answer.status.success())
                .then_some(Ok(()))
        })??;
    }
    ended()
}

/// What is started in a host, `hamp` first.
pub(super) fn programs(node: &crate::topology::Node) -> Vec<String> {
    let hamp = node.hamp.iter().map(|_| HAMP.to_owned());
    hamp.chain(node.programs.iter().map(|program| program.name.clone()))
        .collect()
}

/// Tells who started us that all runs, and lets go of their streams.
fn report(about: &Answer<About>) -> Result<()> {
    say(&mut std::io::stdout(), about)?;
    let nothing = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    std::io::stderr().flush()?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    dup2_stderr(&nothing)?;
    Ok(())
}

/// Answers until somebody wants an end. Who asked for it hears when the lab is gone.
fn serve(held: Held, listener: UnixListener) -> Result<()> {
    let held = Arc::new(held);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let asked = runtime.block_on(until_down(&held, listener));
    // Requests that still run hold the lab, for a moment.
    runtime.shutdown_timeout(FINISH);
    drop(held);
    if let Some(mut stream) = asked? {
        let _ = say(&mut stream, &Answer::Ok(Value::Null));
    }
    Ok(())
}

/// The connection that asked for the end, if it was not a signal. The listener is closed then.
async fn until_down(
    held: &Arc<Held>,
    listener: UnixListener,
) -> Result<Option<std::os::unix::net::UnixStream>> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let (down, mut downs) = tokio::sync::mpsc::channel(1);
    let mut ticks = tokio::time::interval(look::IDLE);
    loop {
        let stream = tokio::select! {
            _ = ticks.tick() => {
                held.counting.rest();
                continue;
            }
            accepted = listener.accept() => accepted,
            asked = downs.recv() => return Ok(asked),
            _ = term.recv() => return Ok(None),
            _ = int.recv() => return Ok(None),
        };
        let Ok((stream, _)) = stream else {
            // Out of descriptors, which others give back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (held, down) = (Arc::clone(held), down.clone());
        tokio::spawn(async move {
            // Who hangs up does not want to know.
            let _ = one(held, stream, &down).await;
        });
    }
}

/// Answers one request.
async fn one(
    held: Arc<Held>,
    mut stream: UnixStream,
    down: &tokio::sync::mpsc::Sender<std::os::unix::net::UnixStream>,
) -> Result<()> {
    // Our own user, as our user namespace sees it; root of the machine becomes that user to ask.
    let peer = getsockopt(&stream, PeerCredentials)?;
    if peer.uid() != geteuid().as_raw() {
        bail!("another user asks");
    }
    let mut line = String::new();
    let (read, _) = stream.split();
    tokio::time::timeout(ASK, BufReader::new(read.take(LINE)).read_line(&mut line)).await??;
    let request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            // Another version of this program may know more than we do.
            let text = format!("the holder does not understand what is asked: {error}");
            let answer = Answer::<Value>::from(Err(Failure::new(exit::FAILED, text).into()));
            return answered(&mut stream, &answer).await;
        }
    };
    if matches!(request, Request::Down) {
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        down.send(stream).await?;
        return Ok(());
    }
    let answer = tokio::task::spawn_blocking(move || Answer::from(held.answer(&request))).await?;
    answered(&mut stream, &answer).await
}

/// Writes an answer.
async fn answered(stream: &mut UnixStream, answer: &Answer<Value>) -> Result<()> {
    let mut text = serde_json::to_vec(answer)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    Ok(())
}

impl Held {
    fn about(&self) -> About {
        let nodes = self.lab.topology().nodes.iter().zip(self.lab.hosts());
        let hosts = nodes.map(|(node, host)| HostAbout {
            name: node.name.clone(),
            kind: node.kind.name().into(),
            pid: host.pid().as_raw(),
            programs: programs(node),
        });
        About {
            name: self.name.clone(),
            file: self.file.clone(),
            pid: std::process::id().cast_signed(),
            up_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            hosts: hosts.collect(),
        }
    }

    fn answer(&self, request: &Request) -> Result<Value> {
        match request {
            Request::About | Request::Down => Ok(serde_json::to_value(self.about())?),
            Request::Topology => Ok(self.lab.topology().to_toml()?.into()),
            Request::Look => {
                let counts = self.counting.counts(&self.lab)?;
                let snapshot = look::snapshot(&self.lab, &counts, self.since.elapsed());
                Ok(serde_json::to_value(snapshot)?)
            }
            Request::Carrier {
                host,
                interface,
                up,
            } => {
                self.has(host, interface)?;
                self.lab.carrier(host, interface, *up)?;
                Ok(Value::Null)
            }
            Request::Impair {
                host,
                interface,
                to_host,
                from_host,
            } => {
                self.has(host, interface)?;
                self.lab.impair(host, interface, *to_host, *from_host)?;
                Ok(Value::Null)
            }
        }
    }

    /// Whether there is such an interface.
    fn has(&self, host: &str, interface: &str) -> Result<()> {
        let topology = self.lab.topology();
        if topology.node(host)?.kind == Kind::Switch {
            bail!("{host} is a switch: name the host at the other end of the cable");
        }
        topology.plug(host, interface)?;
        Ok(())
    }
}
