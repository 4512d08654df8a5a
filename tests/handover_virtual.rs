//! Leaves that wait for a successor's sign of life, in virtual time.

mod net;

use std::time::Duration;

use hamp::addr::Prefix;
use net::{Net, V4, V6, ip};

const SECOND: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(50);

fn hand_over(net: &mut Net, host: usize) {
    let prefixes = [V4, V6].map(|address| Prefix::from(ip(address)));
    net.act(host, |node, now| node.hand_over(now, &prefixes, true));
}

/// What a host serves of the two, by its own account.
fn served(net: &Net, host: usize) -> usize {
    net.link(host).member().records().prefixes().count()
}

#[test]
fn a_leave_ends_when_the_successor_was_heard() {
    for hello in [SECOND, FAST] {
        let mut net = Net::first_link(31, 2, hello);
        hand_over(&mut net, 0);
        net.run_for(Duration::from_millis(900));
        assert_eq!(served(&net, 0), 2, "it serves on");
        net.run_for(hello + Duration::from_millis(300));
        assert_eq!((served(&net, 0), served(&net, 1)), (0, 2));
        assert_eq!(net.act(0, |node, _| node.poll_kept()), None);
    }
}

#[test]
fn of_members_that_leave_in_the_same_moment_exactly_one_stays() {
    for hello in [SECOND, FAST] {
        for (seed, members) in (40..50).flat_map(|seed| [(seed, 2), (seed, 3)]) {
            let mut net = Net::first_link(seed, members, hello);
            let hosts = 0..usize::from(members);
            hosts.clone().for_each(|host| hand_over(&mut net, host));
            net.run_for(4 * SECOND);
            let stay: Vec<_> = hosts
                .clone()
                .filter(|host| served(&net, *host) > 0)
                .collect();
            let highest = hosts
                .clone()
                .max_by_key(|host| net.link(*host).member().identity().id);
            assert_eq!(
                stay,
                Vec::from_iter(highest),
                "seed {seed}, {members} members"
            );
            assert_eq!(net.owners(V4), stay);
            assert_eq!(net.owners(V6), stay);
            for host in hosts {
                let kept = net.act(host, |node, _| node.poll_kept());
                assert_eq!(kept.is_some(), stay.contains(&host));
                assert!(kept.is_none_or(|kept| kept.all_leave && kept.everything));
            }
        }
    }
}

#[test]
fn a_leave_is_taken_back_when_the_successor_has_just_died() {
    for hello in [SECOND, FAST] {
        let mut net = Net::first_link(32, 2, hello);
        net.freeze(1);
        // What it said last is on its way.
        net.run_for(Duration::from_millis(10));
        hand_over(&mut net, 0);
        net.run_for(4 * SECOND);
        let kept = net.act(0, |node, _| node.poll_kept()).expect("taken back");
        assert!(!kept.all_leave && kept.prefixes.len() == 2);
        assert_eq!((served(&net, 0), net.owners(V4)), (2, vec![0]));
    }
}

#[test]
fn a_shutdown_does_not_wait_for_a_successor() {
    let mut net = Net::first_link(33, 2, SECOND);
    net.freeze(1);
    hand_over(&mut net, 0);
    net.act(0, hamp::node::Node::shutdown);
    net.run_for(SECOND + Duration::from_millis(100));
    assert_eq!(served(&net, 0), 0);
    assert_eq!(net.act(0, |node, _| node.poll_kept()), None);
}

#[test]
fn what_is_joined_again_while_it_is_left_stays() {
    let mut net = Net::first_link(34, 2, SECOND);
    hand_over(&mut net, 0);
    net.run_for(SECOND / 2);
    net.join(0, &format!("{V4}/32"));
    net.run_for(4 * SECOND);
    assert_eq!(served(&net, 0), 1);
}
