//! The daemon as a router: what it makes of members in the kernel, what packets make of that, and
//! what is left of it when it ends, is killed, and comes back.

#[path = "netns/daemon.rs"]
mod daemon;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use daemon::{LIMIT, kernel, report, same};
use nix::sys::signal::Signal;
use testbed::{Host, Lab, Topology, wait};

const CLASS: [&str; 2] = ["198.18.0.0/16", "2001:2:0:1546::/112"];
const SERVICE: [&str; 2] = ["198.18.0.1", "2001:2:0:1546::1"];
const NODE: &str = "[node]\ninterfaces = [\"eth0\"]\nhello_ms = 100\n";
const MEMBER: &str = "[member]\naddresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]\n";

fn main() -> ExitCode {
    testbed::init();
    testbed::harness::main(&[
        (
            "members_become_routes_and_leave_no_trace",
            members_become_routes_and_leave_no_trace,
        ),
        (
            "a_killed_router_goes_on_and_is_taken_over",
            a_killed_router_goes_on_and_is_taken_over,
        ),
        (
            "clean_removes_the_routes_of_a_killed_router",
            clean_removes_the_routes_of_a_killed_router,
        ),
        (
            "hops_follow_members_and_links",
            hops_follow_members_and_links,
        ),
        (
            "the_last_link_is_multicast_if_so_configured",
            the_last_link_is_multicast_if_so_configured,
        ),
        (
            "it_stands_in_for_members_elsewhere",
            it_stands_in_for_members_elsewhere,
        ),
        (
            "entries_of_verified_hops_are_permanent",
            entries_of_verified_hops_are_permanent,
        ),
        (
            "a_route_to_leaving_members_is_behind_all_others",
            a_route_to_leaving_members_is_behind_all_others,
        ),
    ])
}

/// A client behind a router, and two members on its other link.
fn lab(router: &str) -> Result<Lab> {
    let mut topology = Topology::new("router")
        .switch("w")
        .router("r")
        .link("w", &["10.2.0.1/24", "fd15:2::1/64"])
        .hamp(format!("{NODE}[router]\n{router}"));
    for member in 1..=2 {
        topology = topology
            .host(&format!("m{member}"))
            .link(
                "w",
                &[
                    format!("10.2.0.1{member}/24"),
                    format!("fd15:2::1{member}/64"),
                ],
            )
            .route("default", "10.2.0.1")
            .route("default", "fd15:2::1")
            .hamp(format!("{NODE}{MEMBER}"));
    }
    let topology = topology
        .host("c")
        .cable(
            "r",
            &["10.1.0.2/24", "fd15:1::2/64"],
            &["10.1.0.1/24", "fd15:1::1/64"],
        )
        .route("default", "10.1.0.1")
        .route("default", "fd15:1::1");
    Lab::new(&topology)
}

/// Everything that a router's daemon may touch.
fn everything(host: &Host) -> Result<String> {
    let more = "ip nexthop; ip neigh show nud permanent; \
                cat /proc/sys/net/ipv4/conf/*/send_redirects";
    Ok(kernel(host)? + &host.sh(more)?)
}

fn shown(host: &Host) -> Result<String> {
    host.sh("ip route show proto 154; ip -6 route show proto 154; ip nexthop show protocol 154")
}

fn terminate(lab: &Lab, host: &str) -> Result<()> {
    let ended = lab.program(host, "hamp", |daemon| daemon.terminate(LIMIT));
    let status = ended.context("a daemon")??;
    ensure!(status.success(), "{host}: {status}");
    Ok(())
}

/// Waits until both services are routed by so many gateways.
fn routed(router: &Host, gateways: usize) -> Result<()> {
    wait::until_ok(&format!("{gateways} gateways each"), LIMIT, || {
        for (service, ip) in SERVICE.iter().zip(["ip", "ip -6"]) {
            let shown = router.sh(&format!("{ip} route show {service} proto 154"))?;
            ensure!(shown.matches("via").count() == gateways, "{shown}");
        }
        Ok(())
    })
}

/// Pings without a break, and fails when one is not answered.
fn without_loss(client: &Host, during: impl FnOnce() -> Result<()>) -> Result<()> {
    let pings = SERVICE
        .map(|service| client.spawn("ping", &["ping", "-n", "-i", "0.02", "-W", "5", service]));
    let pings: Vec<_> = pings.into_iter().collect::<Result<_>>()?;
    during()?;
    for ping in pings {
        ping.signal(Signal::SIGINT)?;
        ping.wait(LIMIT)?;
        let told = client.read(ping.log())?;
        ensure!(told.contains(" 0% packet loss"), "{told}");
    }
    Ok(())
}

