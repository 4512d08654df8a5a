//! Troubles: what others do to the class or to this host that people should know of.
//!
//! A trouble is told once when it begins and then once a minute for as long as it is noted again, so
//! that a log stays short whatever a stranger sends; `status` lists those of the last minutes. The
//! table is bounded: what does not fit is counted as one trouble of its own.

use core::fmt;
use core::net::IpAddr;
use std::collections::BTreeMap;

use crate::proto::Reason;
use crate::time::{Duration, Instant};
use crate::wire::MemberId;
use crate::wire::frame::{Mac, mac_text};

/// A trouble that goes on is told again after so long.
pub const TOLD_AGAIN: Duration = Duration::from_secs(60);
/// A trouble that was not noted for so long is over.
pub const OVER: Duration = Duration::from_secs(120);
/// Troubles that are known at the same time.
pub const MAX_TROUBLES: usize = 64;

/// A kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TroubleKind {
    /// A member that lives is refused for longer than its dead time.
    RefusedPeer,
    /// Another host speaks as this one: with its key, or its name and link-layer address.
    SameIdentity,
    /// A member states a unicast address that is not its own, or not by its certificate.
    ForeignAddress,
    /// Another host answers for a unicast address that a member states.
    ContestedAddress,
    /// A host that is no member claims an anycast address.
    ForeignClaim,
    /// Two members state one unicast address.
    SameAddress,
    /// Two members state one name.
    SameName,
    /// Some of what a member serves is not taken in here.
    SkippedRecords,
    /// This host is to serve what its own certificate does not allow.
    NotCertified,
    /// An anycast address is on an interface of this host, and hamp has not put it there.
    StrayAddress,
    /// The same, and this host's own packets may come from it.
    StraySource,
    /// The class holds this host's own address: given up.
    OwnInClass,
    /// The class holds a gateway's address: given up.
    GatewayInClass,
    /// The class holds what a subnet of this host keeps for itself: given up.
    SubnetInClass,
    /// Routes, next hops or policy rules of ours were gone from the kernel.
    RoutesTaken,
    /// The kernel refuses routes or policy rules of ours.
    RoutesRefused,
    /// Addresses of ours were gone from the loopback interface.
    AddressesTaken,
    /// Neighbour entries of ours were gone, or others.
    NeighboursTaken,
    /// Settings that hamp needs were changed.
    SettingsChanged,
    /// Tables of ours in the packet filter were gone, or changed.
    RulesTaken,
    /// The packet filter does not take the tables.
    RulesMissing,
    /// IPv6 is off where its anycast addresses are held.
    Ipv6Off,
    /// A link with IPv6 addresses has no link-local one.
    NoLinkLocal,
    /// An anycast address could not be put on lo.
    NotHeld,
    /// An interface cannot be used as it is.
    LinkNotOpened,
    /// An interface is neither Ethernet nor point-to-point.
    NoLink,
    /// There are more troubles than are told one by one.
    MoreTroubles,
}

