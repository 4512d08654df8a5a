//! A neighbour cache in user space, in virtual time.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const ONE: Mac = [2, 0, 0, 0, 0, 1];
const TWO: Mac = [2, 0, 0, 0, 0, 2];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The neighbours of a link, and the time.
struct Link {
    now: Instant,
    table: Neighbours,
}

impl Link {
    fn new(managed: Option<Class>) -> Self {
        Self {
            now: Instant::from_millis(1_000),
            table: Neighbours::new(managed, 7),
        }
    }

    fn send(&mut self, to: &str, packet: u8) -> Vec<Output> {
        self.table.send(self.now, ip(to), vec![packet]);
        self.output()
    }

    fn answer(
        &mut self,
        target: &str,
        mac: Mac,
        announcement: bool,
        overrides: bool,
    ) -> Vec<Output> {
        let answer = Answer {
            mac,
            target: ip(target),
            stated: Some(mac),
            announcement,
            overrides,
        };
        self.table.handle_answer(self.now, &answer);
        self.output()
    }

    fn output(&mut self) -> Vec<Output> {
        core::iter::from_fn(|| self.table.poll_output()).collect()
    }

    /// Goes on to the next deadline. What it brings, and after how long.
    fn next(&mut self) -> (Duration, Vec<Output>) {
        let at = self.table.poll_timeout().expect("a deadline");
        let after = at.saturating_duration_since(self.now);
        self.now = at;
        self.table.handle_timeout(at);
        (after, self.output())
    }

    fn mac(&self, of: &str) -> Option<Mac> {
        let mut known = self.table.known();
        known
            .find(|(target, _)| *target == ip(of))
            .map(|(_, mac)| mac)
    }
}

fn ask(target: &str, to: Option<Mac>) -> Vec<Output> {
    vec![Output::Ask {
        target: ip(target),
        to,
    }]
}

fn packet(to: Mac, packet: u8) -> Output {
    let packet = vec![packet];
    Output::Packet { to, packet }
}

const V4: &str = "10.0.0.1";
const V6: &str = "fd00::1";

#[test]
fn a_neighbour_is_asked_for_three_times_a_second_apart_and_then_with_the_next_packet() {
    for target in [V4, V6] {
        let mut link = Link::new(None);
        assert_eq!(link.send(target, 1), ask(target, None));
        assert_eq!(link.send(target, 2), [], "one request for both");
        assert_eq!(link.next(), (SECOND, ask(target, None)));
        assert_eq!(link.next(), (SECOND, ask(target, None)));
        assert_eq!(link.next(), (SECOND, vec![]));
        assert_eq!(link.table.poll_timeout(), None);
        assert_eq!(link.send(target, 3), ask(target, None));
        let sent = link.answer(target, ONE, false, true);
        assert_eq!(sent, [packet(ONE, 3)], "what waited before is lost");
    }
}

#[test]
fn packets_wait_for_the_answer_and_the_oldest_makes_way() {
    let mut link = Link::new(None);
    let waiting = u8::try_from(MAX_WAITING).unwrap();
    (0..waiting + 2).for_each(|n| drop(link.send(V4, n)));
    let expected: Vec<_> = (2..waiting + 2).map(|n| packet(ONE, n)).collect();
    assert_eq!(link.answer(V4, ONE, false, true), expected);
}

#[test]
fn a_neighbour_that_was_not_confirmed_is_used_then_probed_then_gone() {
    for target in [V4, V6] {
        let mut link = Link::new(None);
        link.send(target, 1);
        link.answer(target, ONE, false, true);
        let (reachable, sent) = link.next();
        assert!(
            (SECOND * 15..=SECOND * 45).contains(&reachable),
            "{reachable:?}"
        );
        assert_eq!(sent, []);
        assert_eq!(
            link.table.poll_timeout(),
            None,
            "nobody is asked without a packet"
        );
        assert_eq!(link.send(target, 2), [packet(ONE, 2)]);
        assert_eq!(link.next(), (DELAY_TIME, ask(target, Some(ONE))));
        // It answers: reachable again.
        link.answer(target, ONE, false, true);
        assert!(link.next().0 >= SECOND * 15);
        link.send(target, 3);
        // It does not.
        assert_eq!(link.next(), (DELAY_TIME, ask(target, Some(ONE))));
        assert_eq!(link.next(), (SECOND, ask(target, Some(ONE))));
        assert_eq!(link.next(), (SECOND, ask(target, Some(ONE))));
        assert_eq!(link.next(), (SECOND, vec![]));
        assert_eq!(link.send(target, 4), ask(target, None));
    }
}

