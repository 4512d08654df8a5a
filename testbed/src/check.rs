//! What this machine lacks for the labs, and the remedy of each lack.

use std::net::Ipv4Addr;
use std::path::Path;

use serde::Serialize;

use crate::host::PATH;
use crate::{Lab, Privilege, Topology, enter};

/// Programs the labs run, with the Debian package of each.
const PROGRAMS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("named", "bind9"),
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sshd", "openssh-server"),
    ("tcpdump", "tcpdump"),
];

/// How a look at one thing ended.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// Whether it is there.
    pub ok: bool,
    /// What was found, or what is missing and how to get it.
    pub found: String,
    /// Exit code that the lack of it means: 69 or 77.
    #[serde(skip)]
    code: u8,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    schema: &'static str,
    /// Whether nothing is missing.
    pub ok: bool,
    /// The single looks.
    pub findings: Vec<Finding>,
}

impl Findings {
    /// Exit code: 0, 77 if a privilege is missing, 69 if anything else is.
    pub fn code(&self) -> u8 {
        let missing = self.findings.iter().filter(|f| !f.ok);
        missing.map(|f| f.code).max().unwrap_or(0)
    }

    /// The lines that tell a person what to do; empty if nothing is missing.
    pub fn remedies(&self) -> Vec<String> {
        let missing = self.findings.iter().filter(|f| !f.ok);
        missing
            .map(|f| format!("{}: {}", f.what, f.found))
            .collect()
    }
}

/// Where a program is, if it is on the path that hosts get.
pub fn program(name: &str) -> Option<String> {
    let at = |dir: &str| format!("{dir}/{name}");
    PATH.split(':')
        .map(at)
        .find(|path| Path::new(path).is_file())
}

/// Looks at everything. Enters the namespaces on the way, like a lab does.
pub fn look(privilege: Privilege) -> Findings {
    let mut findings = vec![programs()];
    let entered = enter(privilege);
    let how = if enter::is_mapped() {
        "a user namespace"
    } else {
        "root"
    };
    findings.push(finding(
        "namespaces",
        77,
        entered.map(|()| format!("as {how}")),
    ));
    if findings.iter().all(|f| f.ok) {
        let topology = Topology::new("check")
            .switch("sw")
            .host("a")
            .link("sw", &["10.15.46.1/24"]);
        match Lab::new(&topology) {
            Ok(lab) => findings.extend(inside(&lab)),
            Err(error) => findings.push(finding::<String>("a lab of one host", 77, Err(error))),
        }
    }
    let ok = findings.iter().all(|f| f.ok);
    Findings {
        schema: "hamp-lab.check/1",
        ok,
        findings,
    }
}

fn finding<T: ToString>(what: &str, code: u8, result: anyhow::Result<T>) -> Finding {
    let (ok, found) = match result {
        Ok(found) => (true, found.to_string()),
        Err(error) => (false, format!("{error:#}")),
    };
    Finding {
        what: what.into(),
        ok,
        found,
        code,
    }
}

fn programs() -> Finding {
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(name, _)| program(name).is_none())
        .collect();
    let result = if missing.is_empty() {
        Ok(PROGRAMS.iter().map(|p| p.0).collect::<Vec<_>>().join(" "))
    } else {
        let names: Vec<_> = missing.iter().map(|p| p.0).collect();
        let mut packages: Vec<_> = missing.iter().map(|p| p.1).collect();
        packages.sort_unstable();
        packages.dedup();
        Err(anyhow::anyhow!(
            "{} not found; sudo apt-get install --no-install-recommends {}",
            names.join(", "),
            packages.join(" ")
        ))
    };
    finding("programs", 69, result)
}

/// What only shows inside a host: packet sockets, rules, settings.
fn inside(lab: &Lab) -> Vec<Finding> {
    let host = lab.host("a");
    let packets = crate::capture::Capture::start(lab, "sw", None)
        .and_then(crate::capture::Capture::finish)
        .map(|_| "kernel timestamps and filters");
    // One rule of each kind the daemon loads: sets with timeouts in milliseconds, rewriting, the
    // ingress hook.
    let rules = "nft -f - <<'END'\n\
        table inet probe {\n\
          set leased { type ipv4_addr; flags timeout; elements = { 198.18.0.1 timeout 500ms } }\n\
          chain pre {\n\
            type filter hook prerouting priority raw\n\
            ip daddr @leased ip daddr set 10.0.0.1\n\
          }\n\
        }\n\
        table netdev probe {\n\
          chain in {\n\
            type filter hook ingress device eth0 priority 0\n\
            arp saddr ip 198.18.0.0/16 drop\n\
          }\n\
        }\n\
        END";
    let nft = host
        .sh(rules)
        .map(|_| "sets with timeouts, rewriting, ingress hook")
        .map_err(|e| {
            e.context("the kernel lacks parts of nftables (CONFIG_NF_TABLES_INET, _NETDEV, NFT_CT)")
        });
    let wanted = Ipv4Addr::LOCALHOST.to_string();
    let lo = host.sh("ip -br address show lo");
    let lo = lo.and_then(|text| match text.contains(&wanted) {
        true => Ok("addresses and links"),
        false => Err(anyhow::anyhow!("lo has no address: {text}")),
    });
    vec![
        finding("packet sockets", 77, packets),
        finding("nftables", 69, nft),
        finding("iproute2", 69, lo),
    ]
}