fn members_become_routes_and_leave_no_trace() -> Result<()> {
    let lab = lab("")?;
    let router = lab.host("r");
    let before = everything(router)?;
    lab.start()?;
    routed(router, 2)?;
    for class in CLASS {
        let ip = if class.contains(':') { "ip -6" } else { "ip" };
        let discard = router.sh(&format!("{ip} route show {class} proto 154"))?;
        ensure!(
            discard.contains("blackhole") && discard.contains("4294967295"),
            "{discard}"
        );
    }
    let status = report(router, &["status"])?;
    ensure!(
        status["roles"] == serde_json::json!(["router"]),
        "{status:#}"
    );
    let told = &status["router"];
    let routes = (&told["routes"], &told["kernel_routes"], &told["refused"]);
    ensure!(routes == (&2.into(), &4.into(), &0.into()), "{told:#}");
    for service in SERVICE {
        let client = lab.host("c");
        client.run(&["ping", "-c2", "-W5", service])?.ok()?;
    }
    terminate(&lab, "r")?;
    same(&before, &everything(router)?)
}

fn a_killed_router_goes_on_and_is_taken_over() -> Result<()> {
    let lab = lab("")?;
    let (router, client) = (lab.host("r"), lab.host("c"));
    lab.start()?;
    routed(router, 2)?;
    // A route of a life before that nobody will ask for.
    router.sh("ip route add 198.18.0.9 via 10.2.0.12 proto 154 metric 15")?;
    let left = shown(router)?;
    without_loss(client, || {
        lab.kill("r")?;
        ensure!(shown(router)? == left, "the kernel goes on as it was");
        lab.start_host("r")?;
        wait::until_ok("the unconfirmed is swept", LIMIT, || {
            let now = shown(router)?;
            ensure!(!now.contains("198.18.0.9"), "{now}");
            Ok(())
        })?;
        let now = shown(router)?;
        let kept: Vec<&str> = left.lines().filter(|l| !l.contains("198.18.0.9")).collect();
        ensure!(
            now.lines().collect::<Vec<_>>() == kept,
            "taken over:\n{left}\nnow:\n{now}"
        );
        Ok(())
    })
}

fn clean_removes_the_routes_of_a_killed_router() -> Result<()> {
    let lab = lab("")?;
    let router = lab.host("r");
    let before = everything(router)?;
    lab.start()?;
    routed(router, 2)?;
    lab.kill("r")?;
    // The entry of a next hop, as an enforcing router has them.
    router.sh(
        "ip neigh add 10.2.0.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent protocol 154",
    )?;
    let cleaned = report(router, &["clean"])?;
    ensure!(cleaned["routes"].as_u64() >= Some(4), "{cleaned:#}");
    ensure!(cleaned["neighbours"] == 1, "{cleaned:#}");
    same(&before, &everything(router)?)
}

fn hops_follow_members_and_links() -> Result<()> {
    let lab = lab("")?;
    let (router, client) = (lab.host("r"), lab.host("c"));
    lab.start()?;
    routed(router, 2)?;
    without_loss(client, || {
        terminate(&lab, "m1")?;
        routed(router, 1)
    })?;
    lab.start_host("m1")?;
    routed(router, 2)?;
    lab.carrier("r", "eth0", false)?;
    wait::until_ok("routes go with the link", LIMIT, || {
        let shown = shown(router)?;
        ensure!(!shown.contains("via"), "{shown}");
        Ok(())
    })?;
    lab.carrier("r", "eth0", true)?;
    routed(router, 2)?;
    lab.kill("m2")?;
    routed(router, 1)
}

fn the_last_link_is_multicast_if_so_configured() -> Result<()> {
    let lab = lab("last_link = \"multicast\"\n")?;
    let router = lab.host("r");
    lab.start()?;
    wait::until_ok("the group is the neighbour", LIMIT, || {
        let entries = router.sh("ip neigh show nud permanent")?;
        for mac in ["03:15:46:12:00:01", "03:15:46:00:00:01"] {
            ensure!(entries.contains(mac), "{entries}");
        }
        Ok(())
    })?;
    for service in SERVICE {
        let got = router.sh(&format!("ip route get {service}"))?;
        ensure!(got.contains("dev eth0") && !got.contains("via"), "{got}");
    }
    Ok(())
}

/// A router without members on the client's link answers for those elsewhere, known by its own table
/// or by another routing daemon's routes.
fn it_stands_in_for_members_elsewhere() -> Result<()> {
    let lab = lab("")?;
    let (router, client) = (lab.host("r"), lab.host("c"));
    let other = router.interfaces()[1].name.clone();
    let config = format!("{NODE}[router]\n").replace("\"eth0\"", &format!("\"eth0\", \"{other}\""));
    router.write("/tmp/router.toml", &config)?;
    client
        .sh("ip route add 198.18.0.0/16 dev eth0; ip -6 route add 2001:2:0:1546::/112 dev eth0")?;
    for member in ["m1", "m2"] {
        lab.start_host(member)?;
    }
    router.sh("ip route add 198.18.77.0/24 via 10.2.0.12 proto bird")?;
    let _daemon = router.spawn("hamp", &["hamp", "run", "--config", "/tmp/router.toml"])?;
    routed(router, 2)?;
    for service in SERVICE {
        wait::until_ok("the proxy answers", LIMIT, || {
            let done = client.run(&["ping", "-c1", "-W2", service])?.ok();
            done.map(drop).context(service)
        })?;
    }
    client.run(&["ping", "-c1", "-W1", "198.18.77.5"])?;
    let entry = client.sh("ip neigh show 198.18.77.5")?;
    ensure!(
        entry.contains("lladdr"),
        "answered for another daemon's route: {entry}"
    );
    client.run(&["ping", "-c1", "-W1", "198.18.78.5"])?;
    let entry = client.sh("ip neigh show 198.18.78.5")?;
    ensure!(!entry.contains("lladdr"), "nobody has this one: {entry}");
    Ok(())
}