#[test]
fn an_advertisement_changes_an_address_with_override_alone() {
    let mut link = Link::new(None);
    link.send(V6, 1);
    link.answer(V6, ONE, false, false);
    link.now += SECOND * 2;
    link.answer(V6, TWO, false, false);
    assert_eq!(link.mac(V6), Some(ONE));
    // But it is a doubt (RFC 4861 §7.2.5).
    link.send(V6, 2);
    assert_eq!(link.next(), (DELAY_TIME, ask(V6, Some(ONE))));
    link.answer(V6, TWO, true, true);
    assert_eq!(link.mac(V6), Some(TWO));
}

#[test]
fn of_two_arp_replies_within_a_second_the_first_stays() {
    let mut link = Link::new(None);
    link.send(V4, 1);
    link.answer(V4, ONE, false, true);
    link.now += SECOND / 2;
    link.answer(V4, TWO, false, true);
    assert_eq!(link.mac(V4), Some(ONE));
    // That of a takeover is no reply, and counts at once.
    link.answer(V4, TWO, true, true);
    assert_eq!(link.mac(V4), Some(TWO));
    link.now += SECOND;
    link.answer(V4, ONE, false, true);
    assert_eq!(link.mac(V4), Some(ONE));
}

#[test]
fn nothing_is_learnt_that_nobody_asked_for_but_from_who_asks_for_us() {
    let mut link = Link::new(None);
    link.answer(V4, ONE, true, true);
    link.answer(V6, ONE, false, true);
    assert_eq!(link.table.known().count(), 0);
    link.table.handle_request(link.now, ip(V4), ONE);
    assert_eq!(link.send(V4, 1), [packet(ONE, 1)]);
    link.table.handle_request(link.now, ip(V4), TWO);
    assert_eq!(link.send(V4, 2), [packet(TWO, 2)]);
}

#[test]
fn an_anycast_address_of_a_client_is_where_the_node_says() {
    for target in ["198.18.0.1", "2001:2:0:1546::1"] {
        let mut link = Link::new(Some(Class::default()));
        assert_eq!(link.send(target, 1), ask(target, None));
        assert_eq!(link.answer(target, TWO, false, true), []);
        link.table.manage(link.now, ip(target), Some(ONE));
        assert_eq!(link.output(), [packet(ONE, 1)]);
        link.answer(target, TWO, true, true);
        link.table.handle_request(link.now, ip(target), TWO);
        assert_eq!(link.send(target, 2), [packet(ONE, 2)]);
        link.table.manage(link.now, ip(target), Some(TWO));
        assert_eq!(link.send(target, 3), [packet(TWO, 3)]);
        link.table.manage(link.now, ip(target), None);
        assert_eq!(link.send(target, 4), ask(target, None));
    }
}

#[test]
fn without_the_node_an_entry_ends_within_a_minute_and_others_are_believed_soon() {
    let target = "198.18.0.1";
    let mut link = Link::new(Some(Class::default()));
    link.table.manage(link.now, ip(target), Some(ONE));
    link.table.release(link.now);
    assert_eq!(link.next(), (MANAGED_TIME, vec![]), "without a probe");
    assert_eq!(link.mac(target), None);
    link.send(target, 1);
    assert_eq!(link.answer(target, TWO, false, true), [packet(TWO, 1)]);
    link.table.reclaim();
    assert_eq!(link.mac(target), None);
    link.send(target, 2);
    assert_eq!(link.answer(target, TWO, false, true), []);
}

#[test]
fn the_table_is_bounded_and_managed_entries_stay() {
    let mut link = Link::new(Some(Class::default()));
    link.table.manage(link.now, ip("198.18.0.1"), Some(ONE));
    for n in 0..u32::try_from(MAX_ENTRIES).unwrap() + 10 {
        link.now += Duration::from_micros(1);
        let from = core::net::Ipv4Addr::from_bits(0x0a00_0000 + n);
        link.table.handle_request(link.now, from.into(), TWO);
    }
    assert_eq!(link.table.entries.len(), MAX_ENTRIES);
    assert_eq!(link.mac("198.18.0.1"), Some(ONE));
    assert_eq!(
        link.mac("10.0.0.0"),
        None,
        "the one unused for longest makes way"
    );
}