impl TroubleKind {
    /// The name in `status` and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RefusedPeer => "refused_peer",
            Self::SameIdentity => "same_identity",
            Self::ForeignAddress => "foreign_address",
            Self::ContestedAddress => "contested_address",
            Self::ForeignClaim => "foreign_claim",
            Self::SameAddress => "same_address",
            Self::SameName => "same_name",
            Self::SkippedRecords => "skipped_records",
            Self::NotCertified => "not_certified",
            Self::StrayAddress => "stray_address",
            Self::StraySource => "stray_source",
            Self::OwnInClass => "own_in_class",
            Self::GatewayInClass => "gateway_in_class",
            Self::SubnetInClass => "subnet_in_class",
            Self::RoutesTaken => "routes_taken",
            Self::RoutesRefused => "routes_refused",
            Self::AddressesTaken => "addresses_taken",
            Self::NeighboursTaken => "neighbours_taken",
            Self::SettingsChanged => "settings_changed",
            Self::RulesTaken => "rules_taken",
            Self::RulesMissing => "rules_missing",
            Self::Ipv6Off => "ipv6_off",
            Self::NoLinkLocal => "no_link_local",
            Self::NotHeld => "not_held",
            Self::LinkNotOpened => "link_not_opened",
            Self::NoLink => "no_link",
            Self::MoreTroubles => "more_troubles",
        }
    }

    /// What it is, for people.
    pub const fn about(self) -> &'static str {
        match self {
            Self::RefusedPeer => "a member that lives is not believed",
            Self::SameIdentity => "another host speaks with the same identity",
            Self::ForeignAddress => "a member states an address that it may not have",
            Self::ContestedAddress => "another host answers for the address of a member",
            Self::ForeignClaim => "a host that is no member claims an anycast address",
            Self::SameAddress => "a member states an address that another member states too",
            Self::SameName => "a member states a name that another member states too",
            Self::SkippedRecords => "some of what a member serves is not taken in here",
            Self::NotCertified => "this host's certificate does not allow what it is to do",
            Self::StrayAddress => {
                "another tool has put an anycast address on an interface of this host"
            }
            Self::StraySource => {
                "another tool has put an anycast address on an interface of this host, which may use it as \
                 the source of its own packets"
            }
            Self::Ipv6Off => "IPv6 is switched off on lo: its anycast addresses are not served",
            Self::NoLinkLocal => {
                "an interface has no IPv6 link-local address, so no neighbour can be found there: no IPv6 \
                 on this link"
            }
            Self::NotHeld => "an anycast address cannot be put on lo",
            Self::LinkNotOpened => "an interface cannot be opened",
            Self::NoLink => "an interface is neither an Ethernet nor a point-to-point link",
            Self::MoreTroubles => "there are more troubles than are told one by one",
            Self::OwnInClass => {
                "the class holds this host's own address, which is given up: no anycast address here"
            }
            Self::GatewayInClass => {
                "the class holds a gateway of this host, which is given up: no anycast address here"
            }
            Self::SubnetInClass => {
                "the class holds what a subnet of this host keeps for itself, which is given up: no \
                 anycast address here"
            }
            Self::RoutesTaken => "somebody took routes of hamp away, which are put back",
            Self::RoutesRefused => "the kernel refuses routes, which are tried again",
            Self::AddressesTaken => "somebody took addresses of hamp off lo, which are put back",
            Self::NeighboursTaken => {
                "somebody took neighbour entries of hamp away, which are put back"
            }
            Self::SettingsChanged => {
                "somebody changed settings that hamp needs, which are put back"
            }
            Self::RulesTaken => {
                "somebody changed hamp's tables of the packet filter, which are put back"
            }
            Self::RulesMissing => {
                "hamp's tables of the packet filter are not there, which is tried again"
            }
        }
    }

    /// What to do about it, for people, where no reason says more; `None`: what the kernel tells says.
    pub const fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Self::RefusedPeer | Self::SkippedRecords | Self::NotCertified => "see the reason",
            Self::SameAddress => "give one of them another address",
            Self::SameName => {
                "give one of them another name (node.name), unless they are one host that is on the \
                 link twice"
            }
            Self::SameIdentity => {
                "was it cloned? give it a key of its own (hamp key new), or a name"
            }
            Self::ForeignAddress => {
                "whose is it? certify the member for its own address (hamp authority certify --host)"
            }
            Self::ContestedAddress => {
                "find that host; a certificate that names the address (--host) settles whose it is"
            }
            Self::ForeignClaim => {
                "find the host by its link-layer address and give it another address, or keep the \
                 class out of what is assigned there (DHCP pools, templates)"
            }
            Self::StrayAddress | Self::StraySource => {
                "take it off there (ip address del), and out of that tool's configuration (keepalived, \
                 NetworkManager, systemd-networkd, docker); hamp puts the addresses that it serves on lo"
            }
            Self::Ipv6Off => {
                "sysctl -w net.ipv6.conf.lo.disable_ipv6=0, or serve IPv4 alone; it is served again then"
            }
            Self::NoLinkLocal => {
                "give it one (set it down and up, with addr_gen_mode 0; or ip address add fe80::.../64); \
                 IPv6 is back then"
            }
            Self::NotHeld => "it is tried again; the debug log says why",
            Self::LinkNotOpened => "the log says why; it is tried again every 5 s",
            Self::NoLink => "take it out of node.interfaces",
            Self::MoreTroubles => "mend those that hamp status lists: the others are told then",
            Self::OwnInClass | Self::GatewayInClass | Self::SubnetInClass => {
                "carve the class out so that no host has an address of it (class.ipv4, class.ipv6), or \
                 give the host another address"
            }
            Self::RoutesTaken
            | Self::AddressesTaken
            | Self::NeighboursTaken
            | Self::SettingsChanged
            | Self::RulesTaken
            | Self::RoutesRefused
            | Self::RulesMissing => return None,
        })
    }
}

