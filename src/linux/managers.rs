//! Programs that manage a machine's network, and how each is told to leave things alone: for the
//! warning that something of ours was taken away. Which of them runs is read from `/proc`; that it
//! runs is no proof that it was the one.

use std::fs;

/// What was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Routes, next hops and policy rules.
    Routes,
    /// Addresses and neighbour entries.
    Addresses,
    /// Rules of the packet filter.
    Filter,
    /// Settings.
    Settings,
}

/// A program's name as `/proc` has it (15 bytes at most), what it may take, and the remedy.
struct Manager(&'static str, &'static [What], &'static str);

const MANAGERS: &[Manager] = &[
    Manager(
        "systemd-network",
        &[What::Routes],
        "systemd-networkd: ManageForeignRoutes=no, ManageForeignRoutingPolicyRules=no and \
         ManageForeignNextHops=no in [Network] of /etc/systemd/networkd.conf",
    ),
    Manager(
        "systemd-network",
        &[What::Addresses],
        "systemd-networkd: KeepConfiguration=yes for the interface, and no .network file for lo",
    ),
    Manager(
        "NetworkManager",
        &[What::Routes, What::Addresses],
        "NetworkManager: unmanaged-devices=interface-name:lo in [keyfile] of \
         /etc/NetworkManager/conf.d/hamp.conf, and no `nmcli device reapply` for hamp's interfaces",
    ),
    Manager(
        "firewalld",
        &[What::Filter],
        "firewalld: FlushAllOnReload=no in /etc/firewalld/firewalld.conf",
    ),
    Manager(
        "dockerd",
        &[What::Filter, What::Settings],
        "docker: no script that flushes the ruleset before it restarts",
    ),
    Manager(
        "connmand",
        &[What::Routes, What::Addresses],
        "connman: NetworkInterfaceBlacklist with hamp's interfaces in /etc/connman/main.conf",
    ),
    Manager(
        "dhcpcd",
        &[What::Routes, What::Addresses],
        "dhcpcd: denyinterfaces lo in /etc/dhcpcd.conf",
    ),
    Manager(
        "zebra",
        &[What::Routes],
        "FRR: multipath = \"routes\" in hamp's [router], since zebra makes the next hops of others \
         its own (docs/routing.md)",
    ),
    Manager(
        "bird",
        &[What::Routes],
        "BIRD: no `protocol kernel` with `kernel table 1546` or `1547`",
    ),
    Manager(
        "tuned",
        &[What::Settings],
        "tuned: no profile that sets it (reapply_sysctl=0 in /etc/tuned/tuned-main.conf)",
    ),
];

impl What {
    /// What to look for where none of them runs.
    const fn general(self) -> &'static str {
        match self {
            Self::Routes => {
                "look for `ip route flush`, `ip rule flush` and `ip nexthop flush` in scripts of the \
                 network (if-up.d, dispatcher.d); hamp's carry protocol 154"
            }
            Self::Addresses => {
                "look for `ip address flush` and `ip neigh flush` in scripts of the network"
            }
            Self::Filter => {
                "look for `flush ruleset` in /etc/nftables.conf and in firewall scripts: flush or \
                 destroy their own tables instead"
            }
            Self::Settings => "look for the setting in /etc/sysctl.conf and /etc/sysctl.d",
        }
    }
}

/// Who can be told to leave it alone, and how.
pub fn remedy(what: What) -> String {
    remedy_of(what, &running())
}

/// The same where these programs run.
fn remedy_of(what: What, running: &[String]) -> String {
    let known = MANAGERS.iter().filter(|Manager(name, takes, _)| {
        takes.contains(&what) && running.iter().any(|n| n == name)
    });
    let known: Vec<&str> = known.map(|Manager(_, _, remedy)| *remedy).collect();
    if known.is_empty() {
        what.general().to_owned()
    } else {
        known.join("; ")
    }
}

/// Names of the programs that run in this network namespace, as far as that may be known.
fn running() -> Vec<String> {
    let own = fs::read_link("/proc/thread-self/ns/net").ok();
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = processes.flatten().filter_map(|process| {
        let path = process.path();
        let name = fs::read_to_string(path.join("comm")).ok()?;
        let there = fs::read_link(path.join("ns/net")).ok();
        let elsewhere = there.is_some() && there != own;
        (!elsewhere).then(|| name.trim().to_owned())
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_manager_runs_the_hint_is_a_general_one() {
        for what in [What::Routes, What::Addresses, What::Filter, What::Settings] {
            for running in [&[][..], &["sshd".to_owned(), "hamp".to_owned()]] {
                assert_eq!(remedy_of(what, running), what.general());
            }
        }
    }

    #[test]
    fn the_managers_that_run_are_named_for_what_they_take_alone() {
        let running = ["NetworkManager", "systemd-network", "firewalld"].map(str::to_owned);
        let routes = remedy_of(What::Routes, &running);
        assert!(routes.contains("ManageForeignRoutes=no"), "{routes}");
        assert!(routes.contains("; NetworkManager: "), "{routes}");
        assert!(!routes.contains("firewalld"), "{routes}");
        let filter = remedy_of(What::Filter, &running);
        assert!(filter.starts_with("firewalld: "), "{filter}");
        assert!(!filter.contains("etworkd"), "{filter}");
        assert_eq!(
            remedy_of(What::Settings, &running),
            What::Settings.general()
        );
    }

    #[test]
    fn managers_are_named_as_the_kernel_names_them() {
        for Manager(name, takes, remedy) in MANAGERS {
            assert!(name.len() <= 15 && !takes.is_empty(), "{name}");
            let running = [(*name).to_owned()];
            assert!(
                takes
                    .iter()
                    .all(|what| remedy_of(*what, &running).contains(remedy))
            );
        }
    }
}
