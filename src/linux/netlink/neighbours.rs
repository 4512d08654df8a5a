//! Neighbour entries that the client's resolver has verified.
//!
//! They are installed REACHABLE, never PERMANENT: an entry that nobody renews ages like any other,
//! so it cannot outlive a killed daemon by more than the kernel's own reachable time and probes.

use std::net::IpAddr;

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Error, Netlink, OURS};

/// A neighbour entry of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the interface.
    pub ifindex: u32,
    /// Whose entry it is.
    pub address: IpAddr,
    /// The link-layer address, if the entry has one of 48 bits.
    pub mac: Option<[u8; 6]>,
    /// The kernel's state, as `ip neigh` calls it (`REACHABLE`, `STALE`, ...).
    pub state: &'static str,
    /// Carries our protocol number.
    pub ours: bool,
}

impl Netlink {
    /// Installs or renews an entry as REACHABLE.
    pub async fn set_neighbour(
        &self,
        ifindex: u32,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<(), Error> {
        let mut request = self
            .handle
            .neighbours()
            .add(ifindex, address)
            .state(NeighbourState::Reachable)
            .link_layer_address(&mac)
            .replace();
        let ours = NeighbourAttribute::Protocol(RouteProtocol::from(OURS));
        request.message_mut().attributes.push(ours);
        let done = request.execute().await;
        done.map_err(|error| Error::new(format!("set neighbour {address}"), error))
    }

    /// Has an entry that a host is elsewhere lead to `mac`, as STALE; whether there was one. Neither
    /// what is missing is made, nor what an administrator has set or we have is changed.
    pub async fn correct_neighbour(
        &self,
        ifindex: u32,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<bool, Error> {
        let mut asked = NeighbourMessage::default();
        asked.header.ifindex = ifindex;
        let (family, destination) = match address {
            IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
        };
        asked.header.family = family;
        let destination = NeighbourAttribute::Destination(destination);
        asked.attributes.push(destination);
        let get = RouteNetlinkMessage::GetNeighbour(asked.clone());
        let told = match self.exchange(get, 0, address).await {
            Err(error) if error.is_absent() => return Ok(false),
            told => told?,
        };
        let Some(RouteNetlinkMessage::NewNeighbour(told)) = told else {
            return Ok(false);
        };
        let outdated = |known: &Neighbour| {
            let set = ["PERMANENT", "NOARP", "NONE"].contains(&known.state);
            known.mac != Some(mac) && !known.ours && !set
        };
        if !entry(&told).as_ref().is_some_and(outdated) {
            return Ok(false);
        }
        asked.header.state = NeighbourState::Stale;
        let at = NeighbourAttribute::LinkLayerAddress(mac.to_vec());
        asked.attributes.push(at);
        let set = RouteNetlinkMessage::NewNeighbour(asked);
        let flags = NLM_F_ACK | NLM_F_REPLACE;
        match self.exchange(set, flags, address).await {
            // Gone in between.
            Err(error) if error.is_absent() => Ok(false),
            done => done.map(|_| true),
        }
    }

    /// Sends a request about one entry; what comes back.
    async fn exchange(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
        address: IpAddr,
    ) -> Result<Option<RouteNetlinkMessage>, Error> {
        let failed = |error| Error::new(format!("correct neighbour {address}"), error);
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | flags;
        let mut handle = self.handle.clone();
        let mut answers = handle.request(message).map_err(failed)?;
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(answer) => return Ok(Some(answer)),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(failed(rtnetlink::Error::NetlinkError(error)));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Removes an entry; not having it is no error.
    pub async fn remove_neighbour(&self, ifindex: u32, address: IpAddr) -> Result<(), Error> {
        let request = self.handle.neighbours().add(ifindex, address);
        let message = { request }.message_mut().clone();
        self.delete(message, address).await
    }

    /// The kernel's neighbour entries that `wanted` accepts.
    pub async fn neighbours(
        &self,
        wanted: impl Fn(&Neighbour) -> bool,
    ) -> Result<Vec<Neighbour>, Error> {
        let mut entries = self.handle.neighbours().get().execute();
        let mut found = Vec::new();
        let failed = |error| Error::new("list neighbours", error);
        while let Some(message) = entries.try_next().await.map_err(failed)? {
            found.extend(entry(&message).filter(&wanted));
        }
        Ok(found)
    }

    /// Removes the entries that carry our protocol number; how many there were.
    pub async fn remove_neighbours(&self) -> Result<usize, Error> {
        let ours = self.neighbours(|entry| entry.ours).await?;
        for entry in &ours {
            self.remove_neighbour(entry.ifindex, entry.address).await?;
        }
        Ok(ours.len())
    }

    async fn delete(&self, message: NeighbourMessage, address: IpAddr) -> Result<(), Error> {
        let done = self.handle.neighbours().del(message).execute().await;
        match done.map_err(|error| Error::new(format!("remove neighbour {address}"), error)) {
            Err(error) if error.is_absent() => Ok(()),
            done => done,
        }
    }
}

fn entry(message: &NeighbourMessage) -> Option<Neighbour> {
    let (mut address, mut mac, mut ours) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.clone().try_into().ok(),
            NeighbourAttribute::Protocol(protocol) => ours = *protocol == RouteProtocol::from(OURS),
            _ => {}
        }
    }
    let state = match message.header.state {
        NeighbourState::Incomplete => "INCOMPLETE",
        NeighbourState::Reachable => "REACHABLE",
        NeighbourState::Stale => "STALE",
        NeighbourState::Delay => "DELAY",
        NeighbourState::Probe => "PROBE",
        NeighbourState::Failed => "FAILED",
        NeighbourState::Noarp => "NOARP",
        NeighbourState::Permanent => "PERMANENT",
        _ => "NONE",
    };
    Some(Neighbour {
        ifindex: message.header.ifindex,
        address: address?,
        mac,
        state,
        ours,
    })
}
