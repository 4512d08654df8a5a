//! Keys and certificates: those of the lab's hosts, and those that the intruder has come by.

use anyhow::Result;

use super::tool;
use crate::{Host, Lab};

/// Where they are in a host.
pub(super) const KEYS: &str = "/run/lab/keys";
/// Whoever speaks and is to be believed, and what they may be.
const HONEST: [(&str, &str); 3] = [("one", "member"), ("two", "member"), ("router", "router")];
/// What the intruder has, and for which prefixes.
const STOLEN: [(&str, &[&str]); 4] = [
    ("member", &CLASS),
    ("revoked", &CLASS),
    ("expired", &CLASS),
    (
        "other-prefix",
        &["198.18.200.0/24", "2001:2:0:1546::c800/120"],
    ),
];
/// What may be served on this link.
const CLASS: [&str; 2] = ["198.18.0.0/24", "2001:2:0:1546::/120"];
/// What everybody has.
const PUBLIC: [&str; 2] = ["authority.pub", "revoked.list"];

/// The table for the configuration of a host that has, or has not, a key. Nothing is verified at
/// first.
pub(super) fn table(host: &str) -> String {
    let mut table = format!(
        "[trust]\nmode = \"off\"\nauthorities = [\"{KEYS}/authority.pub\"]\n\
         revoked = [\"{KEYS}/revoked.list\"]\n"
    );
    if HONEST.iter().any(|(name, _)| *name == host) {
        table += &format!("key = \"{KEYS}/{host}.key\"\ncertificate = \"{KEYS}/{host}.cert\"\n");
    }
    table
}

/// Makes all of them on one host, as an authority does on its own, and gives each host its own.
pub(super) fn hand_out(lab: &Lab, python: &str) -> Result<()> {
    let authority = lab.host("client");
    let mut text = format!("mkdir -p {KEYS}; cd {KEYS}; hamp authority new authority.key\n");
    let certify = "hamp authority certify --authority authority.key";
    for (name, role) in HONEST {
        let prefixes = if role == "member" {
            given(&CLASS)
        } else {
            String::new()
        };
        text += &format!(
            "hamp key new {name}.key\n\
             {certify} --key {name}.pub --role {role} {prefixes} --days 1 --output {name}.cert\n"
        );
    }
    for (name, prefixes) in STOLEN {
        text += &format!("hamp key new {name}.key\n");
        // hamp certifies nothing that has expired already; scapy's layers do.
        text += &if name == "expired" {
            let layers = tool::LAYERS;
            let prefixes = prefixes.join(" ");
            format!(
                "{python} -B {layers} certify authority.key {name}.pub {name}.cert {prefixes}\n"
            )
        } else {
            let prefixes = given(prefixes);
            format!("{certify} --key {name}.pub {prefixes} --days 1 --output {name}.cert\n")
        };
    }
    text += "hamp authority revoke --authority authority.key --list revoked.list revoked.cert\n";
    tool::install(authority)?;
    authority.sh(&text)?;
    for host in lab.hosts() {
        let name = host.name();
        let mut files: Vec<String> = PUBLIC.map(String::from).into();
        if HONEST.iter().any(|(honest, _)| *honest == name) {
            files.extend([format!("{name}.key"), format!("{name}.cert")]);
        } else if name == "intruder" {
            for (stolen, _) in STOLEN {
                files.extend([format!("{stolen}.key"), format!("{stolen}.cert")]);
            }
        }
        give(authority, host, &files)?;
    }
    authority
        .sh(&format!("rm {KEYS}/*.key {KEYS}/*.cert"))
        .map(drop)
}

fn given(prefixes: &[&str]) -> String {
    let all = prefixes.iter().map(|prefix| format!("--prefix {prefix}"));
    all.collect::<Vec<_>>().join(" ")
}

fn give(from: &Host, to: &Host, files: &[String]) -> Result<()> {
    if from.name() == to.name() {
        return Ok(());
    }
    for file in files {
        let path = format!("{KEYS}/{file}");
        to.write(&path, &from.read(&path)?)?;
        to.sh(&format!("chmod 600 {path}"))?;
    }
    Ok(())
}
