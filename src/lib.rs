//! hamp: the RFC 1546 host anycast stack for Linux.

pub mod addr;
pub mod node;
pub mod proto;
pub mod time;
pub mod wire;

#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod linux;
#[cfg(feature = "user")]
pub mod user;
