//! Connections with one end, or both, in common.

use super::*;

pub(super) fn same_port(world: &mut dyn World) {
    let Names { one, two, .. } = world.names();
    let (connection, syn) = connect(world);
    accept(world, connection, &syn, one);
    end_by_reset(world, connection, one);
    let (connection, syn) = connect(world);
    accept(world, connection, &syn, two);
    talk(world, connection, two);
    // What the first member still sends meets no connection.
    let mut late = syn_ack(&syn, one);
    late.flags = Flags::ACK;
    is_reset(world, late);
    is_reset(world, syn_ack(&syn, one));
    talk(world, connection, two);
}

pub(super) fn same_port_same_member(world: &mut dyn World) {
    let one = world.names().one;
    for _ in 0..3 {
        let (connection, syn) = connect(world);
        accept(world, connection, &syn, one);
        talk(world, connection, one);
        end_by_reset(world, connection, one);
    }
}

pub(super) fn direct_connection(world: &mut dyn World) {
    let Names { one, two, .. } = world.names();
    let direct = world.connect(one);
    let direct_syn = world.sent(false);
    assert_eq!(direct_syn.destination, one);
    accept(world, direct, &direct_syn, one);
    let (connection, syn) = connect(world);
    //= docs/spec/tcp.md#the-client
    //= type=test
    //# A connection that matches a segment fully MUST get it, whatever anycast connections come
    //# after it.
    // Both ends are those of the direct connection: it gets the segment.
    world.deliver(syn_ack(&syn, one));
    let ack = world.sent(false);
    assert_eq!((ack.flags, ack.destination), (Flags::ACK, one));
    assert_eq!(world.seen(connection), Seen::Connecting);
    talk(world, direct, one);
    accept(world, connection, &syn, two);
    talk(world, connection, two);
    talk(world, direct, one);
}

//= docs/spec/tcp.md#the-client
//= type=test
//# A later connection MUST NOT break or move an earlier one, whatever ends they have.
pub(super) fn direct_later(world: &mut dyn World) {
    let one = world.names().one;
    let (connection, syn) = connect(world);
    accept(world, connection, &syn, one);
    let direct = world.connect(one);
    let direct_syn = world.sent(false);
    assert_eq!(
        (direct_syn.flags, direct_syn.destination),
        (Flags::SYN, one)
    );
    // The member knows of one connection with these ends.
    world.deliver(syn_ack(&syn, one));
    let ack = world.sent(false);
    assert_eq!((ack.flags, ack.destination), (Flags::ACK, one));
    assert_eq!(ack.sequence, syn.sequence.wrapping_add(1));
    talk(world, connection, one);
    world.close(direct, true);
    talk(world, connection, one);
}

/// A SYN from the client's port, which is in use for another anycast address.
fn connect_aliased(world: &mut dyn World, to: SocketAddr) -> (usize, Segment) {
    let client = world.names().client;
    let connection = world.connect(to);
    let syn = world.sent(false);
    assert_eq!((syn.flags, syn.destination), (Flags::SYN, to));
    //= docs/spec/tcp.md#the-client
    //= type=test
    //# A SYN whose port a SYN or a connection to another anycast address has, of the same client
    //# address and to the same service, MUST go out with another port; what comes back to it belongs
    //# to the program's port.
    assert_eq!(syn.source.ip(), client.ip());
    assert!(PORTS.contains(&syn.source.port()), "{syn:?}");
    assert_eq!(syn.acknowledgement, 0);
    (connection, syn)
}

pub(super) fn same_port_other_address(world: &mut dyn World) {
    let Names {
        one, two, anycast2, ..
    } = world.names();
    let (connection, syn) = connect(world);
    accept(world, connection, &syn, one);
    // One member serves both.
    let (other, other_syn) = connect_aliased(world, anycast2);
    accept(world, other, &other_syn, one);
    for _ in 0..2 {
        let ack = talk(world, other, one);
        assert_eq!(ack.source, other_syn.source);
        let ack = talk(world, connection, one);
        assert_eq!(ack.source, syn.source);
        is_reset(world, syn_ack(&other_syn, two));
        is_reset(world, syn_ack(&syn, two));
        world.restart();
    }
    close(world, other, one);
    talk(world, connection, one);
    end_by_reset(world, connection, one);
    // The port again, for either, with any member.
    let (connection, syn) = connect(world);
    accept(world, connection, &syn, two);
    talk(world, connection, two);
}

pub(super) fn same_port_at_once(world: &mut dyn World) {
    let Names {
        one, two, anycast2, ..
    } = world.names();
    let (connection, syn) = connect(world);
    let (other, other_syn) = connect_aliased(world, anycast2);
    is_reset(
        world,
        answer(&other_syn, two, Flags::SYN.and(Flags::ACK), 5),
    );
    accept(world, other, &other_syn, one);
    accept(world, connection, &syn, one);
    talk(world, connection, one);
    talk(world, other, one);
    end_by_reset(world, other, one);
    // And it is refused as any other.
    let (other, other_syn) = connect_aliased(world, anycast2);
    world.deliver(answer(&other_syn, one, Flags::RST.and(Flags::ACK), 0));
    assert_eq!(world.seen(other), Seen::Refused);
    let (other, other_syn) = connect_aliased(world, anycast2);
    accept(world, other, &other_syn, anycast2);
    talk(world, other, anycast2);
    close(world, other, anycast2);
    talk(world, connection, one);
}

//= docs/spec/tcp.md#the-client
//= type=test
//# A client MUST tell connections by their whole addresses.
pub(super) fn equal_low_bits(world: &mut dyn World) {
    let Names {
        one,
        two,
        anycast,
        client2,
        ..
    } = world.names();
    let (connection, syn) = connect(world);
    let other = world.connect_from(client2, anycast);
    let other_syn = world.sent(false);
    assert_eq!(other_syn.source, client2);
    accept(world, other, &other_syn, two);
    accept(world, connection, &syn, one);
    talk(world, connection, one);
    talk(world, other, two);
    end_by_reset(world, other, two);
    let again = world.connect_from(client2, anycast);
    let syn = world.sent(false);
    accept(world, again, &syn, one);
    talk(world, again, one);
    talk(world, connection, one);
}
