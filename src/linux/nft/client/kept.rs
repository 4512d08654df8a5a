//! What a daemon must know of the table that one before it left, so that it can keep the maps.

use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

use super::super::connections::words;
use super::super::session::{Error, list};
use super::hash::stands_for;
use super::keys::Seeds;

/// The client's table.
pub const TABLE: &str = "inet hamp_client";

/// Changes when the maps do: those of another layout are not kept.
const LAYOUT: u32 = 2;
/// As many ports of the shim's own as there are room for, up to this.
const PORTS: u16 = 16_384;
/// Services of the system have the ports below (RFC 6335 §6).
const FIRST: u16 = 1_024;

/// The numbers that belong to the maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Stand in keys for what is hashed.
    pub(super) seeds: Seeds,
    /// The shim's own ports, to draw from.
    pub(super) ports: RangeInclusive<u16>,
    /// Holds all that were drawn by this daemon and those before.
    pub(super) seen: RangeInclusive<u16>,
    fresh: bool,
}

impl Kept {
    /// Reads what is in the kernel; without a table of this layout there, everything is new.
    pub fn find() -> Result<Self, Error> {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let ports = beside(&range.unwrap_or_default());
        if let Some(kept) = Self::earlier() {
            let low = (*kept.seen.start()).min(*ports.start());
            let seen = low..=(*kept.seen.end()).max(*ports.end());
            return Ok(Self {
                seen,
                ports,
                ..kept
            });
        }
        let random = || getrandom::u32().map_err(io::Error::other);
        Ok(Self {
            seeds: Seeds(random()?, random()?),
            seen: ports.clone(),
            ports,
            fresh: true,
        })
    }

    /// What a daemon before this one has left; nothing if its table is of another layout.
    pub fn earlier() -> Option<Self> {
        let [family, table] = words(TABLE);
        let listed = list(["map", family, table, "kept"]).ok()?;
        let mut elements = listed["nftables"].as_array()?.iter();
        let elements = elements.find_map(|entry| entry["map"]["elem"].as_array())?;
        let number = |which: u64| {
            let mut pairs = elements.iter();
            let pair = pairs.find(|pair| pair[0].as_u64() == Some(which))?;
            u32::try_from(pair[1].as_u64()?).ok()
        };
        let port = |which| u16::try_from(number(which)?).ok();
        if number(0)? != LAYOUT {
            return None;
        }
        let seen = port(3)?..=port(4)?;
        Some(Self {
            seeds: Seeds(number(1)?, number(2)?),
            ports: seen.clone(),
            seen,
            fresh: false,
        })
    }

    /// The same for a table that has been loaded: its connections stay.
    pub(in crate::linux::nft) fn loaded(self) -> Self {
        Self {
            fresh: false,
            ..self
        }
    }

    /// What stands for one of this host's addresses in a key, as nft lists it.
    pub fn stands_for(&self, address: Ipv6Addr) -> [u64; 2] {
        stands_for(address, self.seeds)
    }

    /// The beginning of the transaction: a table of another layout goes, with its connections.
    pub(super) fn begin(&self) -> String {
        let other = match self.fresh {
            true => format!("add table {TABLE}\ndelete table {TABLE}\n"),
            false => String::new(),
        };
        format!("{other}add table {TABLE}\nflush table {TABLE}\n")
    }

    /// Its end: notes the numbers.
    pub(super) fn end(&self) -> String {
        let (Seeds(one, two), seen) = (self.seeds, &self.seen);
        let (low, high) = (seen.start(), seen.end());
        format!(
            "add map {TABLE} kept {{ type mark : mark; }}\n\
             flush map {TABLE} kept\n\
             add element {TABLE} kept {{ 0 : {LAYOUT}, 1 : {one}, 2 : {two}, 3 : {low}, 4 : {high} }}\n"
        )
    }
}

/// Ports outside the range of those that the kernel picks, next to it; if there are hardly any, in
/// it, where a program's direct connection may come to have the same.
fn beside(picked: &str) -> RangeInclusive<u16> {
    let mut words = picked.split_whitespace().map(str::parse);
    let (Some(Ok(low)), Some(Ok(high))) = (words.next(), words.next()) else {
        return PORTS..=PORTS * 2 - 1;
    };
    let (below, above) = (u16::saturating_sub(low, FIRST), u16::MAX - high);
    if below.max(above) < PORTS / 16 {
        PORTS..=PORTS * 2 - 1
    } else if below >= above.min(PORTS) {
        low - below.min(PORTS)..=low - 1
    } else {
        high + 1..=high.saturating_add(PORTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shims_ports_are_not_those_that_the_kernel_picks() {
        for (picked, expected) in [
            ("32768\t60999\n", 16_384..=32_767),
            ("1024 65535", 16_384..=32_767),
            ("1024 40000", 40_001..=56_384),
            ("10000 65535", 1_024..=9_999),
            ("2000 60000", 60_001..=65_535),
            ("", 16_384..=32_767),
        ] {
            assert_eq!(beside(picked), expected, "{picked:?}");
        }
    }
}
