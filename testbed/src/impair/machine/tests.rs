//! The machine by itself, in numbers.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn arrivals(impairment: Impairment, frames: impl Iterator<Item = (u64, usize)>) -> Vec<Fate> {
    let mut direction = Direction::new(impairment);
    let mut random = random(7, 0, 0);
    frames
        .map(|(at, length)| direction.frame(at, length, &mut random))
        .collect()
}

fn at(fate: &Fate) -> Option<u64> {
    match fate {
        Fate::Arrives { at, .. } => Some(*at),
        Fate::Dropped(_) => None,
    }
}

#[test]
fn a_plain_direction_passes_frames_at_once() {
    let fates = arrivals(Impairment::default(), (0..100).map(|n| (n * 10, 1500)));
    for (n, fate) in (0..).zip(&fates) {
        let plain = Fate::Arrives {
            at: n * 10,
            twice: false,
        };
        assert_eq!(*fate, plain);
    }
}

#[test]
fn a_rate_spaces_frames_by_their_length() {
    // 1,000 bytes at 8 Mbit/s take a millisecond; an idle link begins at once.
    let impairment = Impairment::rate_mbit(8).with_delay(Duration::from_millis(5));
    let sent = [(0, 1000), (0, 1000), (0, 500), (10 * MS, 1000)];
    let fates: Vec<_> = arrivals(impairment, sent.into_iter())
        .iter()
        .map(at)
        .collect();
    let expected = [6, 7, 0, 16].map(|ms| Some(ms * MS));
    assert_eq!(fates[..2], expected[..2]);
    assert_eq!(fates[2], Some(7 * MS + MS / 2));
    assert_eq!(fates[3], expected[3]);
}

#[test]
fn rounding_does_not_change_the_rate() {
    // 64 bytes at 10 Gbit/s take 51.2 ns.
    let impairment = Impairment::rate_mbit(10_000).with_rate(10_000_000_000, 1 << 30);
    let fates = arrivals(impairment, (0..100_000).map(|_| (0, 64)));
    assert_eq!(fates.last().and_then(at), Some(5_120_000));
}

#[test]
fn the_queue_is_bounded_and_a_frame_on_an_idle_link_is_taken() {
    let impairment = Impairment::default().with_rate(8_000_000, 3_000);
    let fates = arrivals(impairment, (0..5).map(|_| (0, 1000)));
    let dropped: Vec<_> = fates.iter().map(|f| at(f).is_none()).collect();
    assert_eq!(dropped, [false, false, false, true, true]);
    assert_eq!(fates[4], Fate::Dropped(Reason::QueueFull));
    // Longer than the whole queue, alone.
    let fates = arrivals(impairment, [(0, 9000), (9 * MS, 9000)].into_iter());
    assert!(fates.iter().all(|f| at(f).is_some()));
}

#[test]
fn the_same_seed_loses_the_same_frames_whatever_else_is_set() {
    let lost = |impairment: Impairment| -> Vec<bool> {
        arrivals(impairment.with_loss(0.1), (0..1000).map(|n| (n * MS, 100)))
            .iter()
            .map(|f| at(f).is_none())
            .collect()
    };
    let plain = lost(Impairment::default());
    let count = plain.iter().filter(|l| **l).count();
    assert!((70..=130).contains(&count), "{count} of 1000 at 10 %");
    let all = Impairment::delay_ms(3)
        .with_jitter(Duration::from_millis(1))
        .with_duplicate(0.5)
        .with_reorder(0.5);
    assert_eq!(lost(all), plain);
    let mut other = random(8, 0, 0);
    assert_ne!(other.next_u64(), random(7, 0, 0).next_u64());
    assert_ne!(random(7, 0, 1).next_u64(), random(7, 0, 0).next_u64());
    assert_ne!(random(7, 1, 0).next_u64(), random(7, 0, 0).next_u64());
}

#[test]
fn certain_and_impossible_are_exactly_that() {
    let down = arrivals(Impairment::down(), (0..1000).map(|n| (n, 64)));
    assert!(down.iter().all(|f| *f == Fate::Dropped(Reason::Loss)));
    let twice = Impairment::default().with_duplicate(1.0);
    let copied = arrivals(twice, (0..1000).map(|n| (n, 64)));
    assert!(
        copied
            .iter()
            .all(|f| matches!(f, Fate::Arrives { twice: true, .. }))
    );
}

#[test]
fn a_reordered_frame_arrives_at_once_and_the_others_in_time() {
    let impairment = Impairment::delay_ms(10).with_reorder(0.2);
    let fates = arrivals(impairment, (0..1000).map(|n| (n * MS, 100)));
    let after = |ms: u64| {
        let hit = |(n, fate): &(u64, &Fate)| at(fate) == Some((n + ms) * MS);
        (0..).zip(&fates).filter(hit).count()
    };
    let (at_once, in_time) = (after(0), after(10));
    assert_eq!(at_once + in_time, 1000, "a frame at another time");
    assert!((150..=250).contains(&at_once), "{at_once} of 1000 at 20 %");
}

#[test]
fn jitter_is_even_on_both_sides_of_the_delay() {
    let impairment = Impairment::delay_ms(10).with_jitter(Duration::from_millis(4));
    // Far enough apart that the order never delays one.
    let fates = arrivals(impairment, (0..4000).map(|n| (n * 20 * MS, 100)));
    let mut quarters = [0; 4];
    for (n, fate) in (0..).zip(&fates) {
        let late = at(fate).unwrap() - n * 20 * MS;
        assert!((6 * MS..=14 * MS).contains(&late), "{late} ns");
        quarters[usize::try_from(((late - 6 * MS) / (2 * MS)).min(3)).unwrap()] += 1;
    }
    assert!(
        quarters.iter().all(|n| (880..=1120).contains(n)),
        "{quarters:?} of 1000 each"
    );
}

#[test]
fn a_change_holds_from_the_next_frame_on() {
    let mut direction = Direction::new(Impairment::delay_ms(100));
    let mut random = random(1, 0, 0);
    assert_eq!(at(&direction.frame(0, 100, &mut random)), Some(100 * MS));
    direction.set(Impairment::default());
    assert_eq!(at(&direction.frame(1, 100, &mut random)), Some(1));
    assert_eq!(direction.counts().frames, 2);
}

proptest! {
    #[test]
    fn no_frame_is_early_and_jitter_keeps_the_order(
        delay in 0..100_u64, jitter in 0..=100_u64, rate in proptest::option::of(1..1000_u64),
        gaps in proptest::collection::vec((0..5 * MS, 64..1500_usize), 1..200),
    ) {
        let jitter = jitter * delay / 100;
        let impairment = Impairment {
            delay: Duration::from_millis(delay),
            jitter: Duration::from_millis(jitter),
            rate_bps: rate.map(|mbit| mbit * 1_000_000),
            ..Impairment::default()
        };
        let mut direction = Direction::new(impairment);
        let mut random = random(3, 0, 0);
        let (mut now, mut last) = (0, 0);
        for (gap, length) in gaps {
            now += gap;
            if let Fate::Arrives { at, twice } = direction.frame(now, length, &mut random) {
                prop_assert!(at >= now + (delay - jitter) * MS && at >= last && !twice);
                // Without a rate nothing but the order can add to delay and jitter.
                prop_assert!(rate.is_some() || at <= (now + (delay + jitter) * MS).max(last));
                last = at;
            }
        }
    }
}
