//! Links: taps, groups, rules and routes follow what the kernel says of the interfaces.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::class::OnLink;
use super::{Frame, Held, Kernel};
use crate::addr::{Class, Prefix};
use crate::daemon::{Failure, exit};
use crate::linux::groups::Groups;
use crate::linux::netlink::Link;
use crate::linux::packet::{FRAME_BYTES, Layer, Tap};
use crate::linux::sysctl;
use crate::node::{LinkId, LinkState};
use crate::wire::PORT;

/// Links that are gone whose names are kept.
const GONE: usize = 64;

/// A configured interface that exists.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) name: String,
    pub(super) tap: Arc<Tap>,
    pub(super) groups: Groups,
    /// The tap takes every group, since `groups` cannot have all that are needed.
    all_groups: bool,
    pub(super) state: Option<LinkState>,
    /// This host's addresses that are no anycast ones, and the subnets that they are in.
    pub(super) subnets: Vec<(IpAddr, Prefix)>,
    /// What the class's routes here follow.
    pub(super) class: OnLink,
    reader: JoinHandle<()>,
}

impl Attached {
    /// Has the interface take every group where the kernel joins no more of them.
    pub(super) fn take_refused_groups(&mut self) {
        let Some(error) = self.groups.refused().filter(|_| !self.all_groups) else {
            return;
        };
        self.all_groups = true;
        let name = &self.name;
        let remedy = "raise net.core.optmem_max and net.ipv4.igmp_max_memberships, restart hamp";
        match self.tap.take_all_groups() {
            Ok(()) => tracing::warn!(
                link = name,
                error,
                remedy,
                "the kernel joins no more multicast groups: the interface takes all; a switch that \
                 snoops (IGMP, MLD) may keep some of them from it"
            ),
            Err(failed) => tracing::warn!(
                link = name,
                error,
                remedy,
                "the kernel joins no more multicast groups, nor all of them ({failed}): some \
                 addresses may not be found"
            ),
        }
    }

