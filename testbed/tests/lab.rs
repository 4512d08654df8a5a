//! The lab itself: hosts, links, programs, faults and captures, as root and as an ordinary user.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::capture::Capture;
use testbed::{Lab, Topology, wait};

fn main() -> ExitCode {
    testbed::harness::main(&[
        (
            "hosts_reach_each_other_at_once",
            hosts_reach_each_other_at_once,
        ),
        ("hosts_are_apart", hosts_are_apart),
        (
            "programs_are_frozen_killed_and_gone",
            programs_are_frozen_killed_and_gone,
        ),
        (
            "a_pulled_cable_carries_nothing",
            a_pulled_cable_carries_nothing,
        ),
        (
            "captures_name_links_and_times",
            captures_name_links_and_times,
        ),
        (
            "every_cable_is_captured_at_its_ends",
            every_cable_is_captured_at_its_ends,
        ),
        ("frames_by_hand_are_answered", frames_by_hand_are_answered),
        ("who_says_its_name", who_says_its_name),
        (
            "a_command_that_hangs_is_ended",
            a_command_that_hangs_is_ended,
        ),
    ])
}

/// A switch has no addresses.
const NONE: [&str; 0] = [];

fn pair() -> Result<Lab> {
    let pair = Topology::new("pair")
        .switch("sw")
        .host("a")
        .link("sw", &["10.15.46.1/24", "fd15:46::1/64"])
        .host("b")
        .link("sw", &["10.15.46.2/24", "fd15:46::2/64"]);
    Lab::new(&pair)
}

fn hosts_reach_each_other_at_once() -> Result<()> {
    let start = Instant::now();
    let lab = pair()?;
    let built = start.elapsed();
    // A debug build on a busy machine: the limit is generous, a quiet one needs a tenth of it.
    ensure!(
        built < Duration::from_secs(2),
        "building took {} ms",
        built.as_millis()
    );
    for address in ["10.15.46.2", "fd15:46::2"] {
        lab.host("a")
            .run(&["ping", "-c1", "-W1", address])?
            .ok()
            .context(address)?;
    }
    Ok(())
}

fn hosts_are_apart() -> Result<()> {
    let lab = pair()?;
    let (a, b) = (lab.host("a"), lab.host("b"));
    a.write("/run/mine", "a's")?;
    ensure!(b.read("/run/mine").is_err(), "/run is shared");
    a.write("/tmp/mine", "a's")?;
    ensure!(b.read("/tmp/mine").is_err(), "/tmp is shared");
    ensure!(
        !std::path::Path::new("/run/mine").exists(),
        "/run is the machine's"
    );
    ensure!(
        a.write("/etc/mine", "").is_err(),
        "/etc is writable through the lab"
    );
    ensure!(a.sh("hostname")?.trim() == "a");
    ensure!(
        a.sh("ls /sys/fs >/dev/null; echo $PPID; readlink /proc/self/ns/pid")?
            .contains("pid:")
    );
    ensure!(a.sh("command -v hamp")?.trim() == "/run/lab/bin/hamp");
    Ok(())
}

fn programs_are_frozen_killed_and_gone() -> Result<()> {
    let lab = pair()?;
    let sleeper = lab
        .host("a")
        .spawn("sleeper", &["sh", "-c", "echo here; sleep 1000"])?;
    let state = || {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", sleeper.pid()));
        text.ok()
            .and_then(|t| t.rsplit(") ").next().and_then(|rest| rest.chars().next()))
    };
    let second = Duration::from_secs(5);
    wait::until("output", second, || {
        lab.host("a")
            .read(sleeper.log())
            .ok()
            .filter(|t| t == "here\n")
    })?;
    sleeper.freeze()?;
    wait::until("frozen", second, || (state() == Some('T')).then_some(()))?;
    sleeper.thaw()?;
    wait::until("thawed", second, || (state() != Some('T')).then_some(()))?;
    let init = lab.host("a").pid();
    drop(lab);
    wait::until("end with the host", second, || sleeper.exited())?;
    ensure!(
        !std::path::Path::new(&format!("/proc/{init}")).exists(),
        "first process is left"
    );
    Ok(())
}

fn a_pulled_cable_carries_nothing() -> Result<()> {
    let lab = pair()?;
    let carrier = || {
        lab.host("b")
            .sh("ip -br link show eth0")
            .unwrap_or_default()
    };
    let limit = Duration::from_secs(5);
    lab.carrier("b", "eth0", false)?;
    wait::until("no carrier", limit, || {
        carrier().contains("NO-CARRIER").then_some(())
    })?;
    let ping = ["ping", "-c1", "-W1", "10.15.46.2"];
    ensure!(!lab.host("a").run(&ping)?.status.success());
    lab.carrier("b", "eth0", true)?;
    wait::until_ok("carrier again", limit, || lab.host("a").run(&ping)?.ok())?;
    Ok(())
}

