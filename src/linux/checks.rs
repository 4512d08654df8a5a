//! What this machine must have before the daemon touches it, each with a remedy.

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use socket2::{Domain, Socket, Type};

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
}

impl Unmet {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Privilege { .. } => "run it as root (sudo), or in namespaces of your own: \
                                       unshare --user --map-root-user --net --mount"
                .to_owned(),
            Self::Missing { remedy, .. } => remedy.clone(),
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
    let listed = Command::new(program)
        .args(["list", "tables"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| missing_nftables(&error.to_string()))?;
    let told = String::from_utf8_lossy(&listed.stderr);
    if listed.status.success() {
        Ok(())
    } else if told.contains("ermi") {
        // "Operation not permitted (you must be root)", "Permission denied".
        Err(Unmet::Privilege {
            what: "change firewall tables (CAP_NET_ADMIN)".to_owned(),
        })
    } else {
        Err(missing_nftables(
            told.lines().next().unwrap_or("nft list tables failed"),
        ))
    }
}

fn missing_nftables(why: &str) -> Unmet {
    Unmet::Missing {
        what: format!("nftables in the kernel ({})", why.trim()),
        remedy: "use a kernel with CONFIG_NF_TABLES, or: modprobe nf_tables".to_owned(),
    }
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