    /// Whether the link is up and does the family of `prefix`.
    pub(super) fn does(&self, prefix: &Prefix) -> bool {
        self.state.is_some_and(|state| match prefix {
            Prefix::V4(_) => state.ipv4.is_some(),
            Prefix::V6(_) => state.ipv6.is_some(),
        })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Kernel {
    /// Asks the kernel for its links and follows them; what the node has to be told.
    pub async fn relink(&mut self) -> Result<Vec<(LinkId, Option<LinkState>)>, Failure> {
        let links = self.netlink.links().await?;
        if links.iter().any(|link| link.loopback && !link.up) {
            self.raise_loopback().await?;
        }
        self.follow_names(&links);
        self.give_up(&links)?;
        self.find_strays(&links);
        let unnumbered = unnumbered(&links, &self.class);
        let wanted: Vec<&Link> = links
            .iter()
            .filter(|link| self.interfaces.contains(&link.name))
            .collect();
        let (mut changes, mut left) = (Vec::new(), Vec::new());
        self.links.retain(|id, attached| {
            let stays = wanted
                .iter()
                .any(|l| LinkId(l.index) == *id && l.name == attached.name);
            if !stays {
                changes.push((*id, None));
                self.gone.insert(*id, attached.name.clone());
                left.push(std::mem::take(&mut attached.class));
            }
            stays
        });
        while self.gone.len() > GONE {
            self.gone.pop_first();
        }
        for class in left {
            self.leave_class(class);
        }
        for (gone, _) in &changes {
            self.tables.detach(gone.0)?;
            let served = |held: &Held| held.links.contains(gone);
            let prefixes = self.held.iter().filter(|(_, held)| served(held));
            for prefix in prefixes.map(|(prefix, _)| *prefix).collect::<Vec<_>>() {
                self.withdraw(*gone, prefix).await?;
            }
        }
        for link in wanted {
            let id = LinkId(link.index);
            if !self.open(link)? {
                continue;
            }
            let state = self.state_of(link, unnumbered);
            let subnets = self.subnets_of(link);
            let Some(attached) = self.links.get_mut(&id) else {
                continue;
            };
            let moved = std::mem::replace(&mut attached.subnets, subnets.clone()) != subnets;
            if attached.state != state {
                if state.is_some_and(|state| state.ipv6.is_some()) {
                    if let Err(error) = attached.groups.join_ipv6() {
                        tracing::warn!(link = attached.name, %error, "IPv6 group not joined");
                    }
                    attached.take_refused_groups();
                }
                attached.state = state;
                changes.push((id, state));
                self.settle_class(id);
            } else if moved {
                self.settle_class(id);
            }
        }
        if let Some(routes) = &mut self.routes {
            routes.commit();
            if !changes.is_empty() {
                routes.links_changed();
            }
        }
        self.follow_own(&links);
        self.looked(&links)?;
        Ok(changes)
    }

    /// The links that are up, and whether hosts ask for each other's link-layer addresses there.
    pub(super) fn resolving(&self) -> impl Iterator<Item = (LinkId, bool)> {
        let links = self.links.iter();
        links.filter_map(|(id, attached)| Some((*id, attached.state?.resolves())))
    }

    /// Whether a link is there.
    pub fn has(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Names of configured interfaces that exist, but have no carrier or no address.
    pub fn down(&self) -> Vec<&str> {
        let down = self
            .links
            .values()
            .filter(|attached| attached.state.is_none());
        down.map(|attached| attached.name.as_str()).collect()
    }

    /// What the node may know of a link: only one that is up and has an address.
    fn state_of(&self, link: &Link, unnumbered: Option<Ipv4Addr>) -> Option<LinkState> {
        let unicast = |address: IpAddr| !self.class.contains(address);
        let attached = self.links.get(&LinkId(link.index));
        let stated = attached.and_then(|attached| attached.state);
        let ipv4 = link.ipv4(stated.and_then(|state| state.ipv4), unicast);
        let state = LinkState {
            //= docs/spec/membership.md#transport
            //# On a link without link-layer addresses a node MUST state and expect the one that is
            //# all zero.
            mac: match layer(link) {
                Some(Layer::Ethernet) => link.mac,
                _ => [0; 6],
            },
            ipv4: ipv4.or(unnumbered),
            ipv6: link
                .ipv6(stated.and_then(|state| state.ipv6), unicast)
                .filter(|_| self.holds_ipv6() && !lacks_link_local(link)),
            mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
        };
        let usable = link.up && (state.ipv4.is_some() || state.ipv6.is_some());
        usable.then_some(state)
    }

    /// This host's addresses on a link with their subnets, but for anycast ones.
    fn subnets_of(&self, link: &Link) -> Vec<(IpAddr, Prefix)> {
        let own = link.addresses.iter().map(|own| (own.address, own.subnet));
        own.filter(|(address, _)| !self.class.contains(*address))
            .collect()
    }

    /// A member must not ask by ARP *from* an anycast address: its neighbours would learn it.
    pub(super) fn settle_member_link(&mut self, name: &str) {
        //= docs/spec/link.md#what-a-member-s-kernel-holds
        //# A member's kernel MUST NOT use the address as the source of its own ARP requests.
        self.setting(&sysctl::arp_announce(name), "2");
    }
}

//= docs/spec/link.md#ranks
//# A host MUST NOT state an IPv6 address on an Ethernet link that it has no link-local address on:
//# it could not ask there for whom it answers (RFC 4291 §2.8).
/// Whether the kernel cannot solicit neighbours on a link.
pub(super) fn lacks_link_local(link: &Link) -> bool {
    matches!(layer(link), Some(Layer::Ethernet)) && !link.link_local
}

/// The address of a link that has none of its own: the host's, which is on lo then (RFC 1812 §2.2.7).
fn unnumbered(links: &[Link], class: &Class) -> Option<Ipv4Addr> {
    let lo = links.iter().find(|link| link.loopback)?;
    lo.ipv4(None, |address| !class.contains(address))
}

/// How the packets of an interface are wrapped; `None`: in a way that hamp does not speak.
pub(super) fn layer(link: &Link) -> Option<Layer> {
    if link.ethernet {
        Some(Layer::Ethernet)
    } else {
        (link.point_to_point && !link.loopback).then_some(Layer::Bare)
    }
}

/// Opens everything that a link needs; `None`: it is gone already.
pub(super) fn attach(
    link: &Link,
    layer: Layer,
    frames: mpsc::Sender<Frame>,
) -> Result<Option<Attached>, Failure> {
    let name = link.name.clone();
    let gone = |error: &std::io::Error| {
        matches!(
            error.raw_os_error(),
            Some(nix::libc::ENODEV | nix::libc::ENXIO)
        )
    };
    let tap = match Tap::open(link.index, layer) {
        Err(error) if gone(&error) => return Ok(None),
        tap => tap.map_err(|error| Failure::io(&format!("packet socket on {name}"), &error))?,
    };
    let groups = match Groups::join(link.index, &name) {
        Err(error) if gone(&error) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let message = format!("another program has UDP port {PORT} on {name}");
            let failure = Failure::new(exit::FAILED, message);
            return Err(failure.with_remedy(format!("ss -ulpn sport = :{PORT}")));
        }
        groups => groups.map_err(|error| Failure::io(&format!("groups on {name}"), &error))?,
    };
    let tap = Arc::new(tap);
    let reading = read(LinkId(link.index), name.clone(), Arc::clone(&tap), frames);
    let reader = tokio::spawn(reading);
    let mut attached = Attached {
        name,
        tap,
        groups,
        all_groups: false,
        state: None,
        subnets: Vec::new(),
        class: OnLink::default(),
        reader,
    };
    attached.take_refused_groups();
    Ok(Some(attached))
}

/// Hands frames on, one after another, until the node no longer listens.
async fn read(link: LinkId, name: String, tap: Arc<Tap>, frames: mpsc::Sender<Frame>) {
    let mut buffer = vec![0; FRAME_BYTES];
    let mut failures = 0;
    loop {
        match tap.receive(&mut buffer).await {
            Ok((length, outgoing)) => {
                failures = 0;
                let bytes = buffer[..length].to_vec();
                if frames
                    .send(Frame {
                        link,
                        bytes,
                        outgoing,
                    })
                    .await
                    .is_err()
                {
                    return;
                }
            }
            // Told once when the interface goes down; the tap works again when it is back.
            Err(error) => {
                failures += 1;
                tracing::debug!(link = name, %error, "tap");
                if failures > 100 {
                    tracing::warn!(link = name, %error, "tap given up");
                    return;
                }
            }
        }
    }
}