fn captures_name_links_and_times() -> Result<()> {
    let lab = pair()?;
    let dir = std::env::temp_dir().join(format!("hamp-capture-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let capture = Capture::start(&lab, "sw", Some(&dir))?;
    lab.host("a")
        .run(&["ping", "-c1", "-W1", "10.15.46.2"])?
        .ok()?;
    let seen = capture.finish()?;
    ensure!(seen.lost == 0, "{} frames lost", seen.lost);
    let names: Vec<_> = seen.links.iter().map(|l| l.host.as_str()).collect();
    ensure!(names == ["a", "b"], "links {names:?}");
    // The ARP request leaves a (link 0, from the host) and reaches b (link 1, to the host), in that
    // order.
    let arp = |link: usize, from_host: bool| {
        let hit = |f: &&testbed::capture::Frame| {
            f.link == link && f.from_host == from_host && f.bytes[12..14] == [0x08, 0x06]
        };
        seen.frames.iter().find(hit).map(|f| f.at)
    };
    let (left, reached) = (
        arp(0, true).context("request")?,
        arp(1, false).context("arrival")?,
    );
    ensure!(
        left <= reached,
        "arrived {} ms before it left",
        left.ms_since(reached)
    );
    let bytes = std::fs::read(dir.join("a.pcapng"))?;
    std::fs::remove_dir_all(&dir)?;
    let mut reader = pcap_file::pcapng::PcapNgReader::new(bytes.as_slice())?;
    let mut packets = 0;
    let mut last = Duration::ZERO;
    while let Some(block) = reader.next_block() {
        if let pcap_file::pcapng::Block::EnhancedPacket(packet) = block?.0 {
            packets += 1;
            last = packet.timestamp;
        }
    }
    ensure!(packets >= 4, "{packets} packets in the file");
    let age = testbed::capture::Stamp::now()
        .ms_since(testbed::capture::Stamp(u64::try_from(last.as_nanos())?));
    ensure!(
        (0.0..60_000.0).contains(&age),
        "the last packet is {age} ms old"
    );
    Ok(())
}

fn every_cable_is_captured_at_its_ends() -> Result<()> {
    let routed = Topology::new("routed")
        .switch("lan")
        .router("r")
        .link("lan", &["10.0.0.254/24"])
        .host("a")
        .link("lan", &["10.0.0.1/24"])
        .route("default", "10.0.0.254")
        .host("b")
        .cable("r", &["10.0.1.1/30"], &["10.0.1.2/30"])
        .route("default", "10.0.1.2")
        .switch("upper")
        .cable("lan", &NONE, &NONE);
    let lab = Lab::new(&routed)?;
    let dir = std::env::temp_dir().join(format!("hamp-all-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let capture = Capture::all(&lab, Some(&dir.join("all.pcapng")))?;
    let ping = ["ping", "-c1", "-W1", "10.0.1.1"];
    lab.host("a").run(&ping)?.ok()?;
    let seen = capture.finish()?;
    ensure!(seen.lost == 0, "{} frames lost", seen.lost);
    let names: Vec<_> = seen
        .links
        .iter()
        .map(|l| (&*l.host, &*l.interface))
        .collect();
    let expected = [
        ("lan", "upper"),
        ("r", "eth0"),
        ("r", "eth1"),
        ("a", "eth0"),
        ("b", "eth0"),
    ];
    ensure!(names == expected, "taps {names:?}");
    // The way of the echo request (protocol 1, type 8), and the broadcast that the switch floods.
    let echo = |f: &&testbed::capture::Frame| f.bytes[23] == 1 && f.bytes[34] == 8;
    let way = seen.frames.iter().filter(echo);
    let way: Vec<_> = way
        .map(|f| (names[f.link].0, names[f.link].1, f.from_host))
        .collect();
    let expected = [
        ("a", "eth0", true),
        ("r", "eth0", false),
        ("r", "eth1", true),
        ("b", "eth0", false),
    ];
    ensure!(way == expected, "the request went {way:?}");
    let flooded = |f: &&testbed::capture::Frame| f.link == 0 && f.from_host;
    ensure!(
        seen.frames.iter().any(|f| flooded(&f)),
        "nothing to the upper switch"
    );

    let written = interfaces(&dir.join("all.pcapng"))?;
    ensure!(written.iter().map(|i| &*i.0).eq([
        "lan.upper",
        "r.eth0",
        "r.eth1",
        "a.eth0",
        "b.eth0"
    ]));
    ensure!(
        written[4].1.ends_with("cable to eth1 of r"),
        "{}",
        written[4].1
    );
    seen.save(&dir.join("again.pcapng"))?;
    let again = interfaces(&dir.join("again.pcapng"))?;
    ensure!(
        again.iter().map(|i| i.2).eq(written.iter().map(|i| i.2)),
        "packets are missing"
    );
    ensure!(again.iter().map(|i| i.2).sum::<usize>() == seen.frames.len());
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// The interfaces of a pcapng file: name, description, number of packets.
fn interfaces(path: &std::path::Path) -> Result<Vec<(String, String, usize)>> {
    use pcap_file::pcapng::Block;
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption as About;
    let bytes = std::fs::read(path)?;
    let mut reader = pcap_file::pcapng::PcapNgReader::new(bytes.as_slice())?;
    let mut all = Vec::new();
    while let Some(block) = reader.next_block() {
        match block?.0 {
            Block::InterfaceDescription(block) => {
                let mut interface = (String::new(), String::new(), 0);
                for option in &block.options {
                    match option {
                        About::IfName(name) => interface.0 = name.to_string(),
                        About::IfDescription(about) => interface.1 = about.to_string(),
                        _ => {}
                    }
                }
                all.push(interface);
            }
            Block::EnhancedPacket(packet) => all[packet.interface_id as usize].2 += 1,
            _ => {}
        }
    }
    Ok(all)
}

/// An ARP request from a host that is not there; b answers, and a sees the answer.
fn frames_by_hand_are_answered() -> Result<()> {
    use hamp::wire::frame::{self, Frame};
    let lab = pair()?;
    let mut injector = testbed::inject::Injector::open(lab.host("a"), "eth0")?;
    let (mac, target) = ([0x02, 0, 0, 0, 0, 0x77], "10.15.46.2".parse()?);
    let request = frame::request(mac, "10.15.46.77".parse()?, target).context("no request")?;
    injector.send(&request)?;
    let answer = |bytes: &[u8]| match Frame::parse(bytes) {
        Ok(Frame::Answer(answer)) if bytes[..6] == mac => Some((answer.target, answer.mac)),
        _ => None,
    };
    let limit = Duration::from_secs(5);
    let (of, at) = injector.receive(limit, answer)?;
    ensure!(
        of == target && at == lab.host("b").interface("eth0")?.mac,
        "{of} is at {at:?}"
    );
    let short = Duration::from_millis(100);
    ensure!(injector.receive(short, answer).is_err(), "two answers");
    Ok(())
}

fn a_command_that_hangs_is_ended() -> Result<()> {
    let lab = pair()?;
    let start = Instant::now();
    let ended = lab
        .host("a")
        .run_for(&["sleep", "1000"], Duration::from_millis(100));
    ensure!(ended.is_err() && start.elapsed() < Duration::from_secs(5));
    Ok(())
}

fn who_says_its_name() -> Result<()> {
    let topology = Topology::new("who")
        .switch("sw")
        .host("asks")
        .link("sw", &["10.15.46.1/24", "fd15:46::1/64"])
        .host("says")
        .link("sw", &["10.15.46.2/24", "10.15.46.3/24", "fd15:46::2/64"])
        .program("who", &["hamp-lab", "who"]);
    let lab = Lab::new(&topology)?;
    lab.start()?;
    let limit = Duration::from_secs(10);
    for (url, address) in [
        ("http://10.15.46.2/", "10.15.46.2"),
        ("http://10.15.46.3/", "10.15.46.3"),
        ("http://[fd15:46::2]/", "fd15:46::2"),
    ] {
        let said = wait::until_ok(url, limit, || {
            lab.host("asks").run(&["curl", "-sgf", url])?.ok()
        })?;
        ensure!(said == "says\n", "{url}: {said:?}");
        // dig refuses an answer from another address than it asked, the second one of a host say.
        let at = format!("@{address}");
        let dig = ["dig", "+short", "+tries=1", "TXT", "whoami.test", &at];
        let said = lab.host("asks").run(&dig)?.ok()?;
        ensure!(said == "\"says\"\n", "{address}: {said:?}");
    }
    let ended = lab.program("says", "who", |process| process.exited());
    ensure!(ended == Some(None), "{ended:?}");
    lab.start()?;
    Ok(())
}
