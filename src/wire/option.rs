//! What a report, anchor or query may carry beside its fields.

use super::cursor::{Put, Reader};
use super::{Error, Name};

/// An option: a kind, a length and a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageOption {
    /// The nonces of the queries that this message answers.
    Nonces(Vec<[u8; 8]>),
    /// A certificate, opaque to this version of the codec.
    Certificate(Vec<u8>),
    /// What the member's host is called.
    Name(Name),
    /// An option of a kind that this version does not know, or a name that is none; ignored, but
    /// kept.
    Unknown {
        /// Its kind.
        kind: u16,
        /// Its value.
        value: Vec<u8>,
    },
}

impl MessageOption {
    const NONCES: u16 = 1;
    const CERTIFICATE: u16 = 2;
    const NAME: u16 = 3;

    /// Options fill the message to its end (the trailer is already taken off).
    pub(super) fn read_all(reader: &mut Reader<'_>) -> Result<Vec<Self>, Error> {
        let mut options = Vec::new();
        while !reader.is_empty() {
            let kind = reader.u16()?;
            let length = reader.u16()?;
            let value = reader.bytes(length.into())?;
            options.push(match kind {
                Self::NONCES => {
                    let (nonces, []) = value.as_chunks::<8>() else {
                        return Err(Error::Field("nonces option length"));
                    };
                    Self::Nonces(nonces.to_vec())
                }
                Self::CERTIFICATE => Self::Certificate(value.to_vec()),
                Self::NAME => Name::read(value).map_or_else(|| unknown(kind, value), Self::Name),
                _ => unknown(kind, value),
            });
        }
        Ok(options)
    }

    /// What the sender's host is called, if the options tell.
    pub fn name(options: &[Self]) -> Option<&Name> {
        options.iter().find_map(|option| match option {
            Self::Name(name) => Some(name),
            _ => None,
        })
    }

    pub(super) fn write_all(options: &[Self], out: &mut Vec<u8>) {
        for option in options {
            let (kind, value) = match option {
                Self::Nonces(nonces) => (Self::NONCES, nonces.concat()),
                Self::Certificate(value) => (Self::CERTIFICATE, value.clone()),
                Self::Name(name) => (Self::NAME, name.as_str().into()),
                Self::Unknown { kind, value } => (*kind, value.clone()),
            };
            out.put_u16(kind);
            // NOTE: values come from bounded builders; a datagram cannot hold more than this.
            out.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
            out.extend(value);
        }
    }
}

//= docs/spec/membership.md#statement
//# A receiver MUST keep the meaning of a statement that carries options that it does not know, and
//# ignore those options.
fn unknown(kind: u16, value: &[u8]) -> MessageOption {
    MessageOption::Unknown {
        kind,
        value: value.to_vec(),
    }
}