/// What somebody does, and who.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trouble {
    /// What it is.
    pub kind: TroubleKind,
    /// The member that it is about.
    pub member: Option<MemberId>,
    /// Who does it, by link-layer address.
    pub mac: Option<Mac>,
    /// The address that it is about.
    pub address: Option<IpAddr>,
    /// Why something of it is refused.
    pub reason: Option<Reason>,
    /// The interface that it is about, where it is not about a link.
    pub interface: Option<Interface>,
}

/// An interface's name: at most 15 bytes (IFNAMSIZ).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface([u8; 15]);

impl Interface {
    /// The name; what is longer than a name can be is cut off.
    pub fn new(name: &str) -> Self {
        let mut bytes = [0; 15];
        bytes
            .iter_mut()
            .zip(name.bytes())
            .for_each(|(to, from)| *to = from);
        Self(bytes)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.iter().take_while(|byte| **byte != 0).count();
        f.write_str(&String::from_utf8_lossy(&self.0[..length]))
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Interface({self})")
    }
}

impl Trouble {
    /// A trouble about nobody yet.
    pub const fn new(kind: TroubleKind) -> Self {
        Self {
            kind,
            member: None,
            mac: None,
            address: None,
            reason: None,
            interface: None,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.about())?;
        if let Some(member) = self.member {
            write!(f, ", member {member}")?;
        }
        if let Some(mac) = self.mac {
            write!(f, ", at {}", mac_text(mac))?;
        }
        if let Some(address) = self.address {
            write!(f, ", address {address}")?;
        }
        if let Some(interface) = self.interface {
            write!(f, ", interface {interface}")?;
        }
        if let Some(reason) = self.reason {
            write!(f, ", reason {}", reason.as_str())?;
        }
        let by_reason = matches!(
            self.kind,
            TroubleKind::RefusedPeer | TroubleKind::SkippedRecords | TroubleKind::NotCertified
        );
        let remedy = match (self.kind, self.reason.filter(|_| by_reason)) {
            // It is this host's own address, and its own certificate.
            (TroubleKind::NotCertified, Some(Reason::ForeignAddress)) => {
                Some("certify this host's key for it: hamp authority certify --host ADDR")
            }
            (_, Some(reason)) => Some(reason.remedy()),
            (kind, None) => kind.remedy(),
        };
        remedy.iter().try_for_each(|remedy| write!(f, ": {remedy}"))
    }
}

/// How a trouble stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// When it was noted first.
    pub since: Instant,
    /// When it was noted last.
    pub last: Instant,
    /// How often it was noted.
    pub count: u64,
    told: Instant,
}

/// The troubles of a link, or of a host.
#[derive(Debug, Clone, Default)]
pub struct Troubles {
    known: BTreeMap<Trouble, Course>,
}

