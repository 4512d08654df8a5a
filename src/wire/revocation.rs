//! The revocation list: which certificates of an authority count no longer.

use super::cursor::{Put, Reader};
use super::{AuthorityId, Error};

/// The certificates that an authority has taken back, given out beside the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Whose list it is.
    pub authority: AuthorityId,
    /// Grows with each list of the authority; only a larger one replaces another.
    pub number: u64,
    /// When it was made, in milliseconds since 1970; for people.
    pub made: u64,
    /// Serials of certificates, ascending; at most [`RevocationList::MAX_SERIALS`].
    pub serials: Vec<u64>,
    /// The authority's Ed25519 signature over [`RevocationList::signed`].
    pub signature: [u8; 64],
}

impl RevocationList {
    /// The version that this codec reads and writes.
    pub const VERSION: u8 = 1;
    /// Serials of one list at most: 512 KiB.
    pub const MAX_SERIALS: usize = 65_536;
    /// What the signature is over begins with this, so that it signs nothing else.
    const CONTEXT: &[u8] = b"hamp revocation 1";

    /// Reads a list; whether its signature is good is another question.
    ///
    /// # Errors
    /// Bytes that no version-1 authority makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8()?;
        if version != Self::VERSION {
            return Err(Error::Version(version));
        }
        if reader.array()? != [0; 3] {
            return Err(Error::Field("reserved"));
        }
        let authority = AuthorityId(reader.array()?);
        let number = reader.u64()?;
        let made = reader.u64()?;
        let count = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        if count > Self::MAX_SERIALS {
            return Err(Error::Field("serial count"));
        }
        let serials = (0..count)
            .map(|_| reader.u64())
            .collect::<Result<Vec<_>, _>>()?;
        //= docs/spec/trust.md#revocation
        //# A receiver MUST refuse a list whose serials do not ascend.
        if !serials.is_sorted_by(|before, after| before < after) {
            return Err(Error::Field("serials"));
        }
        let signature = reader.array()?;
        reader.finish()?;
        Ok(Self {
            authority,
            number,
            made,
            serials,
            signature,
        })
    }

    /// The list's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.body();
        out.extend(self.signature);
        out
    }

    /// What the authority signs.
    pub fn signed(&self) -> Vec<u8> {
        [Self::CONTEXT, &self.body()].concat()
    }

    fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(104 + 8 * self.serials.len());
        out.put_u8(Self::VERSION);
        out.extend([0; 3]);
        out.extend(self.authority.0);
        out.put_u64(self.number);
        out.put_u64(self.made);
        // NOTE: more than MAX_SERIALS do not decode; whoever makes lists checks it.
        out.put_u32(u32::try_from(self.serials.len()).unwrap_or(u32::MAX));
        self.serials.iter().for_each(|serial| out.put_u64(*serial));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_survives_its_encoding_and_nothing_else_is_one() {
        let list = RevocationList {
            authority: AuthorityId([1; 16]),
            number: 2,
            made: 1_700_000_000_000,
            serials: vec![3, 7],
            signature: [3; 64],
        };
        let bytes = list.encode();
        assert_eq!(RevocationList::decode(&bytes).as_ref(), Ok(&list));
        for length in 0..bytes.len() {
            assert!(
                RevocationList::decode(&bytes[..length]).is_err(),
                "{length}"
            );
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(RevocationList::decode(&longer), Err(Error::Trailing(1)));
        //= docs/spec/trust.md#revocation
        //= type=test
        //# A receiver MUST refuse a list whose serials do not ascend.
        for serials in [vec![7, 3], vec![3, 3]] {
            let list = RevocationList {
                serials,
                ..list.clone()
            };
            assert_eq!(
                RevocationList::decode(&list.encode()),
                Err(Error::Field("serials"))
            );
        }
        // A count that no datagram and no file could hold costs nothing.
        let mut huge = list.encode();
        huge[36..40].fill(0xff);
        assert_eq!(
            RevocationList::decode(&huge),
            Err(Error::Field("serial count"))
        );
    }
}
