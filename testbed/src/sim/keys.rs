//! Keys for simulated hosts: drawn from small numbers, so that every run has the same. They are no
//! secret, and of use nowhere else.

use std::sync::Arc;

use hamp::addr::Class;
use hamp::proto::trust::{Credentials, Mode, PublicKey, SecretKey};
use hamp::wire::{AuthorityId, Certificate, Roles};

use super::{Trust, WALL};

/// For how long certificates are good, in milliseconds: a hundred years.
const VALID_MS: u64 = 100 * 365 * 86_400_000;

/// What host `number` of a simulation knows and has in enforce mode: a key certified for the whole
/// default class by [`authority`], with these roles.
pub fn enforcing(number: u64, roles: Roles) -> Trust {
    Trust {
        credentials: Some(credentials(number, roles)),
        mode: Mode::Enforce,
        authorities: vec![authority().public()],
    }
}

/// The authority that hosts trust.
pub fn authority() -> SecretKey {
    SecretKey::from_bytes(&[0xaa; 32])
}

/// The key of host `number`, and its certificate.
///
/// # Panics
/// Never: the certificate is for that key.
pub fn credentials(number: u64, roles: Roles) -> Arc<Credentials> {
    let key = key(number);
    let certificate = authority().certify(draft(number, &key.public(), roles));
    // NOTE(unwrap): it was made for this key two lines above.
    Arc::new(Credentials::new(key, certificate).unwrap())
}

/// The key of host `number`.
pub fn key(number: u64) -> SecretKey {
    let mut bytes = [0x5e; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_bytes(&bytes)
}

/// What an authority is to sign for `key`: the default class, and as many addresses as it has.
pub fn draft(serial: u64, key: &PublicKey, roles: Roles) -> Certificate {
    Certificate {
        roles,
        serial,
        authority: AuthorityId([0; 16]),
        key: key.to_bytes(),
        not_before: 0,
        not_after: WALL + VALID_MS,
        limit: u32::MAX,
        prefixes: Class::default().prefixes().to_vec(),
        hosts: vec![],
        signature: [0; 64],
    }
}
