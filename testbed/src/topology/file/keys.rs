//! What may be written in a topology file.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

use crate::impair::{Impairment, Keys};
use crate::topology::{Clock, Route};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) switch: BTreeMap<String, SwitchKeys>,
    #[serde(default)]
    pub(super) router: BTreeMap<String, HostKeys>,
    #[serde(default)]
    pub(super) host: BTreeMap<String, HostKeys>,
    #[serde(default)]
    pub(super) cable: Vec<CableKeys>,
}

/// A `[switch.NAME]` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchKeys {
    pub(super) site: Option<String>,
    #[serde(default)]
    pub(super) links: Vec<LinkKeys>,
    #[serde(default)]
    pub(super) programs: BTreeMap<String, Words>,
}

/// A `[host.NAME]` or `[router.NAME]` table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostKeys {
    pub(super) site: Option<String>,
    #[serde(default)]
    pub(super) links: Vec<LinkKeys>,
    #[serde(default)]
    pub(super) routes: Vec<RouteKeys>,
    #[serde(default)]
    pub(super) programs: BTreeMap<String, Words>,
    pub(super) hamp: Option<toml::Table>,
    #[serde(default)]
    pub(super) clock: Clock,
}

/// A table with the keys of an impairment of both directions, and tables for one of them. (serde's
/// `flatten` would lose the lines of errors.)
macro_rules! impaired {
    ($(#[$about:meta])* struct $name:ident { $($(#[$key_about:meta])* $key:ident: $type:ty,)* }) => {
        $(#[$about])*
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$key_about])* pub(super) $key: $type,)*
            delay_ms: Option<f64>,
            jitter_ms: Option<f64>,
            loss_percent: Option<f64>,
            duplicate_percent: Option<f64>,
            reorder_percent: Option<f64>,
            rate_mbit: Option<f64>,
            queue_kbytes: Option<f64>,
            r#in: Option<Keys>,
            out: Option<Keys>,
        }

        impl $name {
            /// What happens to frames from the table's own end, and to those that come to it. What
            /// `out` and `in` do not say is as in both directions.
            ///
            /// # Errors
            /// The key of the table that is wrong, if it is one of them, and what is wrong.
            pub(super) fn impairments(
                &self,
            ) -> Result<[Impairment; 2], (Option<&'static str>, String)> {
                let both = Keys {
                    delay_ms: self.delay_ms,
                    jitter_ms: self.jitter_ms,
                    loss_percent: self.loss_percent,
                    duplicate_percent: self.duplicate_percent,
                    reorder_percent: self.reorder_percent,
                    rate_mbit: self.rate_mbit,
                    queue_kbytes: self.queue_kbytes,
                };
                Impairment::try_from(both).map_err(|why| (None, why))?;
                let one = |own: Option<Keys>, key| {
                    let keys = own.unwrap_or_default().or(both);
                    Impairment::try_from(keys).map_err(|why| (Some(key), why))
                };
                Ok([one(self.out, "out")?, one(self.r#in, "in")?])
            }
        }
    };
}

impaired! {
    /// An element of `links`.
    struct LinkKeys {
        to: String,
        #[serde(default)]
        addresses: Vec<String>,
        interface: Option<String>,
        mac: Option<Mac>,
    }
}

impaired! {
    /// A `[[cable]]` table.
    struct CableKeys {
        between: [String; 2],
        #[serde(default)]
        addresses: [Vec<String>; 2],
        interfaces: Option<[String; 2]>,
        macs: Option<[Mac; 2]>,
    }
}

impl Keys {
    /// What is not set here is as in `other`.
    fn or(self, other: Self) -> Self {
        Self {
            delay_ms: self.delay_ms.or(other.delay_ms),
            jitter_ms: self.jitter_ms.or(other.jitter_ms),
            loss_percent: self.loss_percent.or(other.loss_percent),
            duplicate_percent: self.duplicate_percent.or(other.duplicate_percent),
            reorder_percent: self.reorder_percent.or(other.reorder_percent),
            rate_mbit: self.rate_mbit.or(other.rate_mbit),
            queue_kbytes: self.queue_kbytes.or(other.queue_kbytes),
        }
    }
}

/// A route as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteKeys {
    to: String,
    via: String,
}

impl RouteKeys {
    /// The route, or what is wrong with the words.
    pub(super) fn route(&self) -> Result<Route, String> {
        Route::parse(&self.to, &self.via)
    }
}

/// A link-layer address as everybody writes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mac(pub(super) [u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no link-layer address, like 02:00:00:00:00:01");
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts.next().filter(|part| part.len() == 2);
            let part = part.ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        parts.next().map_or(Ok(Self(mac)), |_| Err(wrong()))
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A command: a string that is split into words as a shell does, or a list of words.
#[derive(Clone, Debug)]
pub(super) struct Words(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command as a string or a list of strings")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Words, E> {
                let words = shell_words::split(text);
                words
                    .map(Words)
                    .map_err(|_| E::custom(format!("a quote is not closed in {text:?}")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = items.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        from.deserialize_any(Either)
    }
}
