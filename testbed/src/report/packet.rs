//! One frame in words: what it is to anycast, and how a sequence diagram names it.

use std::net::{IpAddr, SocketAddr};

use etherparse::{LaxSlicedPacket, TransportSlice};
use hamp::cli::decode::tell;
use hamp::wire::Message;
use hamp::wire::frame::{self, Ignored, Mac};

use crate::capture::ends;

/// What a frame is.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A membership message; `None` if it does not decode, or was too long to keep.
    Message(Option<Box<Message>>),
    /// An ARP request or a neighbour solicitation.
    Question {
        /// The address asked for.
        target: IpAddr,
        /// Who asks.
        asker: IpAddr,
        /// Whether it went to one host, to see if it still lives.
        probe: bool,
    },
    /// An ARP reply, a gratuitous ARP or a neighbour advertisement.
    Answer {
        /// The address spoken of.
        target: IpAddr,
        /// Where it is said to be.
        at: Mac,
        /// Told to all rather than to who asked.
        announcement: bool,
        /// The Override flag; `None` for ARP, which has none.
        overrides: Option<bool>,
    },
    /// A TCP segment with SYN, and ACK or not.
    Syn {
        /// Its source.
        from: SocketAddr,
        /// Its destination.
        to: SocketAddr,
        /// Whether it is a SYN-ACK.
        ack: bool,
    },
    /// A UDP datagram that is none of ours.
    Datagram {
        /// Its source.
        from: SocketAddr,
        /// Its destination.
        to: SocketAddr,
    },
    /// Anything else.
    Other,
}

impl What {
    /// Reads an Ethernet frame of which at least the headers are there.
    pub fn of(bytes: &[u8]) -> Self {
        match frame::Frame::parse(bytes) {
            Ok(frame::Frame::Message { payload, .. }) => {
                Self::Message(Message::decode(payload).ok().map(Box::new))
            }
            Ok(frame::Frame::Request(request)) => Self::Question {
                target: request.target,
                asker: request.source,
                probe: request.is_probe(),
            },
            Ok(frame::Frame::Answer(answer)) => Self::Answer {
                target: answer.target,
                at: answer.stated.unwrap_or(answer.mac),
                announcement: answer.announcement,
                // RFC 4861 §4.4: R, S and O are the first bits after the checksum.
                overrides: (answer.target.is_ipv6())
                    .then(|| bytes.get(58).is_some_and(|flags| flags & 0x20 != 0)),
            },
            Err(Ignored::NotOurs | Ignored::Malformed) => Self::transport(bytes),
            Err(_) => Self::Other,
        }
    }

    /// TCP and UDP, whose payload may have been cut off.
    fn transport(bytes: &[u8]) -> Self {
        let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else {
            return Self::Other;
        };
        let Some((source, destination)) = ends(&packet) else {
            return Self::Other;
        };
        match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) if tcp.syn() && !tcp.rst() && !tcp.fin() => Self::Syn {
                from: SocketAddr::new(source, tcp.source_port()),
                to: SocketAddr::new(destination, tcp.destination_port()),
                ack: tcp.ack(),
            },
            Some(TransportSlice::Udp(udp)) if udp.destination_port() == hamp::wire::PORT => {
                Self::Message(None)
            }
            Some(TransportSlice::Udp(udp)) => Self::Datagram {
                from: SocketAddr::new(source, udp.source_port()),
                to: SocketAddr::new(destination, udp.destination_port()),
            },
            _ => Self::Other,
        }
    }

    /// 4 or 6, where it is about an address of one family.
    pub fn family(&self) -> Option<u8> {
        let address = match self {
            Self::Question { target, .. } | Self::Answer { target, .. } => target,
            Self::Syn { to, .. } | Self::Datagram { to, .. } => return Some(family(to.ip())),
            Self::Message(_) | Self::Other => return None,
        };
        Some(family(*address))
    }

    /// In words; membership messages as `hamp decode` tells them. `host` names the owner of a
    /// link-layer address.
    pub fn words(&self, host: impl Fn(Mac) -> Option<String>) -> String {
        match self {
            Self::Message(Some(message)) => tell(message),
            Self::Message(None) => "membership message that cannot be read".into(),
            Self::Question {
                target,
                asker,
                probe,
            } => {
                let what = match (target.is_ipv4(), probe) {
                    (true, false) => "ARP: who has",
                    (true, true) => "ARP, to one host: who has",
                    (false, false) => "neighbour solicitation: who has",
                    (false, true) => "neighbour solicitation, to one host: who has",
                };
                format!("{what} {target}? tell {asker}")
            }
            Self::Answer {
                target,
                at,
                announcement,
                overrides,
            } => {
                let what = match (overrides, announcement) {
                    (None, false) => "ARP reply",
                    (None, true) => "gratuitous ARP",
                    (Some(_), false) => "neighbour advertisement",
                    (Some(_), true) => "unsolicited neighbour advertisement",
                };
                let flag = match overrides {
                    None => "",
                    Some(true) => ", Override set",
                    Some(false) => ", Override clear",
                };
                let whose = host(*at).map_or_else(String::new, |name| format!(" ({name})"));
                let at = crate::lab::mac_text(*at);
                format!("{what}: {target} is at {at}{whose}{flag}")
            }
            Self::Syn { from, to, ack } => {
                let what = if *ack { "SYN-ACK" } else { "SYN" };
                format!("{what} {from} \u{2192} {to}")
            }
            Self::Datagram { from, to } => format!("UDP {from} \u{2192} {to}"),
            Self::Other => "another frame".into(),
        }
    }
}

