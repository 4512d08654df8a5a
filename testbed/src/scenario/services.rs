//! The unmodified servers of a member, and the unmodified programs that ask them.
//!
//! None of them knows anything of anycast: they listen on every address of their host and answer
//! with its name.

use std::time::Duration;

use anyhow::{Context, Result};

use super::first_link::{A4, A6};
use crate::report::Program;
use crate::who::DNS_PORT;
use crate::{Host, Process, enter, wait};

/// How long a server may take to answer on its own host.
const START: Duration = Duration::from_secs(10);

/// The running servers of a member.
#[derive(Debug)]
pub(super) struct Servers {
    /// nginx: says the host's name on port 80.
    pub(super) web: Process,
    /// named: says the host's name as `id.server CH TXT` and `whoami.test TXT` on port 53.
    pub(super) dns: Process,
    /// sshd, where it can work.
    pub(super) ssh: Option<Process>,
}

impl Servers {
    /// Starts them; [`Servers::ready`] waits for them.
    pub(super) fn start(host: &Host) -> Result<Self> {
        let name = host.name();
        host.write("/run/nginx/nginx.conf", &nginx(name))?;
        host.write("/run/named/named.conf", &named(name))?;
        host.write("/run/named/test.zone", &zone(name))?;
        let web = host.spawn(
            "nginx",
            &["nginx", "-e", "stderr", "-c", "/run/nginx/nginx.conf"],
        )?;
        let dns = ["named", "-g", "-n", "1", "-c", "/run/named/named.conf"];
        let dns = host.spawn("named", &dns)?;
        let ssh = if enter::is_mapped() {
            None
        } else {
            Some(sshd(host)?)
        };
        Ok(Self { web, dns, ssh })
    }

    /// Waits until they answer on their host's own address.
    pub(super) fn ready(&self, host: &Host) -> Result<()> {
        let own = host.address(false).context("no IPv4 address")?.to_string();
        let ask = |argv: &[&str]| {
            host.run(argv)?.ok().and_then(|text| {
                let ours = text.contains(host.name());
                ours.then_some(())
                    .with_context(|| format!("{argv:?} says {text:?}"))
            })
        };
        let log = |process: &Process| host.read(process.log()).unwrap_or_default();
        wait::until_ok("nginx", START, || {
            ask(&["curl", "-sS", "-m1", &format!("http://{own}/")])
        })
        .with_context(|| format!("{}: {}", host.name(), log(&self.web)))?;
        let at = format!("@{own}");
        let dig = [
            "dig",
            &at,
            "+short",
            "+time=1",
            "+tries=1",
            "id.server",
            "CH",
            "TXT",
        ];
        wait::until_ok("named", START, || ask(&dig))
            .with_context(|| format!("{}: {}", host.name(), log(&self.dns)))
    }

    /// `kill -9` of all of them.
    pub(super) fn kill(&self) -> Result<()> {
        let all = [Some(&self.web), Some(&self.dns), self.ssh.as_ref()];
        for process in all.into_iter().flatten() {
            if process.exited().is_none() {
                process.signal(nix::sys::signal::Signal::SIGKILL)?;
            }
        }
        Ok(())
    }
}

/// Whether the service on this port binds each address by itself, and so is served plain: named does.
pub(super) fn binds_each(port: u16) -> bool {
    port == DNS_PORT
}

/// One process, so that one `kill -9` ends it; `user root` because no other user may exist.
fn nginx(name: &str) -> String {
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|t| format!("  {t}_temp_path /run/nginx/{t};\n"))
        .concat();
    format!(
        "daemon off; master_process off; user root root;\n\
         error_log stderr; pid /run/nginx/pid;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n  access_log off; default_type text/plain;\n{temp}  \
           server {{\n    listen 80; listen [::]:80;\n    \
             location / {{ return 200 \"{name}\\n\"; }}\n  }}\n}}\n"
    )
}

