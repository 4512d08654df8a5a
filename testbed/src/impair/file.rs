//! Impairments as they are written in files: `{ delay_ms = 10, loss_percent = 1 }`.
//!
//! Keys that are absent impair nothing. Values out of range are errors that name the key and what
//! it may be.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};

use super::Impairment;

/// Longest delay and jitter, in milliseconds.
const LONGEST_MS: f64 = 60_000.0;
/// Rates, in 10^6 bits in a second: a modem of 1,000 bit/s to a terabit.
const RATES: RangeInclusive<f64> = 0.001..=1_000_000.0;
/// Queues, in 1,000 bytes: one byte to a gigabyte.
const QUEUES: RangeInclusive<f64> = 0.001..=1_000_000.0;

/// The keys of a file.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delay_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jitter_ms: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) loss_percent: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) duplicate_percent: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reorder_percent: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate_mbit: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) queue_kbytes: Option<f64>,
}

impl TryFrom<Keys> for Impairment {
    type Error = String;

    fn try_from(keys: Keys) -> std::result::Result<Self, String> {
        let span = |key, value: Option<f64>| {
            let ms = within(key, value.unwrap_or(0.0), 0.0..=LONGEST_MS)?;
            Ok::<_, Self::Error>(Duration::from_nanos(whole(ms * 1e6)))
        };
        let probability = |key, value: Option<f64>| {
            within(key, value.unwrap_or(0.0), 0.0..=100.0).map(|percent| percent / 100.0)
        };
        if keys.queue_kbytes.is_some() && keys.rate_mbit.is_none() {
            return Err("queue_kbytes needs rate_mbit: without a rate nothing waits".into());
        }
        let rate_bps = keys
            .rate_mbit
            .map(|mbit| within("rate_mbit", mbit, RATES).map(|mbit| whole(mbit * 1e6)))
            .transpose()?;
        let queue_bytes = keys
            .queue_kbytes
            .map(|kb| within("queue_kbytes", kb, QUEUES).map(|kb| whole(kb * 1e3)))
            .transpose()?
            .map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let delay = span("delay_ms", keys.delay_ms)?;
        let jitter = span("jitter_ms", keys.jitter_ms)?;
        if jitter > delay {
            return Err(format!(
                "jitter_ms = {} is more than delay_ms = {}: a frame cannot arrive before it is sent",
                keys.jitter_ms.unwrap_or(0.0),
                keys.delay_ms.unwrap_or(0.0)
            ));
        }
        if keys.reorder_percent.is_some_and(|percent| percent > 0.0) && delay.is_zero() {
            return Err(
                "reorder_percent needs delay_ms: without a delay nothing is overtaken".into(),
            );
        }
        Ok(Self {
            delay,
            jitter,
            loss: probability("loss_percent", keys.loss_percent)?,
            duplicate: probability("duplicate_percent", keys.duplicate_percent)?,
            reorder: probability("reorder_percent", keys.reorder_percent)?,
            rate_bps,
            queue_bytes,
        })
    }
}

impl From<Impairment> for Keys {
    fn from(of: Impairment) -> Self {
        let some = |value: f64| (value != 0.0).then_some(value);
        #[expect(
            clippy::cast_precision_loss,
            reason = "rates and queues in range are exact"
        )]
        Self {
            delay_ms: some(of.delay.as_secs_f64() * 1e3),
            jitter_ms: some(of.jitter.as_secs_f64() * 1e3),
            loss_percent: some(of.loss * 100.0),
            duplicate_percent: some(of.duplicate * 100.0),
            reorder_percent: some(of.reorder * 100.0),
            rate_mbit: of.rate_bps.map(|bps| bps as f64 / 1e6),
            queue_kbytes: of
                .rate_bps
                .filter(|_| of.queue_bytes != 0)
                .map(|_| of.queue_bytes as f64 / 1e3),
        }
    }
}

impl Impairment {
    /// Whether it can be done.
    ///
    /// # Errors
    /// A value is out of range; they name the key that a file would have, and the range.
    pub fn check(&self) -> Result<()> {
        let checked = Self::try_from(Keys::from(*self));
        checked.map(drop).map_err(|why| anyhow!(why))
    }
}

fn within(key: &str, value: f64, range: RangeInclusive<f64>) -> std::result::Result<f64, String> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (from, to) = range.into_inner();
    Err(format!("{key} = {value} is not between {from} and {to}"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "callers have checked the range"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> std::result::Result<Impairment, String> {
        toml::from_str(text).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn every_key_is_read_and_written() {
        let text = "delay_ms = 10.5\njitter_ms = 0.25\nloss_percent = 1.5\n\
                    duplicate_percent = 2\nreorder_percent = 3\nrate_mbit = 0.5\nqueue_kbytes = 64";
        let read_back = read(text).unwrap();
        let meant = Impairment {
            delay: Duration::from_micros(10_500),
            jitter: Duration::from_micros(250),
            loss: 0.015,
            duplicate: 0.02,
            reorder: 0.03,
            rate_bps: Some(500_000),
            queue_bytes: 64_000,
        };
        assert_eq!(read_back, meant);
        assert_eq!(read(&toml::to_string(&meant).unwrap()).unwrap(), meant);
        meant.check().unwrap();
    }

    #[test]
    fn nothing_set_is_no_impairment_and_is_written_as_nothing() {
        let none = read("").unwrap();
        assert!(none.is_none());
        assert_eq!(none, Impairment::default());
        assert_eq!(toml::to_string(&none).unwrap(), "");
    }

    #[test]
    fn errors_name_the_key_and_its_range() {
        for (text, says) in [
            (
                "loss_percent = 101",
                "loss_percent = 101 is not between 0 and 100",
            ),
            ("delay_ms = -1", "delay_ms = -1 is not between 0 and 60000"),
            (
                "jitter_ms = nan",
                "jitter_ms = NaN is not between 0 and 60000",
            ),
            (
                "rate_mbit = 0",
                "rate_mbit = 0 is not between 0.001 and 1000000",
            ),
            (
                "delay_ms = 1\njitter_ms = 2",
                "jitter_ms = 2 is more than delay_ms = 1",
            ),
            ("reorder_percent = 1", "reorder_percent needs delay_ms"),
            ("queue_kbytes = 1", "queue_kbytes needs rate_mbit"),
            ("delay = 1", "unknown field `delay`, expected"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(says), "{text}: {error}");
        }
        let error = Impairment::default().with_loss(f64::NAN).check();
        assert!(error.unwrap_err().to_string().contains("loss_percent"));
    }
}
