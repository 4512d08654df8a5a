//! The envelope: version, type, authentication, length, and who speaks.

use sha2::{Digest, Sha256};

use super::cursor::{Put, Reader};
use super::{Error, Hello, MemberId, Query, Statement, StatementKind, VERSION};

/// A message of the membership protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A member's report or anchor.
    Statement {
        /// Who speaks.
        member: MemberId,
        /// What it says of itself.
        statement: Statement,
        /// What vouches for it.
        authentication: Authentication,
    },
    /// A member's proof of life.
    Hello {
        /// Who lives.
        member: MemberId,
        /// The proof.
        hello: Hello,
    },
    /// A question to members.
    Query {
        /// Who asks.
        asker: MemberId,
        /// What is asked.
        query: Query,
        /// What vouches for it.
        authentication: Authentication,
    },
    /// A message or authentication type that this version does not know; to be ignored.
    Unknown {
        /// Message type, 0 to 15.
        kind: u8,
        /// Authentication type; it decides where the body ends, so the body is left unread.
        authentication: u8,
        /// Who speaks.
        sender: MemberId,
        /// Everything after the header.
        body: Vec<u8>,
    },
}

/// What vouches for a message: the trailer that the header's authentication type asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Nothing does.
    None,
    /// An Ed25519 signature over all bytes before it.
    Ed25519 {
        /// The signature.
        signature: [u8; 64],
    },
}

impl Authentication {
    const NONE: u8 = 0;
    const ED25519: u8 = 1;

    fn kind(self) -> u8 {
        match self {
            Self::None => Self::NONE,
            Self::Ed25519 { .. } => Self::ED25519,
        }
    }
}

impl Message {
    const REPORT: u8 = 1;
    const HELLO: u8 = 2;
    const ANCHOR: u8 = 3;
    const QUERY: u8 = 4;
    /// Version and type, authentication, length, member id.
    pub const HEADER_LEN: usize = 20;

    /// Who sent the message.
    pub fn sender(&self) -> MemberId {
        match self {
            Self::Statement { member: id, .. }
            | Self::Hello { member: id, .. }
            | Self::Query { asker: id, .. }
            | Self::Unknown { sender: id, .. } => *id,
        }
    }

    /// Reads a datagram's payload.
    ///
    /// # Errors
    /// Bytes that no version-1 sender makes; nothing of them may be used.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let first = reader.u8()?;
        //= docs/spec/membership.md#header
        //# A receiver MUST ignore a message of another version.
        if first >> 4 != VERSION {
            return Err(Error::Version(first >> 4));
        }
        let authentication = reader.u8()?;
        let stated = usize::from(reader.u16()?);
        //= docs/spec/membership.md#header
        //# A receiver MUST ignore a message whose length field is not the length of the datagram's
        //# payload.
        if stated != bytes.len() {
            return Err(Error::Length {
                stated,
                actual: bytes.len(),
            });
        }
        let id = MemberId(reader.array()?);
        if id == MemberId::EVERYBODY {
            return Err(Error::Field("member id"));
        }
        let kind = first & 0x0f;
        let body = &bytes[Self::HEADER_LEN..];
        let unknown = |body: &[u8]| Self::Unknown {
            kind,
            authentication,
            sender: id,
            body: body.to_vec(),
        };
        let (vouched, signed) = match (kind, authentication) {
            (Self::REPORT | Self::HELLO | Self::ANCHOR | Self::QUERY, Authentication::NONE) => {
                (Authentication::None, body)
            }
            (Self::REPORT | Self::ANCHOR | Self::QUERY, Authentication::ED25519) => {
                let (body, signature) = body.split_last_chunk().ok_or(Error::Truncated {
                    needed: 64,
                    left: body.len(),
                })?;
                (
                    Authentication::Ed25519 {
                        signature: *signature,
                    },
                    body,
                )
            }
            _ => return Ok(unknown(body)),
        };
        let mut reader = Reader::new(signed);
        let message = match kind {
            Self::REPORT | Self::ANCHOR => Self::Statement {
                member: id,
                statement: Statement::read(&mut reader, kind == Self::ANCHOR)?,
                authentication: vouched,
            },
            Self::HELLO => Self::Hello {
                member: id,
                hello: Hello::read(&mut reader)?,
            },
            Self::QUERY => Self::Query {
                asker: id,
                query: Query::read(&mut reader)?,
                authentication: vouched,
            },
            _ => return Ok(unknown(body)),
        };
        //= docs/spec/membership.md#header
        //# A receiver MUST ignore a message that ends before its fields do, goes on after them, or
        //# has a field outside the range stated here.
        reader.finish()?;
        Ok(message)
    }

    /// The datagram's payload.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, authentication) = match self {
            Self::Statement {
                statement,
                authentication,
                ..
            } => match statement.kind {
                StatementKind::Anchor => (Self::ANCHOR, *authentication),
                _ => (Self::REPORT, *authentication),
            },
            Self::Hello { .. } => (Self::HELLO, Authentication::None),
            Self::Query { authentication, .. } => (Self::QUERY, *authentication),
            Self::Unknown { kind, .. } => (*kind, Authentication::None),
        };
        let authentication_kind = match self {
            Self::Unknown { authentication, .. } => *authentication,
            _ => authentication.kind(),
        };
        let mut out = Vec::with_capacity(256);
        out.put_u8(VERSION << 4 | kind & 0x0f);
        out.put_u8(authentication_kind);
        out.put_u16(0);
        out.extend(self.sender().0);
        match self {
            Self::Statement { statement, .. } => statement.write(&mut out),
            Self::Hello { hello, .. } => hello.write(&mut out),
            Self::Query { query, .. } => query.write(&mut out),
            Self::Unknown { body, .. } => out.extend(body),
        }
        if let Authentication::Ed25519 { signature } = authentication {
            out.extend(signature);
        }
        // NOTE: senders split their records by the link's MTU, so the length fits its field.
        let length = u16::try_from(out.len()).unwrap_or(u16::MAX);
        out[2..4].copy_from_slice(&length.to_be_bytes());
        out
    }
}

/// The first `N` bytes of the SHA-256 of `text`; `N` is at most 32.
pub(crate) fn hash<const N: usize>(text: &[u8]) -> [u8; N] {
    let digest = Sha256::digest(text);
    let mut out = [0; N];
    out.copy_from_slice(&digest[..N]);
    out
}
