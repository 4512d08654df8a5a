//! A leave that leaves the address to nobody, though another member is known, is taken back.

use anyhow::{Result, ensure};
use testbed::harness::Test;
use testbed::{Host, Lab, Output, Process, Topology, wait};

use crate::common::{LIMIT, report, serving, start};
use crate::support::pings;

pub(crate) const TESTS: &[Test] = &[
    (
        "leaving::a_successor_that_has_just_gone_takes_nothing_over",
        a_successor_that_has_just_gone_takes_nothing_over,
    ),
    (
        "leaving::of_two_that_leave_at_once_one_stays",
        of_two_that_leave_at_once_one_stays,
    ),
];

const A4: &str = "198.18.0.1";
const A6: &str = "2001:2:0:1546::1";
/// The two commands that end everything that a host serves.
const ENDS: [&[&str]; 2] = [&["hamp", "leave", "--all"], &["hamp", "drain"]];

/// Two members with a dead time that a command fits into, and a stock host.
fn members() -> Result<(Lab, [Process; 2])> {
    let link = Topology::new("leaving")
        .switch("sw")
        .host("one")
        .link("sw", &["10.15.46.1/24", "fd15:46::1/64"])
        .host("two")
        .link("sw", &["10.15.46.2/24", "fd15:46::2/64"])
        .host("stock")
        .link("sw", &["10.15.46.9/24", "fd15:46::9/64"]);
    let lab = Lab::new(&link)?;
    let routes =
        "ip route add 198.18.0.0/16 dev eth0; ip -6 route add 2001:2:0:1546::/112 dev eth0";
    lab.host("stock").sh(routes)?;
    let config = format!(
        "[node]\ninterfaces = [\"eth0\"]\nhello_ms = 500\n[member]\naddresses = [\"{A4}\", \"{A6}\"]\n"
    );
    let mut daemons = Vec::new();
    for name in ["one", "two"] {
        lab.host(name).write("/tmp/hamp.toml", &config)?;
        daemons.push(start(lab.host(name))?);
    }
    for name in ["one", "two"] {
        serving(lab.host(name), 2)?;
    }
    knows(lab.host("one"))?;
    knows(lab.host("two"))?;
    let [one, two] = <[Process; 2]>::try_from(daemons).map_err(|_| anyhow::anyhow!("two"))?;
    Ok((lab, [one, two]))
}

/// Waits until a host knows both members of both addresses, and nobody is about to leave.
fn knows(host: &Host) -> Result<()> {
    wait::until_ok("the members know each other", LIMIT, || {
        let members = report(host, &["members"])?;
        for prefix in members["links"][0]["prefixes"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let ranks = prefix["ranks"].as_array().into_iter().flatten();
            let staying = ranks.filter(|rank| rank["draining"] == false).count();
            ensure!(staying == 2, "{members:#}");
        }
        Ok(())
    })
}

/// What is served by a host, by its own account, in two families.
fn served(host: &Host) -> Result<usize> {
    let status = report(host, &["status"])?;
    Ok(status["links"][0]["serving"].as_array().map_or(0, Vec::len))
}

fn answers(stock: &Host) -> Result<()> {
    for address in [A4, A6] {
        wait::until_ok("it answers", LIMIT, || {
            ensure!(pings(stock, address, 1)? == 1, "{address}");
            Ok(())
        })?;
    }
    Ok(())
}

fn refused(output: &Output, why: &str) -> Result<()> {
    let told = &output.stderr;
    ensure!(
        output.status.code() == Some(1) && told.contains(why),
        "{output:?}"
    );
    ensure!(
        told.contains("serves on") && told.contains("--force"),
        "{told}"
    );
    Ok(())
}

fn a_successor_that_has_just_gone_takes_nothing_over() -> Result<()> {
    let (lab, [_one, two]) = members()?;
    let (one, stock) = (lab.host("one"), lab.host("stock"));
    lab.carrier("two", "eth0", false)?;
    refused(&one.run(ENDS[0])?, "no other member was heard")?;
    ensure!(served(one)? == 2, "it serves on");
    answers(stock)?;
    lab.carrier("two", "eth0", true)?;
    knows(one)?;
    two.kill()?;
    refused(&one.run(ENDS[1])?, "no other member was heard")?;
    ensure!(served(one)? == 2, "it serves on");
    ensure!(report(one, &["status"])?["drained"] == false, "not drained");
    answers(stock)
}

fn of_two_that_leave_at_once_one_stays() -> Result<()> {
    let (lab, _daemons) = members()?;
    let hosts = ["one", "two"].map(|name| lab.host(name));
    for command in ENDS {
        let [first, second] = std::thread::scope(|scope| {
            let told = hosts.map(|host| scope.spawn(move || host.run(command)));
            told.map(|told| told.join().expect("a thread that ends"))
        });
        let outputs = [first?, second?];
        let left = outputs
            .iter()
            .filter(|output| output.status.success())
            .count();
        // The later one may have been refused at once.
        ensure!(left <= 1, "both have left: {outputs:?}");
        for (host, output) in hosts.iter().zip(&outputs) {
            let stays = if output.status.success() { 0 } else { 2 };
            ensure!(served(host)? == stays, "{outputs:?}");
        }
        ensure!(left == 1, "nobody has left: {outputs:?}");
        answers(lab.host("stock"))?;
        for host in hosts {
            host.sh(&format!(
                "(hamp undrain; hamp join {A4}; hamp join {A6}) >/dev/null 2>&1 || true"
            ))?;
        }
        hosts.into_iter().try_for_each(knows)?;
    }
    Ok(())
}