fn named(name: &str) -> String {
    format!(
        "options {{\n  directory \"/run/named\"; managed-keys-directory \"/run/named\";\n  \
           pid-file none; session-keyfile none; lock-file none;\n  \
           listen-on {{ any; }}; listen-on-v6 {{ any; }};\n  \
           recursion no; dnssec-validation no; allow-query {{ any; }};\n  \
           server-id \"{name}\"; version none;\n}};\ncontrols {{ }};\n\
         zone \"test\" {{ type primary; file \"/run/named/test.zone\"; }};\n"
    )
}

/// `whoami.test TXT` for the load: named limits the rate of its built-in `id.server`.
fn zone(name: &str) -> String {
    format!(
        "$TTL 0\n@ SOA {name}.test. root.{name}.test. 1 60 60 60 0\n@ NS {name}.test.\n\
         {name} A 10.15.46.1\nwhoami TXT {name}\n"
    )
}

/// sshd changes to another user before it knows who logs in, which needs more user ids than a
/// mapped namespace has.
fn sshd(host: &Host) -> Result<Process> {
    if host.read("/run/ssh/host").is_err() {
        host.sh("mkdir -p /run/ssh && ssh-keygen -q -t ed25519 -N '' -f /run/ssh/host")?;
    }
    let argv = ["/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null"];
    let options = [
        "HostKey=/run/ssh/host",
        "AuthorizedKeysFile=/run/ssh/authorized",
        "StrictModes=no",
        "PidFile=none",
        "PermitRootLogin=yes",
        "UsePAM=no",
    ];
    let argv: Vec<_> = argv
        .into_iter()
        .chain(options.iter().flat_map(|o| ["-o", *o]))
        .collect();
    host.spawn("sshd", &argv)
}

/// Makes the client's ssh key and lets it into the members.
pub(super) fn share_key(client: &Host, members: &[&Host]) -> Result<()> {
    client.sh("mkdir -p /run/ssh && ssh-keygen -q -t ed25519 -N '' -f /run/ssh/key")?;
    let key = client.read("/run/ssh/key.pub")?;
    members
        .iter()
        .try_for_each(|member| member.write("/run/ssh/authorized", &key))
}

/// Runs curl, dig, dig +tcp and (as root) ssh on the client against the address, over both
/// families.
pub(super) fn programs(client: &Host) -> Vec<Program> {
    let mut cells = Vec::new();
    for (family, address) in [(4, A4), (6, A6)] {
        let url = if family == 4 {
            format!("http://{address}/")
        } else {
            format!("http://[{address}]/")
        };
        let mut lines: Vec<String> = vec![
            format!("curl -sS -m 5 {url}"),
            format!("dig @{address} +short +time=2 +tries=1 id.server CH TXT"),
            format!("dig @{address} +tcp +short +time=2 +tries=1 id.server CH TXT"),
        ];
        if !enter::is_mapped() {
            lines.push(format!(
                "ssh -F none -i /run/ssh/key -o BatchMode=yes -o ConnectTimeout=5 \
                 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
                 root@{address} hostname"
            ));
        }
        for line in lines {
            let argv: Vec<_> = line.split_whitespace().collect();
            let said = client
                .run_for(&argv, Duration::from_secs(8))
                .and_then(crate::Output::ok);
            let (answered_by, error) = match said {
                Ok(text) if !text.trim().is_empty() => {
                    (Some(text.trim().trim_matches('"').to_owned()), None)
                }
                Ok(_) => (None, Some("said nothing".into())),
                Err(error) => (None, Some(format!("{error:#}"))),
            };
            // The options that only keep ssh from asking questions are noise in a table.
            let command = if line.starts_with("ssh") {
                format!("ssh root@{address} hostname")
            } else {
                line.replace("-sS -m 5 ", "")
                    .replace("+short +time=2 +tries=1 ", "")
            };
            cells.push(Program {
                command,
                family,
                answered_by,
                error,
            });
        }
    }
    cells
}
