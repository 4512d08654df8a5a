//! Whether somebody else has changed the kernel's packet filter, and whether that touched a table of
//! ours: asked by netlink, since starting `nft` for it would cost milliseconds each time.
//!
//! Each transaction, whoever makes it, adds one to the ruleset's *generation*. A [`Fingerprint`] is
//! over what a table holds, but for elements that come and go by themselves.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use nix::libc;

use super::bulk::Bulk;
use super::message::{attributes, put};

/// `NFNL_SUBSYS_NFTABLES`, and messages of linux/netfilter/nf_tables.h.
const SUBSYSTEM: u16 = 10 << 8;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const GET_RULE: u16 = SUBSYSTEM | 7;
const GET_SET: u16 = SUBSYSTEM | 10;
const GET_SET_ELEMENTS: u16 = SUBSYSTEM | 13;
const GET_GENERATION: u16 = SUBSYSTEM | 16;
const NFTA_GEN_ID: u16 = 1;
/// The table's name is the first attribute of every message.
const TABLE: u16 = 1;
const NAME: u16 = 2;
const NFTA_CHAIN_HANDLE: u16 = 2;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_HANDLE: u16 = 16;
/// `NFT_SET_TIMEOUT` and `NFT_SET_EVAL`: leases, and what packets add.
const VOLATILE: u32 = 0x10 | 0x20;

/// What a table holds, as a number.
pub type Fingerprint = u64;

impl Bulk {
    /// The generation of the ruleset.
    pub fn generation(&mut self) -> io::Result<u32> {
        let mut generation = None;
        self.ask(GET_GENERATION, &header(libc::AF_UNSPEC), |body| {
            let mut all = attributes(body.get(4..).unwrap_or_default());
            generation = all.find_map(|(kind, value)| big(value).filter(|_| kind == NFTA_GEN_ID));
        })?;
        generation.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The fingerprint of a table, written as in nft (`inet name`); 0 if there is none.
    pub fn fingerprint(&mut self, table: &str) -> io::Result<Fingerprint> {
        match self.contents(table) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(0),
            done => done,
        }
    }

    fn contents(&mut self, table: &str) -> io::Result<Fingerprint> {
        let (family, name) = table.split_once(' ').unwrap_or(("inet", table));
        let family = match family {
            "arp" => libc::NFPROTO_ARP,
            "netdev" => libc::NFPROTO_NETDEV,
            _ => libc::NFPROTO_INET,
        };
        let name = [name.as_bytes(), b"\0"].concat();
        let mut asked = header(family).to_vec();
        put(&mut asked, TABLE, &name);
        let mut hasher = DefaultHasher::new();
        self.dump(GET_RULE, &asked, |body| {
            hash(body, &name, None, &mut hasher);
        })?;
        let chain = [NFTA_CHAIN_HANDLE, NFTA_CHAIN_NAME];
        self.dump(GET_CHAIN, &header(family), |body| {
            hash(body, &name, Some(&chain), &mut hasher);
        })?;
        let mut sets = Vec::new();
        self.dump(GET_SET, &asked, |body| {
            hash(body, &name, Some(&[NAME, NFTA_SET_HANDLE]), &mut hasher);
            sets.extend(steady(body, &name));
        })?;
        for set in sets {
            let mut asked = asked.clone();
            put(&mut asked, NAME, &set);
            // A large set comes in several messages: as one, whatever their number.
            self.dump(GET_SET_ELEMENTS, &asked, |body| {
                hash(body, &name, None, &mut hasher);
            })?;
        }
        Ok(hasher.finish())
    }
}

/// `struct nfgenmsg`.
fn header(family: i32) -> [u8; 4] {
    [u8::try_from(family).unwrap_or_default(), 0, 0, 0]
}

/// Takes a message about the table into account; of the attributes, some or all.
fn hash(body: &[u8], table: &[u8], some: Option<&[u16]>, hasher: &mut DefaultHasher) {
    // The header holds a part of the generation.
    let body = body.get(4..).unwrap_or_default();
    if attributes(body).any(|(kind, value)| kind == TABLE && value != table) {
        return;
    }
    for (kind, value) in attributes(body) {
        if some.is_none_or(|some| some.contains(&kind)) {
            (kind, value).hash(hasher);
        }
    }
}

/// The name of a set of the table whose elements only we change.
fn steady(body: &[u8], table: &[u8]) -> Option<Vec<u8>> {
    let (mut ours, mut name, mut flags) = (false, None, 0);
    for (kind, value) in attributes(body.get(4..)?) {
        match kind {
            TABLE => ours = value == table,
            NAME => name = Some(value.to_vec()),
            NFTA_SET_FLAGS => flags = big(value)?,
            _ => {}
        }
    }
    name.filter(|_| ours && flags & VOLATILE == 0)
}

/// A number in the network's order, as this subsystem writes them.
fn big(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.get(..4)?.try_into().ok()?))
}
