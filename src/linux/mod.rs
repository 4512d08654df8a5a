//! The node's hands on a Linux machine.
//!
//! Frames come and go through a packet socket per interface ([`packet`]; [`messages`] only listens), group memberships and the
//! port are held by silent sockets ([`groups`]), addresses, routes and neighbour entries go over
//! netlink ([`netlink`]), kernel settings through `/proc/sys` with the old values kept
//! ([`sysctl`]), rules through nft ([`nft`]). [`state`] outlives a crash, [`place`] says that there is
//! one daemon, [`holder`] who has its names. What *acts* for an anycast address here is always a
//! lease: it ends by itself when the daemon no longer renews it. All of the crate's `unsafe` is below
//! this module.

pub mod checks;
pub mod fib;
pub mod filter;
pub mod groups;
pub mod holder;
pub mod managers;
pub mod messages;
pub mod netlink;
pub mod nft;
pub mod packet;
pub mod peer;
pub mod place;
pub mod state;
pub mod sysctl;
