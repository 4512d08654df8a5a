//! Somebody on every link who hears everything and says what it likes: what it has heard, again or
//! on another link, damaged or changed; what it makes up, signed by nobody, by a key of its own, or
//! by one that the authority has certified for something else.
#![allow(unreachable_pub, reason = "a module of one test")]

use std::net::IpAddr;
use std::time::Duration;

use hamp::addr::Prefix;
use hamp::proto::random::Random;
use hamp::proto::trust::Credentials;
use hamp::wire::frame::{self, Frame, Mac};
use hamp::wire::{Authentication, MemberId, Message, Roles, Scope, StatementKind};
use testbed::sim::keys;

use crate::support;

/// What its certificate allows it to serve; nobody else does.
pub const OWN: &str = "198.18.99.0/24";

/// An insider: a key with a certificate of a member, for a prefix of its own.
pub struct Adversary {
    insider: Credentials,
    stranger: Credentials,
}

impl Adversary {
    pub fn new() -> Self {
        let roles = Roles {
            member: true,
            router: false,
        };
        let key = keys::key(666);
        let mut draft = keys::draft(666, &key.public(), roles);
        draft.prefixes = vec![OWN.parse().unwrap()];
        draft.limit = 1;
        let insider = Credentials::new(key, keys::authority().certify(draft)).unwrap();
        // Its own authority makes it a router of everything.
        let (key, roles) = (
            keys::key(667),
            Roles {
                member: true,
                router: true,
            },
        );
        let draft = keys::draft(667, &key.public(), roles);
        let stranger = Credentials::new(key.clone(), key.certify(draft)).unwrap();
        Self { insider, stranger }
    }

    /// Who it is by the certificate that it has.
    pub fn id(&self) -> MemberId {
        self.insider.member()
    }

    /// What it makes of a frame that it has overheard, on a link where its own addresses are these.
    pub fn say(&self, random: &mut Random, heard: &[u8], own: (Mac, IpAddr)) -> Vec<u8> {
        let below = |random: &mut Random, bound: u64| random.next_u64() % bound;
        let Ok(Frame::Message {
            mac,
            source,
            payload,
        }) = Frame::parse(heard)
        else {
            return heard.to_vec();
        };
        let Ok(mut message) = Message::decode(payload) else {
            return heard.to_vec();
        };
        let kind = below(random, 8);
        if kind <= 1 {
            return heard.to_vec();
        }
        if kind == 2 {
            let mut damaged = support::Random::new(random.next_u64()).damage(heard);
            if let Some(destination) = damaged.first_chunk_mut::<6>() {
                destination.copy_from_slice(&heard[..6]);
            }
            return damaged;
        }
        let signer = [None, Some(&self.insider), Some(&self.stranger)][below(random, 3) as usize];
        // As itself, or as whom it has heard.
        let as_itself = signer.is_some() && below(random, 2) == 0;
        match &mut message {
            Message::Hello { hello, .. } => {
                hello.index = hello
                    .index
                    .wrapping_add([1, 3, 1000, 1 << 30][below(random, 4) as usize]);
            }
            Message::Statement {
                member,
                statement,
                authentication,
            } => {
                *authentication = Authentication::None;
                statement.options.clear();
                statement.counter += 1 + below(random, 100) as u32;
                statement.epoch += below(random, 2);
                statement.router |= below(random, 2) == 0;
                statement.time += Duration::from_secs(below(random, 100));
                if below(random, 2) == 0 {
                    statement.kind = StatementKind::Full { part: 0, parts: 1 };
                    statement.generation += 1;
                    statement.records = self.records(random);
                    let all: hamp::proto::record_set::RecordSet =
                        statement.records.iter().cloned().collect();
                    statement.digest = all.digest();
                }
                if as_itself && let Some(signer) = signer {
                    *member = signer.member();
                    statement.mac = own.0;
                    (statement.ipv4, statement.ipv6) = match own.1 {
                        IpAddr::V4(address) => (Some(address), None),
                        IpAddr::V6(address) => (None, Some(address)),
                    };
                }
            }
            Message::Query {
                asker,
                query,
                authentication,
            } => {
                *authentication = Authentication::None;
                query.options.clear();
                query.nonce = random.next_u64().to_be_bytes();
                if as_itself && let Some(signer) = signer {
                    *asker = signer.member();
                }
            }
            Message::Unknown { .. } => {}
        }
        let payload = match signer {
            Some(signer) => signer.sign(message),
            None => message.encode(),
        };
        let (mac, source) = if as_itself { own } else { (mac, source) };
        frame::message(mac, source, &payload)
    }

    /// What nobody has certified for it, or nothing at all.
    fn records(&self, random: &mut Random) -> Vec<hamp::wire::Record> {
        let prefixes = ["198.18.0.1/32", "198.18.7.0/24", "198.18.55.1/32", OWN];
        let wanted = prefixes
            .iter()
            .filter(|_| random.next_u64().is_multiple_of(2));
        let record = |text: &&str| hamp::wire::Record {
            address: hamp::wire::RecordAddress::Prefix(text.parse::<Prefix>().unwrap()),
            draining: false,
            scope: Scope::Global,
            preference: u16::MAX,
            lifetime: Duration::from_secs(3600),
            serial: None,
        };
        let mut records: Vec<_> = wanted.map(record).collect();
        records.sort_by(|a, b| a.address.cmp(&b.address));
        records
    }
}
