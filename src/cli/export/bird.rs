//! BIRD 2's language.

use super::{GLOBAL, PROTOCOL, Plan, SITE};

/// The file.
pub(super) fn text(plan: &Plan) -> String {
    let head = plan.head("BIRD 2", "/etc/bird/bird.conf; `bird -p` checks it");
    let mut lines: Vec<String> = head.iter().map(|line| format!("# {line}")).collect();
    lines.push(format!(
        "
log syslog all;
router id {};

# Interfaces, and a look at them besides the kernel's notices.
protocol device {{ scan time 10; }}",
        plan.router_id
    ));
    lines.push(
        "
# The networks of this router's own interfaces, through which it reaches its neighbours.
protocol direct { ipv4; ipv6; }"
            .into(),
    );
    for v6 in [false, true] {
        kernel(&mut lines, plan, v6);
        bgp(&mut lines, plan, v6);
    }
    lines.push(String::new());
    let trimmed: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
    trimmed.join("\n")
}

/// The kernel's table: hamp's routes in, those of other routers out.
fn kernel(lines: &mut Vec<String>, plan: &Plan, v6: bool) {
    let (n, ip) = family(v6);
    let class = if v6 { &plan.class6 } else { &plan.class4 };
    let set: Vec<_> = class.iter().map(|prefix| format!("{prefix}+")).collect();
    let import = if set.is_empty() {
        "import none;".to_owned()
    } else {
        format!(
            "preference 200;
    import where krt_source = {PROTOCOL} && net ~ [ {} ]
      && (krt_metric = {GLOBAL} || krt_metric = {SITE});",
            set.join(", ")
        )
    };
    lines.push(format!(
        "
# IPv{n}: hamp's routes win over those of other routers (preference 200). Routes of others go to the
# kernel with BIRD's metric, 32, which is behind hamp's there too.
protocol kernel kernel{n} {{
  learn;
  scan time 10;
  {ip} {{
    {import}
    export where source != RTS_INHERIT && source != RTS_DEVICE;
  }};
}}"
    ));
}

/// The sessions of a family.
///
/// A site is an autonomous system here: what stays inside it is not told to another one, and to
/// routers of the same one with NO_EXPORT (RFC 1997), so that they do not tell it either.
fn bgp(lines: &mut Vec<String>, plan: &Plan, v6: bool) {
    let (n, ip) = family(v6);
    let own = plan.own_as;
    let ours: Vec<_> = plan
        .links
        .iter()
        .map(|name| format!("ifname = \"{name}\""))
        .collect();
    let links = if ours.is_empty() {
        String::new()
    } else {
        // TCP goes on with the unicast addresses that members have there.
        let ours = ours.join(" || ");
        format!("\n  if source = RTS_DEVICE && ({ours}) then accept;  # members' links")
    };
    for (name, inside, what, site) in [
        (
            "inside",
            true,
            "Routers of the same autonomous system tell nobody outside (NO_EXPORT, RFC 1997).",
            "bgp_community.add((65535, 65281))",
        ),
        (
            "outside",
            false,
            "Another autonomous system is not told what stays inside the site.",
            "reject",
        ),
    ] {
        let side = |remote: u32| (remote == own) == inside;
        if plan.neighbours(v6).any(|n| side(n.remote_as)) {
            lines.push(format!(
                "
# {what}
# Routes learned from others are not passed on: nobody's traffic passes through here by mistake.
filter hamp{n}_{name} {{{links}
  if source != RTS_INHERIT then reject;
  if krt_metric = {SITE} then {site};
  accept;
}}"
            ));
        }
    }
    for (index, neighbour) in plan.neighbours(v6).enumerate() {
        let side = if neighbour.remote_as == own {
            "inside"
        } else {
            "outside"
        };
        lines.push(format!(
            "
protocol bgp bgp{n}_{} {{
  local as {own};
  neighbor {} as {};
  {ip} {{
    import all;  # narrow it to what this neighbour may say
    export filter hamp{n}_{side};
    next hop self;
  }};
}}",
            index + 1,
            neighbour.address,
            neighbour.remote_as,
        ));
    }
}

/// A family's number, and its name in a channel.
fn family(v6: bool) -> (u8, &'static str) {
    if v6 { (6, "ipv6") } else { (4, "ipv4") }
}