/// 4 or 6.
pub fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hamp::wire::{Hello, MemberId};

    const S1: Mac = [2, 0, 0, 0, 0, 1];
    const CLIENT: Mac = [2, 0, 0, 0, 0, 9];

    fn words(bytes: &[u8]) -> String {
        What::of(bytes).words(|mac| (mac == S1).then(|| "s1".to_owned()))
    }

    #[test]
    fn a_hello_is_told_as_hamp_decode_tells_it() {
        let hello = Hello {
            chain: [0xab; 8],
            index: 7,
            value: [1; 16],
        };
        let member = MemberId([0x11; 16]);
        let bytes = Message::Hello { member, hello }.encode();
        let frame = frame::message(S1, "192.0.2.1".parse().unwrap(), &bytes);
        assert_eq!(words(&frame), "hello 7 of chain abababab");
        let mut cut = frame;
        cut.truncate(60);
        assert_eq!(words(&cut), "membership message that cannot be read");
    }

    #[test]
    fn questions_answers_and_announcements_are_told_apart() {
        let a = "198.18.0.1".parse().unwrap();
        let asker = "10.0.0.9".parse().unwrap();
        let question = frame::request(CLIENT, asker, a).unwrap();
        assert_eq!(words(&question), "ARP: who has 198.18.0.1? tell 10.0.0.9");
        let Ok(frame::Frame::Request(request)) = frame::Frame::parse(&question) else {
            panic!("no request");
        };
        assert_eq!(
            words(&frame::answer(&request, S1, None).unwrap()),
            "ARP reply: 198.18.0.1 is at 02:00:00:00:00:01 (s1)"
        );
        assert_eq!(
            words(&frame::announcement(a, S1, None).unwrap()),
            "gratuitous ARP: 198.18.0.1 is at 02:00:00:00:00:01 (s1)"
        );
        let (a6, own) = ("2001:2::1".parse().unwrap(), "fe80::1".parse().ok());
        assert_eq!(
            words(&frame::announcement(a6, S1, own).unwrap()),
            "unsolicited neighbour advertisement: 2001:2::1 is at 02:00:00:00:00:01 (s1), Override set"
        );
    }

    #[test]
    fn a_syn_and_its_answer_are_told_even_without_their_ends() {
        let mut bytes = Vec::new();
        etherparse::PacketBuilder::ethernet2(CLIENT, S1)
            .ipv4([10, 0, 0, 9], [198, 18, 0, 1], 64)
            .tcp(4000, 80, 1, 1)
            .syn()
            .write(&mut bytes, &[0; 64])
            .unwrap();
        bytes.truncate(70);
        assert_eq!(words(&bytes), "SYN 10.0.0.9:4000 \u{2192} 198.18.0.1:80");
        assert_eq!(words(&[0; 5]), "another frame");
    }
}
