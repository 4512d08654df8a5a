//! What an anycast address may answer, and what not.

use super::*;

//= docs/spec/tcp.md#the-client
//= type=test
//# A client MUST discard a SYN-ACK or a reset from an anycast address that answers no SYN of its own
//# to that address.
pub(super) fn anycast_source(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    let Names { one, anycast2, .. } = world.names();
    let Names {
        anycast, client2, ..
    } = world.names();
    let mut elsewhere = syn;
    elsewhere.source.set_ip(client2.ip());
    let forged = |syn: &Segment, source, off| {
        [Flags::SYN.and(Flags::ACK), Flags::RST.and(Flags::ACK)]
            .map(|flags| answer(syn, source, flags, off))
    };
    let asked_another = forged(&syn, anycast2, 0);
    let asked_from_another = forged(&elsewhere, anycast, 0);
    for segment in [asked_another, asked_from_another].concat() {
        world.deliver(segment);
        world.silent();
        assert_eq!(world.seen(connection), Seen::Connecting);
    }
    for segment in forged(&syn, anycast, 77) {
        world.deliver(segment);
        world.silent();
        assert_eq!(world.seen(connection), Seen::Connecting);
    }
    accept(world, connection, &syn, one);
    // And no more when it has a member.
    for segment in forged(&syn, anycast, 0) {
        world.deliver(segment);
        world.silent();
    }
    talk(world, connection, one);
}

//= docs/spec/tcp.md#the-client
//= type=test
//# A SYN-ACK from the very address that the SYN went to MUST be taken like one from a member's
//# unicast address: that address is the peer, and the connection is plain.
pub(super) fn plain(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    let Names { anycast, two, .. } = world.names();
    let ack = accept(world, connection, &syn, anycast);
    assert_eq!(ack.source, syn.source);
    world.deliver(syn_ack(&syn, anycast));
    let ack = world.sent(false);
    assert_eq!((ack.flags, ack.destination), (Flags::ACK, anycast));
    talk(world, connection, anycast);
    is_reset(world, syn_ack(&syn, two));
    world.restart();
    talk(world, connection, anycast);
    close(world, connection, anycast);
    // A port used again may have either kind.
    for member in [two, anycast] {
        let connection = world.connect_from(world.names().client2, anycast);
        let syn = world.sent(false);
        accept(world, connection, &syn, member);
        talk(world, connection, member);
        end_by_reset(world, connection, member);
    }
}

pub(super) fn plain_first(world: &mut dyn World) {
    let Names { anycast, one, .. } = world.names();
    let (connection, syn) = connect(world);
    accept(world, connection, &syn, anycast);
    for _ in 0..2 {
        is_reset(world, syn_ack(&syn, one));
        talk(world, connection, anycast);
    }
    world.deliver(answer(&syn, one, Flags::RST.and(Flags::ACK), 0));
    talk(world, connection, anycast);
    end_by_reset(world, connection, anycast);
}

pub(super) fn plain_refused(world: &mut dyn World) {
    let anycast = world.names().anycast;
    let (connection, syn) = connect(world);
    world.deliver(answer(&syn, anycast, Flags::RST.and(Flags::ACK), 0));
    assert_eq!(world.seen(connection), Seen::Refused);
    world.silent();
}
