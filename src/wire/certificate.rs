//! The certificate: what an authority lets a key do.

use super::cursor::{Put, Reader};
use super::{AuthorityId, Error};
use crate::addr::{Ipv4Net, Ipv6Net, Prefix};

/// What an authority lets the owner of a key do, and until when.
///
/// Strict: one meaning has one spelling, and what is not understood to the last bit is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// What the owner may be.
    pub roles: Roles,
    /// Tells the authority's certificates apart; what a revocation names.
    pub serial: u64,
    /// Who signed it.
    pub authority: AuthorityId,
    /// The owner's Ed25519 public key.
    pub key: [u8; 32],
    /// First millisecond since 1970 at which it is valid.
    pub not_before: u64,
    /// First millisecond since 1970 at which it is not valid any more; after `not_before`.
    pub not_after: u64,
    /// How many records the owner may have on a link.
    pub limit: u32,
    /// What its records must lie in; at most [`Certificate::MAX_PREFIXES`].
    pub prefixes: Vec<Prefix>,
    /// What its own unicast addresses on links must lie in; at most [`Certificate::MAX_PREFIXES`].
    /// Empty: the certificate leaves that to the receiver.
    pub hosts: Vec<Prefix>,
    /// The authority's Ed25519 signature over [`Certificate::signed`].
    pub signature: [u8; 64],
}

/// What the owner of a key may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Roles {
    /// Serves prefixes.
    pub member: bool,
    /// Asks as a querier, and forwards.
    pub router: bool,
}

impl Roles {
    const MEMBER: u8 = 1;
    const ROUTER: u8 = 2;

    fn bits(self) -> u8 {
        let bit = |set, bit| if set { bit } else { 0 };
        bit(self.member, Self::MEMBER) | bit(self.router, Self::ROUTER)
    }
}

impl Certificate {
    /// The version that this codec reads and writes.
    pub const VERSION: u8 = 1;
    /// Prefixes of one certificate at most, and hosts.
    pub const MAX_PREFIXES: usize = 16;
    /// The longest encoding, in bytes.
    pub const MAX_LEN: usize = Self::FIXED + 2 * Self::MAX_PREFIXES * 18 + 64;
    /// What is in front of the prefixes.
    const FIXED: usize = 82;
    /// What the signature is over begins with this, so that it signs nothing else.
    const CONTEXT: &[u8] = b"hamp certificate 1";
    const IPV4: u8 = 4;
    const IPV6: u8 = 6;