impl Troubles {
    /// Notes a trouble, and returns what to tell people of now: it, or that there are more than fit.
    pub fn note(&mut self, now: Instant, trouble: Trouble) -> Option<Trouble> {
        let over = |course: &Course| now >= course.last + OVER;
        if let Some(course) = self.known.get_mut(&trouble)
            && !over(course)
        {
            course.last = now;
            course.count += 1;
            let again = now >= course.told + TOLD_AGAIN;
            if again {
                course.told = now;
            }
            return again.then_some(trouble);
        }
        if self.known.len() >= MAX_TROUBLES {
            self.known.retain(|_, course| !over(course));
        }
        // The last place is for all those that find none.
        let more = Trouble::new(TroubleKind::MoreTroubles);
        if self.known.len() + 1 >= MAX_TROUBLES && trouble != more {
            return self.note(now, more);
        }
        let course = Course {
            since: now,
            last: now,
            count: 1,
            told: now,
        };
        self.known.insert(trouble, course);
        Some(trouble)
    }

    /// Forgets the troubles that `ended` names: they are mended.
    pub fn end(&mut self, ended: impl Fn(&Trouble) -> bool) {
        self.known.retain(|trouble, _| !ended(trouble));
    }

    /// Those that are not over.
    pub fn current(&self, now: Instant) -> impl Iterator<Item = (&Trouble, &Course)> {
        let known = self.known.iter();
        known.filter(move |(_, course)| now < course.last + OVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(last: u8) -> Trouble {
        Trouble {
            mac: Some([2, 0, 0, 0, 0, last]),
            ..Trouble::new(TroubleKind::RefusedPeer)
        }
    }

    #[test]
    fn a_trouble_is_told_once_a_minute_and_ends_when_it_is_not_noted_any_more() {
        let mut troubles = Troubles::default();
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let told: Vec<u64> = (0..=120)
            .filter(|second| troubles.note(at(*second), trouble(1)).is_some())
            .collect();
        assert_eq!(told, [0, 60, 120]);
        let another = troubles.note(at(121), trouble(2));
        assert_eq!(another, Some(trouble(2)));
        assert_eq!(troubles.current(at(239)).count(), 2);
        assert_eq!(troubles.current(at(240)).count(), 1);
        let anew = troubles.note(at(500), trouble(1));
        assert_eq!(anew, Some(trouble(1)));
    }

    #[test]
    fn the_table_is_bounded_and_what_does_not_fit_is_told_as_one() {
        let mut troubles = Troubles::default();
        let told = (0..=200).filter_map(|last| troubles.note(Instant::ZERO, trouble(last)));
        let told: Vec<Trouble> = told.collect();
        let more = Trouble::new(TroubleKind::MoreTroubles);
        let fit = MAX_TROUBLES - 1;
        assert_eq!((told.len(), told.last()), (MAX_TROUBLES, Some(&more)));
        let current: Vec<_> = troubles.current(Instant::ZERO).collect();
        assert_eq!(current.len(), MAX_TROUBLES);
        let course = current.iter().find(|(known, _)| **known == more).unwrap().1;
        assert_eq!(course.count, 201 - fit as u64);
        // What is known already is told again all the same, and there is room when all is over.
        let again = troubles.note(Instant::ZERO + TOLD_AGAIN, trouble(1));
        assert_eq!(again, Some(trouble(1)));
        let later = Instant::ZERO + TOLD_AGAIN + OVER;
        assert_eq!(troubles.note(later, trouble(250)), Some(trouble(250)));
    }

    #[test]
    fn a_trouble_says_what_this_host_can_do_about_it() {
        let own = Trouble {
            reason: Some(Reason::ForeignAddress),
            ..Trouble::new(TroubleKind::NotCertified)
        };
        let text = own.to_string();
        assert!(text.contains("certify this host's key for it"), "{text}");
        assert!(!text.contains("whose is it"), "{text}");
        let taken = Trouble::new(TroubleKind::RoutesTaken).to_string();
        assert!(taken.ends_with("which are put back"), "{taken}");
    }
}
