//! Impairments by the kernel's netem, where it has one and that is asked for.
//!
//! The links are opened as for the relay, but the kernel passes frames between the inner ends
//! (`mirred`) and netem on each of them impairs what leaves it. netem decides about what the
//! kernel has put together as about one frame, and its random numbers are its own.

use std::fmt::Write as _;
use std::sync::OnceLock;

use anyhow::{Result, bail};

use super::{Impairment, QUEUE_BYTES};

/// The environment variable that chooses: `relay` (the default) or `netem`.
pub(super) const VARIABLE: &str = "HAMP_LAB_IMPAIR";
/// Packets in flight; netem's own default of 1000 would cut 100 ms of 1 Gbit/s.
const LIMIT: u32 = 100_000;

/// How links are impaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// By a thread of ours.
    Relay,
    /// By the kernel.
    Netem,
}

impl Means {
    /// As the environment says it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Netem => "netem",
        }
    }
}

/// What the environment asks for.
pub(super) fn means() -> Result<Means> {
    let Ok(asked) = std::env::var(VARIABLE) else {
        return Ok(Means::Relay);
    };
    chosen(&asked, has_netem)
}

fn chosen(asked: &str, has_netem: impl FnOnce() -> bool) -> Result<Means> {
    match asked {
        "relay" | "" => Ok(Means::Relay),
        "netem" if has_netem() => Ok(Means::Netem),
        "netem" => bail!(
            "{VARIABLE}=netem, but `tc qdisc add … netem` fails: this kernel has no netem \
             (modprobe sch_netem, or CONFIG_NET_SCH_NETEM), or tc is missing (apt-get install \
             iproute2); unset {VARIABLE} for the relay, which needs neither"
        ),
        other => bail!("{VARIABLE}={other} is neither relay nor netem"),
    }
}

/// Whether this kernel has netem: tried once, on the loopback interface of a scratch namespace.
fn has_netem() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let scratch = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_ok()
                && crate::lab::tc("qdisc add dev lo root netem delay 1ms\n", None).is_ok()
        });
        scratch.join().unwrap_or(false)
    })
}

/// Lines for `tc -batch` that pass all frames that come to one interface out of the other.
pub(super) fn connect(a: &str, b: &str) -> String {
    let mut text = String::new();
    for (from, to) in [(a, b), (b, a)] {
        // NOTE(unwrap): writing to a String cannot fail, here and below.
        writeln!(text, "qdisc add dev {from} clsact").unwrap();
        writeln!(
            text,
            "filter add dev {from} ingress protocol all u32 match u32 0 0 action mirred egress \
             redirect dev {to}"
        )
        .unwrap();
    }
    text
}

/// Lines for `tc -batch` that impair what leaves an interface. Each needs another handle than the
/// one before: netem keeps what a change of the same one does not mention.
pub(super) fn impair(interface: &str, handle: u16, how: &Impairment) -> String {
    let mut text =
        format!("qdisc replace dev {interface} root handle {handle:x}: netem limit {LIMIT}");
    let delay = how.delay.as_nanos();
    if delay > 0 {
        write!(text, " delay {}", micros(delay)).unwrap();
        if !how.jitter.is_zero() {
            write!(text, " {}", micros(how.jitter.as_nanos())).unwrap();
        }
    }
    for (word, probability) in [
        ("loss", how.loss),
        ("duplicate", how.duplicate),
        ("reorder", how.reorder),
    ] {
        if probability > 0.0 {
            write!(text, " {word} {}%", probability * 100.0).unwrap();
        }
    }
    if how.rate_bps.is_none() && !how.jitter.is_zero() && how.reorder == 0.0 {
        // With a rate netem keeps the order; this one costs less than a nanosecond a frame.
        text.push_str(" rate 1000000000000000bit");
    }
    text.push('\n');
    if let Some(rate) = how.rate_bps {
        let queue = match how.queue_bytes {
            0 => QUEUE_BYTES,
            bytes => bytes,
        };
        // tbf takes frames apart that are larger than the burst.
        writeln!(
            text,
            "qdisc replace dev {interface} parent {handle:x}: tbf rate {rate}bit burst 1600 \
             limit {queue}"
        )
        .unwrap();
    }
    text
}

/// Microseconds with three places: tc takes fractions.
fn micros(nanos: u128) -> String {
    format!("{}.{:03}us", nanos / 1000, nanos % 1000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_asked_for_is_had_or_the_error_names_the_remedy() {
        let chosen = |asked: &str, has: bool| chosen(asked, || has);
        assert_eq!(chosen("", false).unwrap(), Means::Relay);
        assert_eq!(chosen("relay", true).unwrap(), Means::Relay);
        assert_eq!(chosen("netem", true).unwrap(), Means::Netem);
        let absent = chosen("netem", false).unwrap_err().to_string();
        assert!(absent.contains("modprobe sch_netem"), "{absent}");
        let unknown = chosen("magic", true).unwrap_err().to_string();
        assert!(unknown.contains("neither relay nor netem"), "{unknown}");
    }

    #[test]
    fn an_impairment_becomes_the_words_of_tc() {
        let all = Impairment::delay_ms(10)
            .with_jitter(Duration::from_nanos(1_500_250))
            .with_loss(0.01)
            .with_duplicate(0.5)
            .with_reorder(0.25);
        assert_eq!(
            impair("a", 1, &all),
            "qdisc replace dev a root handle 1: netem limit 100000 delay 10000.000us 1500.250us \
             loss 1% duplicate 50% reorder 25%\n"
        );
        assert_eq!(
            impair("a", 1, &Impairment::default()),
            "qdisc replace dev a root handle 1: netem limit 100000\n"
        );
        let rate = Impairment::default().with_rate(8_000_000, 64_000);
        assert_eq!(
            impair("relay~0", 0x1a, &rate),
            "qdisc replace dev relay~0 root handle 1a: netem limit 100000\n\
             qdisc replace dev relay~0 parent 1a: tbf rate 8000000bit burst 1600 \
             limit 64000\n"
        );
        let jitter = Impairment::delay_ms(2).with_jitter(Duration::from_millis(1));
        assert!(impair("a", 1, &jitter).ends_with("1000.000us rate 1000000000000000bit\n"));
    }

    #[test]
    fn inner_ends_are_connected_both_ways() {
        let text = connect("x", "y");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[1].contains("dev x ingress") && lines[1].ends_with("redirect dev y"));
        assert!(lines[3].contains("dev y ingress") && lines[3].ends_with("redirect dev x"));
    }
}
