//! FRR's language.
//!
//! FRR does not tell one kernel route's protocol from another's: hamp's are those inside the class
//! with one of hamp's two metrics.

use super::{GLOBAL, Plan, SITE};
use crate::addr::Prefix;

/// What hamp's own configuration has to be told.
const GROUPED: [&str; 5] = [
    "",
    "In hamp's own configuration, set",
    "  [router]",
    "  multipath = \"routes\"",
    "FRR 8 does not follow a nexthop group that changes, and makes the next hop that left again.",
];

/// The file.
pub(super) fn text(plan: &Plan) -> String {
    let place = "/etc/frr/frr.conf, with bgpd=yes in /etc/frr/daemons; `vtysh -C` checks it";
    let mut head = plan.head("FRR", place);
    if plan.grouped {
        head.extend(GROUPED.map(str::to_owned));
    }
    let mut lines: Vec<String> = head.iter().map(|line| format!("! {line}")).collect();
    lines.push("!\nfrr defaults traditional\nlog syslog informational".into());
    for v6 in [false, true] {
        redistributed(&mut lines, plan, v6);
    }
    bgp(&mut lines, plan);
    lines.push(String::new());
    let trimmed: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
    trimmed.join("\n")
}

/// Which kernel routes are hamp's, and what is said of them.
fn redistributed(lines: &mut Vec<String>, plan: &Plan, v6: bool) {
    let (n, ip, class) = if v6 {
        (6, "ipv6", &plan.class6)
    } else {
        (4, "ip", &plan.class4)
    };
    lines.push(format!("!\n! IPv{n}: hamp's routes."));
    for (at, prefix) in class.iter().enumerate() {
        let longer = longer(prefix);
        let number = 5 * (at + 1);
        lines.push(format!(
            "{ip} prefix-list hamp{n} seq {number} permit {prefix}{longer}"
        ));
    }
    if class.is_empty() {
        lines.push(format!("{ip} prefix-list hamp{n} seq 5 deny any"));
    }
    let both = [(10, GLOBAL, ""), (20, SITE, "\n set community no-export")];
    for (number, metric, community) in both {
        let ours = format!(" match {ip} address prefix-list hamp{n}\n match metric {metric}");
        // Origin and metric as BIRD has them: which daemon a site runs must not make it nearer.
        lines.push(format!(
            "route-map hamp{n} permit {number}\n{ours}\n set metric 0\n set origin igp{community}\nexit"
        ));
    }
    for (at, name) in plan.links.iter().enumerate() {
        lines.push(format!(
            "route-map links{n} permit {}\n match interface {name}\n set metric 0\n set origin igp\nexit",
            10 * (at + 1)
        ));
    }
}

/// BGP. `no-export` (RFC 1997) keeps a route inside the autonomous system, which is the site here.
fn bgp(lines: &mut Vec<String>, plan: &Plan) {
    let own = plan.own_as;
    lines.push(format!(
        "!
! Routes learned from others are not passed on: nobody's traffic passes through here by mistake.
bgp as-path access-list own seq 5 permit ^$
route-map out permit 10
 match as-path own
exit
! Narrow it to what neighbours may say.
route-map in permit 10
exit
!
router bgp {own}
 bgp router-id {}
 no bgp default ipv4-unicast",
        plan.router_id
    ));
    for neighbour in plan.neighbours {
        let (address, remote) = (neighbour.address, neighbour.remote_as);
        lines.push(format!(" neighbor {address} remote-as {remote}"));
    }
    for v6 in [false, true] {
        let (n, family) = if v6 { (6, "ipv6") } else { (4, "ipv4") };
        lines.push(format!(" address-family {family} unicast"));
        lines.push(format!("  redistribute kernel route-map hamp{n}"));
        if !plan.links.is_empty() {
            lines.push(format!("  redistribute connected route-map links{n}"));
        }
        for neighbour in plan.neighbours(v6) {
            let address = neighbour.address;
            lines.push(format!("  neighbor {address} activate"));
            if neighbour.remote_as == own {
                lines.push(format!("  neighbor {address} next-hop-self"));
            }
            lines.push(format!("  neighbor {address} route-map in in"));
            lines.push(format!("  neighbor {address} route-map out out"));
        }
        lines.push(" exit-address-family".into());
    }
    lines.push("exit".into());
}

/// All that is in a prefix, itself too.
fn longer(prefix: &Prefix) -> String {
    let most = prefix.max_prefix_len();
    if prefix.prefix_len() == most {
        String::new()
    } else {
        format!(" le {most}")
    }
}
