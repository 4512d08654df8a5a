//! Networks as a library: hosts, switches, links and their faults on one Linux machine.
//!
//! A [`Topology`] describes a network. A [`Lab`] makes it of kernel namespaces: each host is a child
//! process of ours in network, mount, process and host name namespaces of its own. It has its own
//! addresses, routes, rules, `/run`, `/tmp` and process numbers, and unmodified programs run in it.
//! Cables are veth pairs, a switch is a Linux bridge in a host of its own. A [`Sim`] makes the same
//! network in virtual time, for hosts that run hamp.
//!
//! ```standalone_crate
//! use testbed::{Lab, Topology};
//!
//! testbed::before_main!(); // once in a file with tests; a program calls init() and enter()
//!
//! # fn main() -> testbed::Result<()> {
//! let two = Topology::new("two")
//!     .switch("sw")
//!     .host("a").link("sw", &["10.15.46.1/24", "fd15:46::1/64"])
//!     .host("b").link("sw", &["10.15.46.2/24", "fd15:46::2/64"]);
//! let lab = Lab::new(&two)?;
//! let said = lab.host("a").run(&["ping", "-c1", "-W1", "10.15.46.2"])?.ok()?;
//! assert!(said.contains("1 received"));
//! # Ok(())
//! # }
//! ```
//!
//! **No privilege.** [`before_main!`] or [`enter()`] moves an ordinary user into a user namespace,
//! where it may make all the others. Root skips that step and walks the same path. Ordinary
//! `#[test]` functions work: what must come before the first thread comes before `main`.
//!
//! **Nothing stays behind.** No namespace has a name in the file system and no host has a file
//! outside its private mounts. A host is held by one thread of the lab and dies with it
//! (parent-death signal), also when the lab gets `kill -9`, and the kernel ends every process of a
//! process namespace with its first one.
//!
//! **No second binary.** Hosts, and hamp itself inside them, are this program executing itself:
//! [`init()`] looks at the arguments and at the name it was called by.
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | a network, in Rust or from a file | [`topology`] |
//! | hosts, commands in them, programs that stay | [`lab`], [`host`], [`process`] |
//! | cables that are slow, lossy or cut; partitions | [`impair`], [`Lab::impair`], [`Lab::carrier`] |
//! | frames: what passed, and your own | [`capture`], [`inject`] |
//! | waiting for something | [`wait`] |
//! | the same network in virtual time | [`sim`] |
//! | one scenario in both worlds, and what must hold of it | [`script`], [`judge`] |
//! | BIRD and FRR in hosts | [`routing`] |
//! | requests at a rate, and a server that says which host answered | [`load`], [`who`] |
//! | figures and a page about a run | [`report`] |
//! | tests: side by side, one at a time, skipped | [`before_main!`], [`harness`], [`skippable`] |
//! | privileges, and what a machine lacks | [`mod@enter`], [`check`] |
//! | the command `hamp-lab`: its labs, labs that stay up, a live view | [`scenario`], [`hold`], [`watch`], [`out`] |
//!
//! Private files: `before_main` and `skip` as named above, `init` the first process of a host,
//! `one_user` programs that would become another user, `picture` what all SVG files share.

mod before_main;
pub mod capture;
pub mod check;
pub mod enter;
pub mod harness;
pub mod hold;
pub mod host;
pub mod impair;
mod init;
pub mod inject;
pub mod judge;
pub mod lab;
pub mod load;
mod one_user;
pub mod out;
mod picture;
pub mod process;
pub mod report;
pub mod routing;
pub mod scenario;
pub mod script;
pub mod sim;
mod skip;
pub mod topology;
pub mod wait;
pub mod watch;
pub mod who;

pub use enter::{Privilege, enter};
pub use host::{Host, Interface};
pub use impair::Impairment;
pub use init::init;
pub use lab::Lab;
pub use process::{Output, Process};
pub use sim::Sim;
pub use skip::{skip, skippable};
pub use topology::Topology;

/// The result of everything here; the error is made to be read by people, and names what was being
/// done, to what, and the remedy where there is one.
pub use anyhow::Result;

/// What macros of this crate expand to. Not for use by name.
#[doc(hidden)]
pub mod __private {
    pub use crate::before_main::before_main;
    pub use ctor::declarative::ctor;
}
