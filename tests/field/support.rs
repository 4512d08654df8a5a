//! A lab whose hosts run hamp as their topology's text says, and the questions that tests put to it.
#![allow(dead_code, reason = "each module uses its part")]

use anyhow::{Context, Result};
use testbed::{Host, Lab, Topology};

/// A lab from the text of a topology file, its programs and daemons started.
pub(crate) fn lab(text: &str) -> Result<Lab> {
    let lab = Lab::new(&Topology::parse(text, "net.toml")?)?;
    lab.start()?;
    Ok(lab)
}

/// How many of `count` pings, five a second, are answered.
pub(crate) fn pings(host: &Host, address: &str, count: u32) -> Result<u32> {
    let told = host.sh(&format!("ping -c{count} -W1 -i0.2 {address} || true"))?;
    let received = told.split(" received").next().unwrap_or_default();
    let number = received.rsplit(' ').next().unwrap_or_default();
    number.parse().with_context(|| told.clone())
}

/// Whether one of the pings of a second is answered; at once when the first one is.
pub(crate) fn answers(host: &Host, address: &str) -> Result<bool> {
    let told = host.sh(&format!("ping -c1 -w1 -i0.2 {address} || true"))?;
    Ok(told.contains("bytes from"))
}

/// Who answers by HTTP, within three seconds; what curl says when nobody does.
pub(crate) fn http(host: &Host, address: &str) -> Result<String> {
    let at = if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    };
    host.sh(&format!("curl -sS -m3 http://{at}/ 2>&1 || true"))
        .map(|told| told.trim().to_owned())
}

/// Who answers by DNS, within a second; nothing when nobody does.
pub(crate) fn dns(host: &Host, address: &str) -> Result<String> {
    let asked = format!("dig +short +time=1 +tries=1 @{address} a.b TXT 2>&1 | head -1");
    host.sh(&asked)
        .map(|told| told.trim().trim_matches('"').to_owned())
}

/// What a host's daemon, started by the topology, has logged.
pub(crate) fn log(host: &Host) -> Result<String> {
    host.sh("cat /run/lab/log/hamp.log 2>/dev/null || true")
}
