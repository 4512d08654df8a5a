//! A set of records behaves as a map from prefix to record does, whatever order records come in.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hamp::addr::Prefix;
use hamp::proto::record_set::RecordSet;
use hamp::wire::{Record, RecordAddress, Scope};
use proptest::collection::vec;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// In the order of the digest: family number, address, prefix length.
type Key = (u8, Vec<u8>, u8);

fn key(record: &Record) -> Key {
    match &record.address {
        RecordAddress::Prefix(Prefix::V4(net)) => {
            (4, net.addr().octets().to_vec(), net.prefix_len())
        }
        RecordAddress::Prefix(Prefix::V6(net)) => {
            (6, net.addr().octets().to_vec(), net.prefix_len())
        }
        RecordAddress::Unknown {
            family,
            prefix_len,
            address,
        } => (*family, address.clone(), *prefix_len),
    }
}

fn address() -> impl Strategy<Value = RecordAddress> {
    // Few addresses, so that records meet.
    let ipv4 = (0..40_u8, 24..=32_u8).prop_map(|(last, length)| {
        let address = Ipv4Addr::new(198, 18, last / 20, last);
        let prefix = Prefix::new(address.into(), length).unwrap().trunc();
        RecordAddress::Prefix(prefix)
    });
    let ipv6 = (0..40_u16, 110..=128_u8).prop_map(|(last, length)| {
        let address = Ipv6Addr::new(0x2001, 2, 0, 0x1546, 0, 0, 0, last);
        let prefix = Prefix::new(address.into(), length).unwrap().trunc();
        RecordAddress::Prefix(prefix)
    });
    let unknown = (prop_oneof![Just(1_u8), Just(5), Just(7)], 0..3_u8, 0..3_u8).prop_map(
        |(family, prefix_len, byte)| RecordAddress::Unknown {
            family,
            prefix_len,
            address: vec![byte; usize::from(byte)],
        },
    );
    prop_oneof![4 => ipv4, 4 => ipv6, 1 => unknown]
}

fn record() -> impl Strategy<Value = Record> {
    (
        address(),
        any::<bool>(),
        0..4_u8,
        any::<u16>(),
        0..5_u32,
        any::<Option<u32>>(),
    )
        .prop_map(
            |(address, draining, scope, preference, seconds, serial)| Record {
                address,
                draining,
                scope: Scope::from(scope),
                preference,
                lifetime: Duration::from_millis(u64::from(seconds) * 700),
                serial,
            },
        )
}

fn model(records: &[Record]) -> BTreeMap<Key, Record> {
    let mut map = BTreeMap::new();
    for record in records {
        if record.is_withdrawal() {
            map.remove(&key(record));
        } else {
            map.insert(key(record), record.clone());
        }
    }
    map
}

fn check(set: &RecordSet, map: &BTreeMap<Key, Record>) {
    assert_eq!(
        set.iter().collect::<Vec<_>>(),
        map.values().cloned().collect::<Vec<_>>()
    );
    assert_eq!(set.len(), map.len());
    assert_eq!(set.is_empty(), map.is_empty());
    let mut bytes = Vec::new();
    map.values().for_each(|record| record.write(&mut bytes));
    assert_eq!(set.digest(), Sha256::digest(&bytes)[..16]);
    let known: Vec<_> = map
        .values()
        .filter_map(|record| Some((record.prefix()?, record)))
        .collect();
    for (prefix, record) in &known {
        assert_eq!(set.get(prefix).as_ref(), Some(*record));
    }
    for last in 0..40_u8 {
        for target in [
            IpAddr::from([198, 18, last / 20, last]),
            IpAddr::from(Ipv6Addr::new(0x2001, 2, 0, 0x1546, 0, 0, 0, last.into())),
        ] {
            let holding = known.iter().filter(|(prefix, _)| prefix.contains(&target));
            let longest = holding.max_by_key(|(prefix, _)| prefix.prefix_len());
            let expected = longest.map(|(prefix, record)| (*prefix, (*record).clone()));
            assert_eq!(set.longest_match(target), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_set_is_what_its_records_make_it_however_they_come(
        records in vec(record(), 0..60),
        changes in vec(record(), 0..20),
    ) {
        let mut map = model(&records);
        let mut single = RecordSet::default();
        records.iter().cloned().for_each(|record| single.apply(record));
        check(&single, &map);
        let mut all = RecordSet::default();
        all.apply_all(&records);
        prop_assert_eq!(&all, &single);
        // A set that is changed leaves its copies as they were.
        let before = all.clone();
        prop_assert!(before.is_same(&all));
        all.apply_all(&changes);
        check(&before, &map);
        let both: Vec<_> = records.iter().chain(&changes).cloned().collect();
        map = model(&both);
        check(&all, &map);
        changes.iter().cloned().for_each(|record| single.apply(record));
        prop_assert_eq!(&single, &all);
        // The differences of two sets lead from one to the other.
        let mut reached = before.clone();
        for difference in before.differences(&all) {
            prop_assert_eq!(difference.before, before.get(&difference.prefix));
            prop_assert_eq!(&difference.after, &all.get(&difference.prefix));
            let withdrawal = |mut record: Record| { record.lifetime = Duration::ZERO; record };
            let gone = before.get(&difference.prefix).map(withdrawal);
            reached.apply(difference.after.or(gone).unwrap());
        }
        prop_assert_eq!(
            reached.prefixes().collect::<Vec<_>>(),
            all.prefixes().collect::<Vec<_>>()
        );
        prop_assert_eq!(all.differences(&all).count(), 0);
    }

    #[test]
    fn parts_make_the_set_that_their_records_make(parts in vec(vec(record(), 0..12), 0..5)) {
        let mut parts = parts;
        parts.iter_mut().flatten().for_each(|record| record.lifetime += Duration::from_millis(1));
        let sets: Vec<RecordSet> = parts.iter().map(|part| part.iter().collect()).collect();
        check(&RecordSet::concat(&sets), &model(&parts.concat()));
    }
}

#[test]
fn a_full_report_that_withdraws_a_record_does_not_hold_it() {
    let record = |lifetime| Record {
        address: RecordAddress::Prefix("198.18.0.1/32".parse().unwrap()),
        draining: false,
        scope: Scope::Global,
        preference: 100,
        lifetime: Duration::from_secs(lifetime),
        serial: None,
    };
    let set: RecordSet = [record(3), record(0)].into_iter().collect();
    assert!(set.is_empty());
    let set: RecordSet = [record(0), record(3)].into_iter().collect();
    assert_eq!(set.len(), 1);
}
