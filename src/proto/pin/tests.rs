//! One member's address, asked for, contested and confirmed, in virtual time.

use std::sync::Arc;

use super::*;
use crate::addr::Class;
use crate::proto::Timing;
use crate::proto::record_set::RecordSet;
use crate::proto::trust::Standing;
use crate::proto::view::{Limits, Source};
use crate::wire::{AuthorityId, ChainParameters, Roles, Statement, StatementKind};

const START: Instant = Instant::from_millis(5_000);
const ADDRESS: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 0, 0, 1));
const M: Mac = [2, 0, 0, 0, 0, 1];
const X: Mac = [2, 0, 0, 0, 0, 0x66];
const MEMBER: MemberId = MemberId([1; 16]);

/// A view of one member, and its pins.
struct Link {
    view: View,
    pins: Pins,
    now: Instant,
    counter: u32,
}

impl Link {
    fn new(named: bool) -> Self {
        let timing = Timing::default();
        let mut link = Self {
            view: View::new(Class::default(), Limits::default(), timing, [7; 32]),
            pins: Pins::default(),
            now: START,
            counter: 0,
        };
        link.state(MEMBER, M, named);
        link
    }

    /// A member states [`ADDRESS`].
    fn state(&mut self, member: MemberId, mac: Mac, named: bool) {
        self.counter += 1;
        let standing = Standing {
            member,
            roles: Roles {
                member: true,
                router: false,
            },
            prefixes: vec![],
            hosts: named.then_some(ADDRESS.into()).into_iter().collect(),
            limit: 1,
            authority: AuthorityId([2; 16]),
            serial: 1,
            not_before: 0,
            expires: 1,
        };
        let statement = Statement {
            kind: StatementKind::Full { part: 0, parts: 1 },
            interface: 1,
            epoch: 1,
            counter: self.counter,
            time: Duration::ZERO,
            generation: 1,
            digest: RecordSet::default().digest(),
            ipv4: Some([10, 0, 0, 1].into()),
            ipv6: None,
            mac,
            hello_interval: Duration::from_secs(1),
            dead_hellos: 3,
            router: false,
            chain: ChainParameters {
                end: [0; 16],
                base: 0,
                length: 1024,
            },
            records: vec![],
            options: vec![],
        };
        let source = Source {
            mac,
            address: ADDRESS,
        };
        let standing = Arc::new(standing);
        let view = &mut self.view;
        view.handle_statement(self.now, source, member, &statement, Some(&standing))
            .unwrap();
        self.pins.update(self.now, view, true);
    }

    fn pass(&mut self, millis: u64) -> News {
        self.now += Duration::from_millis(millis);
        self.pins.handle_timeout(self.now);
        self.pins.take_news()
    }

    fn answer(&mut self, mac: Mac) -> Option<Contest> {
        self.pins.handle_claim(self.now, ADDRESS, [mac; 2])
    }

    fn proved(&self) -> Option<bool> {
        self.pins.is_proved(MEMBER)
    }
}

//= docs/spec/trust.md#pins
//= type=test
//# Before an address is used so, a host MUST ask for it by ARP or neighbour discovery, and wait 100
//# ms for answers.
#[test]
fn an_address_is_asked_for_before_it_is_used() {
    let mut link = Link::new(false);
    let news = link.pass(0);
    assert_eq!(news.questions, [ADDRESS]);
    assert!(news.entries.is_empty());
    assert_eq!(link.proved(), None);
    assert_eq!(link.answer(M), None);
    assert!(link.pass(99).entries.is_empty());
    let news = link.pass(1);
    assert_eq!(news.entries, [(ADDRESS, Some(M))]);
    assert_eq!(news.members, [MEMBER]);
    assert_eq!(link.proved(), Some(true));
    // Confirmed while it lives, and given back when it does not.
    assert!(link.pass(4_999).entries.is_empty());
    assert_eq!(link.pass(1).entries, [(ADDRESS, Some(M))]);
    link.view.clear();
    link.pins.update(link.now, &link.view, true);
    assert_eq!(link.pins.take_news().entries, [(ADDRESS, None)]);
    assert_eq!(link.pins.poll_timeout(), None);
}

//= docs/spec/trust.md#pins
//= type=test
//# An address for which nobody else answers three questions is its member's.
#[test]
fn nobodys_answer_is_no_other_answer() {
    let mut link = Link::new(false);
    for _ in 0..3 {
        assert_eq!(link.pass(100).questions, [ADDRESS]);
        assert_eq!(link.proved(), None);
    }
    let news = link.pass(100);
    assert!(news.questions.is_empty());
    assert_eq!(link.proved(), Some(true));
}

//= docs/spec/trust.md#pins
//= type=test
//# A host that gets another answer within 3 s after it asked MUST NOT use the address, and SHOULD
//# tell people who answered; it asks again every 5 s.
#[test]
fn an_address_for_which_another_answers_is_not_used() {
    for late in [0, 50, 2_900] {
        let mut link = Link::new(false);
        link.pass(0);
        link.answer(M);
        link.pass(100);
        link.pass(late);
        let told = link.answer(X).unwrap();
        assert_eq!((told.member, told.mac, told.address), (MEMBER, X, ADDRESS));
        assert_eq!(link.proved(), Some(false), "{late}");
        assert_eq!(link.pins.take_news().entries, [(ADDRESS, None)]);
        assert!(link.pass(4_999).questions.is_empty());
        assert_eq!(link.pass(1).questions, [ADDRESS]);
        link.answer(M);
        link.pass(100);
        assert_eq!(link.proved(), Some(true));
        // Whoever answers later is told of, and changes nothing.
        link.pass(3_000);
        assert_eq!(link.answer(X).map(|told| told.mac), Some(X));
        assert_eq!(link.proved(), Some(true));
    }
}

//= docs/spec/trust.md#pins
//= type=test
//# An address that the certificate names needs no proof, and neither does one of which the same
//# member, or a member at the same link-layer address, has given it.
//= docs/spec/trust.md#pins
//= type=test
//# When the member states another link-layer address, the entry MUST follow at once.
#[test]
fn a_named_address_needs_no_proof_and_a_proved_one_moves_with_its_member() {
    let mut link = Link::new(true);
    let news = link.pass(0);
    assert_eq!(
        (news.questions, news.entries),
        (vec![], vec![(ADDRESS, Some(M))])
    );
    assert!(link.answer(X).is_some());
    assert_eq!(link.proved(), Some(true));

    let mut link = Link::new(false);
    link.pass(0);
    link.answer(M);
    link.pass(100);
    link.pass(3_000);
    link.state(MEMBER, X, false);
    let news = link.pass(0);
    assert_eq!(
        (news.questions, news.entries),
        (vec![], vec![(ADDRESS, Some(X))])
    );
    // Its next key, on the same host.
    let next = MemberId([2; 16]);
    link.state(next, X, false);
    link.view
        .forget(|peer| peer.standing().is_some_and(|s| s.member == MEMBER));
    link.pins.update(link.now, &link.view, true);
    assert!(link.pass(0).questions.is_empty());
    assert_eq!(link.pins.is_proved(next), Some(true));
    assert_eq!(link.pins.iter().next().unwrap().1.member, next);
}

#[test]
fn a_kernel_that_lost_its_entry_gets_it_again() {
    let mut link = Link::new(true);
    link.pass(0);
    link.pins.handle_question(ADDRESS);
    assert_eq!(link.pins.poll_timeout(), Some(Instant::ZERO));
    assert_eq!(link.pins.take_news().entries, [(ADDRESS, Some(M))]);
}
