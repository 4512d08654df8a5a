//! What a segment is looked up by: the parts of the maps' and sets' keys, of each family.
//!
//! The key of a map that packets add to holds 16 bytes (nft 1.0.6 aborts on longer ones), that of
//! a set any number. So membership is decided by sets, whose keys are whole, and maps only say
//! what belongs to a key. Of IPv4 a map's key is whole as well. Of IPv6 two hashes of 32 bits each,
//! under secret seeds of their own, stand for the addresses in it:
//!
//! | | IPv4 | IPv6 |
//! |---|---|---|
//! | `owner`, `peer`, `own` | C, port, service | hashes of C; port, service |
//! | `alias` | C, A, port, service | hashes of C and A; port, service |
//! | `offer`, `keep` | C, port, service, acknowledgement | hashes of C and service; port, acknowledgement |
//! | `flow`, `from`, `same` (sets) | all of it | all of it |
//!
//! What is hashed is this host's own: its address, the anycast address that its program asked for,
//! the service. A member's address, the only one that somebody off the host can choose, is never
//! part of a hash, so nobody off the host can look for two that collide; and who does not know the
//! seeds cannot on the host either, but by 2^64 trials.

/// The numbers by which the addresses of IPv6 are hashed; kept as long as the maps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seeds(pub(super) u32, pub(super) u32);

/// The largest modulus that nft takes, so that (nearly) all bits of a hash count.
pub(super) const MODULUS: u32 = u32::MAX;

/// The keys of one family, from a segment of ours (`_out`) and from one of the other end (`_in`).
pub(super) struct Keys {
    /// Our port as the network sees it: C, port, service.
    pub(super) wire_out: String,
    pub(super) wire_in: String,
    /// A connection as a program sees it, whole: C, port, A, service.
    pub(super) flow: String,
    /// The same for a map; `stash` with the ports from where a SYN keeps them.
    pub(super) ask: String,
    pub(super) ask_stash: String,
    /// A SYN, as the sequence number that answers it names it.
    pub(super) offer_out: String,
    pub(super) offer_in: String,
    /// A connection as the network sees it, whole: the member, service, C, port.
    pub(super) ends: String,
    pub(super) ends_out: String,
    /// Tells one address from another in one segment, whole.
    pub(super) same_out: String,
    pub(super) same_in: String,
    /// What gives the parts of `wire`, `ask` and `offer` their types.
    pub(super) wire_type: &'static str,
    pub(super) ask_type: &'static str,
    pub(super) offer_type: &'static str,
}

impl Keys {
    pub(super) fn ipv4() -> Self {
        Self {
            wire_out: "ip saddr . tcp sport . tcp dport".into(),
            wire_in: "ip daddr . tcp dport . tcp sport".into(),
            ask: "ip saddr . ip daddr . @th,0,32".into(),
            ask_stash: "ip saddr . ip daddr . tcp ackseq".into(),
            offer_out: "ip saddr . tcp sport . tcp dport . tcp sequence".into(),
            offer_in: "ip daddr . tcp dport . tcp sport . tcp ackseq".into(),
            wire_type: "ip saddr . tcp sport . tcp dport",
            ask_type: "ip saddr . ip daddr . tcp sequence",
            offer_type: "ip saddr . tcp sport . tcp dport . tcp sequence",
            ..Self::whole("ip")
        }
    }

    /// `tcp sequence` stands for any number of 32 bits: a hash has no type of its own.
    pub(super) fn ipv6(seeds: Seeds) -> Self {
        let hashes = |of: &str| {
            let hash = |seed| format!("jhash {of} mod {MODULUS} seed {seed:#x}");
            format!("{} . {}", hash(seeds.0), hash(seeds.1))
        };
        let both = hashes("ip6 saddr . ip6 daddr");
        Self {
            wire_out: hashes("ip6 saddr") + " . tcp sport . tcp dport",
            wire_in: hashes("ip6 daddr") + " . tcp dport . tcp sport",
            ask: both.clone() + " . @th,0,32",
            ask_stash: both + " . tcp ackseq",
            offer_out: hashes("ip6 saddr . tcp dport") + " . tcp sport . tcp sequence",
            offer_in: hashes("ip6 daddr . tcp sport") + " . tcp dport . tcp ackseq",
            wire_type: "tcp sequence . tcp sequence . tcp sport . tcp dport",
            ask_type: "tcp sequence . tcp sequence . tcp sequence",
            offer_type: "tcp sequence . tcp sequence . tcp sport . tcp sequence",
            ..Self::whole("ip6")
        }
    }

    fn whole(ip: &str) -> Self {
        Self {
            flow: format!("{ip} saddr . tcp sport . {ip} daddr . tcp dport"),
            ends: format!("{ip} saddr . tcp sport . {ip} daddr . tcp dport"),
            ends_out: format!("{ip} daddr . tcp dport . {ip} saddr . tcp sport"),
            same_out: format!("{ip} saddr . @th,0,32 . tcp sequence . {ip} daddr"),
            same_in: format!("{ip} daddr . @th,0,32 . tcp ackseq . {ip} saddr"),
            wire_out: String::new(),
            wire_in: String::new(),
            ask: String::new(),
            ask_stash: String::new(),
            offer_out: String::new(),
            offer_in: String::new(),
            wire_type: "",
            ask_type: "",
            offer_type: "",
        }
    }
}
