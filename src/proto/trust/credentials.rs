//! What a host speaks with: its key, and the certificate that says what the key is good for.

use core::fmt;

use super::key::SecretKey;
use super::standing::Standing;
use crate::wire::{Authentication, Certificate, MemberId, Message, MessageOption};

/// A key and its certificate.
#[derive(Clone)]
pub struct Credentials {
    key: SecretKey,
    certificate: Certificate,
    encoded: Vec<u8>,
}

/// Why a key and a certificate do not make credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is for another key")]
pub struct ForeignCertificate;

impl Credentials {
    /// Bytes of an option in front of its value.
    const OPTION_HEADER: usize = 4;

    /// The key `key`, certified by `certificate`. Whether others accept that certificate is for
    /// them to say.
    ///
    /// # Errors
    /// It is for another key.
    pub fn new(key: SecretKey, certificate: Certificate) -> Result<Self, ForeignCertificate> {
        if key.public().to_bytes() != certificate.key {
            return Err(ForeignCertificate);
        }
        let encoded = certificate.encode();
        Ok(Self {
            key,
            certificate,
            encoded,
        })
    }

    /// The id that the key's owner has on every link.
    pub fn member(&self) -> MemberId {
        self.key.public().member()
    }

    /// What the key is good for.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What the certificate lets the key's owner say, where it counts.
    pub fn standing(&self) -> Standing {
        Standing::of(&self.certificate)
    }

    /// How many bytes the certificate and the signature add to a message.
    pub fn sealing(&self) -> usize {
        Self::OPTION_HEADER + self.encoded.len() + 64
    }

    /// The payload of `message`, with the certificate and a signature; of a hello, which proves
    /// itself, and of what this version does not know, without.
    //= docs/spec/trust.md#signatures
    //# A node that has a key MUST sign every report, anchor and query that it sends, in every mode,
    //# and put its certificate into it as the first option.
    pub fn sign(&self, mut message: Message) -> Vec<u8> {
        let (options, authentication) = match &mut message {
            Message::Statement {
                statement,
                authentication,
                ..
            } => (&mut statement.options, authentication),
            Message::Query {
                query,
                authentication,
                ..
            } => (&mut query.options, authentication),
            Message::Hello { .. } | Message::Unknown { .. } => return message.encode(),
        };
        options.insert(0, MessageOption::Certificate(self.encoded.clone()));
        // The trailer's place decides the length field, which is signed.
        *authentication = Authentication::Ed25519 { signature: [0; 64] };
        let mut payload = message.encode();
        //= docs/spec/trust.md#signatures
        //# The signature MUST be over all bytes of the message before it.
        if let Some((signed, trailer)) = payload.split_last_chunk_mut::<64>() {
            *trailer = self.key.sign(signed);
        }
        payload
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("member", &self.member())
            .field("serial", &self.certificate.serial)
            .finish_non_exhaustive()
    }
}