    /// Reads a certificate; whether its signature is good is another question.
    ///
    /// # Errors
    /// Bytes that no version-1 authority makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != Self::VERSION {
            return Err(Error::Version(version));
        }
        let bits = reader.u8()?;
        let roles = Roles {
            member: bits & Roles::MEMBER != 0,
            router: bits & Roles::ROUTER != 0,
        };
        //= docs/spec/trust.md#certificate
        //# A receiver MUST refuse a certificate of another version, one that ends before its fields
        //# do or goes on after them, and one with a field outside the range stated here.
        if roles.bits() != bits || bits == 0 {
            return Err(Error::Field("roles"));
        }
        let hosts = usize::from(reader.u16()?);
        if hosts > Self::MAX_PREFIXES {
            return Err(Error::Field("host count"));
        }
        let serial = reader.u64()?;
        let authority = AuthorityId(reader.array()?);
        let key = reader.array()?;
        let not_before = reader.u64()?;
        let not_after = reader.u64()?;
        if not_after <= not_before {
            return Err(Error::Field("not after"));
        }
        let limit = reader.u32()?;
        let count = usize::from(reader.u16()?);
        if count > Self::MAX_PREFIXES {
            return Err(Error::Field("prefix count"));
        }
        let mut read = |count| {
            let all = (0..count).map(|_| Self::read_prefix(&mut reader));
            all.collect::<Result<Vec<_>, _>>()
        };
        let (prefixes, hosts) = (read(count)?, read(hosts)?);
        let signature = reader.array()?;
        reader.finish()?;
        Ok(Self {
            roles,
            serial,
            authority,
            key,
            not_before,
            not_after,
            limit,
            prefixes,
            hosts,
            signature,
        })
    }

    fn read_prefix(reader: &mut Reader<'_>) -> Result<Prefix, Error> {
        let family = reader.u8()?;
        let length = reader.u8()?;
        let prefix = match family {
            Self::IPV4 => Ipv4Net::new(reader.array::<4>()?.into(), length).map(Prefix::V4),
            Self::IPV6 => Ipv6Net::new(reader.array::<16>()?.into(), length).map(Prefix::V6),
            _ => return Err(Error::Field("prefix family")),
        };
        let prefix = prefix.map_err(|_| Error::Field("prefix length"))?;
        if prefix.trunc() != prefix {
            return Err(Error::Field("prefix below its length"));
        }
        Ok(prefix)
    }

    /// The certificate's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body();
        out.extend(self.signature);
        out
    }

    /// What the authority signs.
    //= docs/spec/trust.md#certificate
    //# The signature MUST be the authority's, over "hamp certificate 1" and all bytes before the
    //# signature.
    pub fn signed(&self) -> Vec<u8> {
        [Self::CONTEXT, &self.body()].concat()
    }

    fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::MAX_LEN);
        out.put_u8(Self::VERSION);
        out.put_u8(self.roles.bits());
        // NOTE: more than MAX_PREFIXES do not decode; whoever makes certificates checks it.
        let count = |list: &[Prefix]| u16::try_from(list.len()).unwrap_or(u16::MAX);
        out.put_u16(count(&self.hosts));
        out.put_u64(self.serial);
        out.extend(self.authority.0);
        out.extend(self.key);
        out.put_u64(self.not_before);
        out.put_u64(self.not_after);
        out.put_u32(self.limit);
        out.put_u16(count(&self.prefixes));
        for prefix in self.prefixes.iter().chain(&self.hosts) {
            match prefix {
                Prefix::V4(net) => {
                    out.put_u8(Self::IPV4);
                    out.put_u8(net.prefix_len());
                    out.extend(net.addr().octets());
                }
                Prefix::V6(net) => {
                    out.put_u8(Self::IPV6);
                    out.put_u8(net.prefix_len());
                    out.extend(net.addr().octets());
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Certificate {
        Certificate {
            roles: Roles {
                member: true,
                router: false,
            },
            serial: 7,
            authority: AuthorityId([1; 16]),
            key: [2; 32],
            not_before: 1_700_000_000_000,
            not_after: 1_800_000_000_000,
            limit: 100,
            prefixes: vec![
                "198.18.0.0/16".parse().unwrap(),
                "2001:2:0:1546::/112".parse().unwrap(),
            ],
            hosts: vec![],
            signature: [3; 64],
        }
    }

    #[test]
    fn a_certificate_survives_its_encoding() {
        let bytes = example().encode();
        assert_eq!(bytes.len(), 82 + 6 + 18 + 64);
        assert_eq!(Certificate::decode(&bytes), Ok(example()));
        let longest = Certificate {
            prefixes: vec!["::/0".parse().unwrap(); Certificate::MAX_PREFIXES],
            hosts: vec!["::1/128".parse().unwrap(); Certificate::MAX_PREFIXES],
            ..example()
        };
        assert_eq!(longest.encode().len(), Certificate::MAX_LEN);
        assert_eq!(Certificate::decode(&longest.encode()), Ok(longest));
        // One that names no hosts is, byte by byte, what it was before there were any.
        let hosts = vec!["192.0.2.7/32".parse().unwrap()];
        let bound = Certificate { hosts, ..example() }.encode();
        assert_eq!(
            (bytes[2..4].to_vec(), bound[2..4].to_vec()),
            (vec![0, 0], vec![0, 1])
        );
        assert_eq!(bound.len(), bytes.len() + 6);
    }

    //= docs/spec/trust.md#certificate
    //= type=test
    //# A receiver MUST refuse a certificate of another version, one that ends before its fields do or
    //# goes on after them, and one with a field outside the range stated here.
    #[test]
    fn a_certificate_that_says_something_else_too_is_refused() {
        let bytes = example().encode();
        for length in 0..bytes.len() {
            assert!(Certificate::decode(&bytes[..length]).is_err(), "{length}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Certificate::decode(&longer), Err(Error::Trailing(1)));
        for (at, value, expected) in [
            (0, 2, Error::Version(2)),
            (1, 0, Error::Field("roles")),
            (1, 5, Error::Field("roles")),
            (2, 1, Error::Field("host count")),
            (3, 17, Error::Field("host count")),
            (68, 0xff, Error::Field("not after")),
            (81, 17, Error::Field("prefix count")),
            (82, 5, Error::Field("prefix family")),
            (83, 33, Error::Field("prefix length")),
            (87, 1, Error::Field("prefix below its length")),
        ] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            if at == 68 {
                damaged[60..68].fill(0xff);
                damaged[68..76].fill(0xff);
            }
            assert_eq!(Certificate::decode(&damaged), Err(expected), "byte {at}");
        }
    }
}
