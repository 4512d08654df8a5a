//! What this machine must have before the daemon touches it, each with a remedy.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::nft::session::START_TRIES;

/// Before a program that failed is tried again.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// Something that the machine lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// The process may not do this.
    #[error("no permission to {what}")]
    Privilege {
        /// What it may not do.
        what: String,
    },
    /// A program or a feature of the kernel is not there.
    #[error("{what} is missing")]
    Missing {
        /// The program or feature.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// A program is there and fails, for a reason of its own.
    #[error("{program} fails: {said}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it said.
        said: String,
    },
}

impl Unmet {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Privilege { .. } => "run it as root (sudo), or in namespaces of your own: \
                                       unshare --user --map-root-user --net --mount"
                .to_owned(),
            Self::Missing { remedy, .. } => remedy.clone(),
            Self::Failed { program, .. } => {
                format!("run it as the daemon does, and mend what it says: {program}")
            }
        }
    }
}

/// Everything that a member or a client needs of the machine, by trying it.
pub fn all() -> Result<(), Unmet> {
    packet_sockets()?;
    nft()
}

/// Packet sockets: `CAP_NET_RAW` over this network namespace, and a kernel that has them.
fn packet_sockets() -> Result<(), Unmet> {
    let Err(error) = Socket::new(Domain::PACKET, Type::RAW, None) else {
        return Ok(());
    };
    Err(match error.kind() {
        io::ErrorKind::PermissionDenied => Unmet::Privilege {
            what: "open packet sockets (CAP_NET_RAW)".to_owned(),
        },
        _ => Unmet::Missing {
            what: format!("the kernel's packet socket ({error})"),
            remedy: "use a kernel with CONFIG_PACKET".to_owned(),
        },
    })
}

/// The `nft` program, and the kernel's permission (`CAP_NET_ADMIN`) to list tables.
fn nft() -> Result<(), Unmet> {
    let Some(program) = find("nft") else {
        return Err(Unmet::Missing {
            what: "the program nft".to_owned(),
            remedy: "apt-get install -y nftables".to_owned(),
        });
    };
    let mut said = String::new();
    for _ in 0..START_TRIES {
        match list_tables(&program) {
            Ok(()) => return Ok(()),
            Err(told) => said = told,
        }
        // "Operation not permitted (you must be root)", "Permission denied".
        if said.contains("ermi") {
            return Err(Unmet::Privilege {
                what: "change firewall tables (CAP_NET_ADMIN)".to_owned(),
            });
        }
        if lacks_nftables(&said) {
            return Err(Unmet::Missing {
                what: format!("nftables in the kernel ({said})"),
                remedy: "use a kernel with CONFIG_NF_TABLES, or: modprobe nf_tables".to_owned(),
            });
        }
        thread::sleep(BETWEEN_TRIES);
    }
    Err(Unmet::Failed {
        program: "nft list tables",
        said,
    })
}

/// Runs `nft list tables`; an error is the first line that it says, or how it ends.
fn list_tables(nft: &Path) -> Result<(), String> {
    let listed = Command::new(nft)
        .args(["list", "tables"])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if listed.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&listed.stderr);
    let first = told.lines().find(|line| !line.trim().is_empty());
    Err(first.map_or_else(|| listed.status.to_string(), |line| line.trim().to_owned()))
}

/// Whether nft says that the kernel does not know what it asks for (`EPROTONOSUPPORT`,
/// `EOPNOTSUPP`, `EAFNOSUPPORT`), rather than that something went wrong.
fn lacks_nftables(said: &str) -> bool {
    said.contains("not supported")
}

/// Where a program is, looked for in `PATH` and in the system's own directories, which an ordinary
/// user's `PATH` often lacks.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut candidates = env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(program));
    candidates.find(|candidate| candidate.is_file())
}