/// In enforce mode the hops' neighbour entries are ours and permanent, and only then.
fn entries_of_verified_hops_are_permanent() -> Result<()> {
    let lab = lab("")?;
    let router = lab.host("r");
    router.sh("mkdir -p /tmp/keys && cd /tmp/keys && hamp authority new authority.key")?;
    for name in ["r", "m1", "m2"] {
        let role = if name == "r" { "router" } else { "member" };
        let host = lab.host(name);
        router.sh(&format!(
            "cd /tmp/keys && hamp key new {name}.key && hamp authority certify \
             --authority authority.key --key {name}.pub -o {name}.cert --role {role} \
             --prefix 198.18.0.0/16 --prefix 2001:2:0:1546::/112"
        ))?;
        for file in [
            "authority.pub".to_owned(),
            format!("{name}.key"),
            format!("{name}.cert"),
        ] {
            let text = router.read(&format!("/tmp/keys/{file}"))?;
            host.write(&format!("/tmp/trust/{file}"), &text)?;
        }
        let part = if name == "r" { "[router]\n" } else { MEMBER };
        let text = format!(
            "{NODE}{part}[trust]\nmode = \"enforce\"\nauthorities = [\"authority.pub\"]\n\
             key = \"{name}.key\"\ncertificate = \"{name}.cert\"\n"
        );
        host.write("/tmp/trust/hamp.toml", &text)?;
        host.sh("chmod 600 /tmp/trust/*.key")?;
    }
    let run = ["hamp", "run", "--config", "/tmp/trust/hamp.toml"];
    let daemons = ["r", "m1", "m2"].map(|name| lab.host(name).spawn("hamp", &run));
    let _daemons: Vec<_> = daemons.into_iter().collect::<Result<_>>()?;
    routed(router, 2)?;
    let permanent = |count: usize| {
        wait::until_ok(&format!("{count} permanent entries"), LIMIT, || {
            let shown = router.sh("ip neigh show nud permanent")?;
            ensure!(shown.matches("proto 154").count() == count, "{shown}");
            Ok(())
        })
    };
    permanent(4)?;
    for member in ["m1", "m2"] {
        let mac = testbed::lab::mac_text(lab.host(member).interfaces()[0].mac);
        let entries = router.sh("ip neigh show nud permanent")?;
        ensure!(
            entries.matches(&mac).count() == 2,
            "{member} at {mac}: {entries}"
        );
    }
    router.sh("hamp trust off")?;
    permanent(0)?;
    routed(router, 2)?;
    router.sh("hamp trust enforce")?;
    permanent(4)
}

/// When the last member here leaves, those elsewhere are taken while it still serves.
fn a_route_to_leaving_members_is_behind_all_others() -> Result<()> {
    let lab = lab("")?;
    let (router, member) = (lab.host("r"), lab.host("m1"));
    for host in ["r", "m1"] {
        lab.start_host(host)?;
    }
    routed(router, 1)?;
    let monitor = router.spawn("monitor", &["ip", "monitor", "route"])?;
    // What a routing daemon would learn, and install with its usual metric.
    let elsewhere = "198.18.0.1 via 10.2.0.12 dev eth0 proto bird metric 32";
    router.sh(&format!("ip route add {elsewhere}"))?;
    wait::until_ok("the monitor listens", LIMIT, || {
        let seen = router.read(monitor.log())?;
        if !seen.contains("proto bird") {
            router.sh(&format!("ip route replace {elsewhere}"))?;
        }
        ensure!(seen.contains("proto bird"), "{seen}");
        Ok(())
    })?;
    let before = router.sh("ip route get 198.18.0.1")?;
    ensure!(before.contains("via 10.2.0.11"), "{before}");
    member.sh("hamp leave 198.18.0.1 --force")?;
    wait::until_ok("the route is gone", LIMIT, || {
        let shown = router.sh("ip route show 198.18.0.1 proto 154")?;
        ensure!(shown.is_empty(), "{shown}");
        Ok(())
    })?;
    let after = router.sh("ip route get 198.18.0.1")?;
    ensure!(after.contains("via 10.2.0.12"), "{after}");
    wait::until_ok("it was behind all others in between", LIMIT, || {
        let seen = router.read(monitor.log())?;
        let at = |text: &str| seen.lines().position(|line| line.contains(text));
        let made = at("198.18.0.1 ").and(at("metric 4261412881"));
        let removed = seen.lines().position(|line| {
            line.starts_with("Deleted 198.18.0.1 ") && line.contains("metric 4261412881")
        });
        ensure!(made.is_some() && made < removed, "{seen}");
        Ok(())
    })
}
