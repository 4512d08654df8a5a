#!/usr/bin/env python3
"""A member and a listener of the membership protocol, from docs/spec alone, in Python alone.

It joins a link, serves prefixes, sends hellos, answers queries, renews its chain and leaves, and it
keeps a table of the other members. tests/interop.rs lets it work with hamp.

    member.py INTERFACE NAME HELLO_MS CHAIN_LENGTH PREFIX... [--key FILE --certificate FILE]

It prints a JSON line for each thing that happens, and leaves when its standard input says `leave`.
The addresses must be on the host already: who answers ARP and neighbour discovery is the kernel.
"""
import argparse
import base64
import fcntl
import hashlib
import ipaddress
import json
import os
import pathlib
import random
import select
import socket
import struct
import sys
import time

# For a member with a key: ed25519.py, beside this file or among the golden packets.
sys.path.append(str(pathlib.Path(__file__).parent.parent / "golden"))
PORT, GROUP4, GROUP6 = 1021, "224.0.0.254", "ff02::114"
REPORT, HELLO, ANCHOR, QUERY = 1, 2, 3, 4
EVERYBODY = bytes(16)
CLASS = [ipaddress.ip_network("198.18.0.0/16"), ipaddress.ip_network("2001:2:0:1546::/112")]
DRIFT = 500e-6
LISTENING, DRAINING, RATE, MAX_HASHES = 0.5, 1.0, 0.3, 4096


def u(size, value):
    return value.to_bytes(size, "big")


def sha(data, size):
    return hashlib.sha256(data).digest()[:size]


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def step(member, index, value):
    return sha(b"hamp chain step1" + member + u(4, index) + value, 16)


def unarmoured(path):
    lines = [line for line in pathlib.Path(path).read_text().splitlines() if line and line[0] != "-"]
    return base64.b64decode("".join(lines))


class Bad(Exception):
    pass


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if self.at + count > len(self.data):
            raise Bad("truncated")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, count):
        return int.from_bytes(self.take(count), "big")

    def rest(self):
        return len(self.data) - self.at


# --- records --------------------------------------------------------------------------------------

def record(net, lifetime_ms, draining=False, preference=100, scope=0):
    address = net.network_address.packed
    return (u(1, net.version) + u(1, 12 + len(address)) + u(1, net.prefixlen) + u(1, int(draining))
            + u(1, scope) + u(1, 0) + u(2, preference) + u(4, lifetime_ms) + address)


def read_record(reader):
    """Its key, which is what the digest is ordered by, its canonical encoding, prefix and lifetime."""
    family, length, prefix_length, flags, scope, _, preference, lifetime = struct.unpack(
        "!BBBBBBHI", reader.take(12))
    tail = 4 if flags & 2 else 0
    if length < 12 + tail:
        raise Bad("record length")
    address, serial = reader.take(length - 12 - tail), reader.take(tail)
    canonical = struct.pack("!BBBBBBHI", family, length, prefix_length, flags & 3, scope, 0, preference,
                            lifetime) + address + serial
    # What is no prefix of the class counts for the digest alone.
    prefix = None
    if (family, len(address)) in ((4, 4), (6, 16)) and prefix_length <= 8 * len(address):
        try:
            prefix = ipaddress.ip_network((address, prefix_length))
        except ValueError:
            prefix = None
        if prefix and not any(prefix.version == net.version and prefix.subnet_of(net) for net in CLASS):
            prefix = None
    return (family, address, prefix_length), canonical, prefix, lifetime


def digest(records):
    return sha(b"".join(records[key][0] for key in sorted(records)), 16)


# --- others ---------------------------------------------------------------------------------------

class Peer:
    """What is known of another member."""

    def __init__(self):
        self.version, self.generation, self.records, self.chains = (0, 0), None, {}, []
        self.parts = {}

    def dead_at(self):
        return self.heard + self.dead

    def member_time(self, now):
        return self.time + (now - self.told)

    def allowance(self, now):
        return self.dead + DRIFT * (now - self.told)


class Listener:
    def __init__(self, own, ask):
        self.own, self.ask, self.peers = own, ask, {}

    def expire(self, now):
        for member in [m for m, peer in self.peers.items() if now >= peer.dead_at()]:
            del self.peers[member]
            say("gone", member=member.hex())

    def statement(self, member, kind, reader, source, now):
        interface, epoch, counter, time_ms, generation = struct.unpack("!IQIQI", reader.take(28))
        records_digest, ipv4, ipv6, mac = (reader.take(n) for n in (16, 4, 16, 6))
        dead_hellos, _, interval = struct.unpack("!BBI", reader.take(6))
        end, base, length = reader.take(16), reader.number(4), reader.number(4)
        if not dead_hellos or not 10 <= interval <= 60000 or length > MAX_HASHES or base + length >= 2**32:
            raise Bad("range")
        part, records, since = (0, 1), [], None
        if kind == REPORT:
            delta, _, number, parts, since, count = struct.unpack("!BBHHIH", reader.take(12))
            if delta > 1 or (delta == 0 and number >= parts):
                raise Bad("report kind")
            part, since = (number, parts), since if delta else None
            records = [read_record(reader) for _ in range(count)]
        options = read_options(reader)
        if source[0] != mac or source[1] not in (ipv4, ipv6):
            raise Bad("source")
        peer = self.peers.get(member) or Peer()
        if (epoch, counter) <= peer.version:
            raise Bad("old or a copy")
        if epoch > peer.version[0]:
            peer.chains, peer.generation = [], None
        peer.version, peer.addresses = (epoch, counter), (mac, ipv4, ipv6)
        peer.interval, peer.dead = interval / 1000, interval * dead_hellos / 1000
        peer.heard = peer.told = now
        peer.time = time_ms / 1000
        self.peers[member] = peer
        chain = sha(b"hamp chain id 1" + member + u(4, interface) + u(8, epoch) + u(4, generation)
                    + records_digest + end + u(4, base) + u(4, length), 8)
        if all(known != chain for known, *_ in peer.chains):
            # A new generation retires the old chain; an anchor of the same one adds the next.
            kept = peer.chains if generation == peer.generation and len(peer.chains) < 2 else []
            peer.chains = kept + [[chain, end, base, base + length]]
        self.take(member, peer, kind, generation, records_digest, part, since, records)
        return options

    def take(self, member, peer, kind, generation, records_digest, part, since, records):
        if generation == peer.generation:
            return
        if kind == ANCHOR or since is not None:
            if kind == ANCHOR or peer.generation is None or peer.generation < since:
                return self.ask(member)
            now_there = dict(peer.records)
            for key, canonical, prefix, lifetime in records:
                now_there.pop(key, None)
                if lifetime:
                    now_there[key] = canonical, prefix
        else:
            if peer.parts.get("of") != (generation, part[1]):
                peer.parts = {"of": (generation, part[1])}
            peer.parts[part[0]] = records
            if len(peer.parts) <= part[1]:
                return
            now_there = {key: (canonical, prefix) for n in range(part[1])
                         for key, canonical, prefix, lifetime in peer.parts[n]}
        if digest(now_there) != records_digest:
            return self.ask(member)
        peer.generation, peer.records, peer.parts = generation, now_there, {}
        say("peer", member=member.hex(), generation=generation,
            prefixes=[str(prefix) for _, prefix in now_there.values() if prefix])

    def hello(self, member, reader, source, now):
        chain, index, value = reader.take(8), reader.number(4), reader.take(16)
        if reader.rest():
            raise Bad("trailing")
        peer = self.peers.get(member)
        tail = peer and next((tail for tail in peer.chains if tail[0] == chain), None)
        if not tail:
            self.ask(member)
            raise Bad("unknown chain")
        if source[0] != peer.addresses[0] or source[1] not in peer.addresses[1:]:
            raise Bad("source")
        if index == tail[2]:
            raise Bad("a copy")
        off = index * peer.interval - peer.member_time(now)
        if abs(off) > peer.allowance(now) or not tail[2] < index <= tail[3]:
            self.ask(member)
            raise Bad("index")
        below = value
        for at in range(index, tail[2], -1):
            below = step(member, at, below)
        if below != tail[1]:
            raise Bad("value")
        tail[1:3] = value, index
        del peer.chains[:peer.chains.index(tail)]
        peer.heard = now


def read_options(reader):
    options = []
    while reader.rest():
        kind, length = reader.number(2), reader.number(2)
        options.append((kind, reader.take(length)))
        if kind == 1 and length % 8:
            raise Bad("nonces")
    return options


# --- oneself --------------------------------------------------------------------------------------

class Member:
    """What this host says."""

    def __init__(self, link, arguments):
        self.link, self.hello_ms, self.length = link, arguments.hello_ms, arguments.chain_length
        self.key = self.certificate = None
        self.id = sha(b"hamp id without key 1" + link.mac + arguments.name.encode(), 16)
        if arguments.key:
            import ed25519
            self.sign_with, self.key = ed25519.sign, unarmoured(arguments.key)
            self.certificate = unarmoured(arguments.certificate)
            self.id = sha(b"hamp id 1" + ed25519.public(self.key), 16)
        self.prefixes = {ipaddress.ip_network(prefix): 3 * self.hello_ms for prefix in arguments.prefix}
        self.draining = False
        self.epoch, self.began = time.time_ns() // 1_000_000, time.monotonic()
        self.counter = self.queries = self.generation = 0
        self.active, self.next_chain, self.asked = False, None, {}
        self.nonces, self.anchor_is_enough, self.answer_at, self.answered = [], True, None, -1.0
        self.repeat_at = None
        self.listener = Listener(self.id, self.ask)
        self.ask(EVERYBODY)

    def time_ms(self):
        return int((time.monotonic() - self.began) * 1000)

    def index(self):
        return self.time_ms() // self.hello_ms

    def new_chain(self, base):
        value, values = os.urandom(16), {}
        for index in range(base + self.length, base, -1):
            values[index] = value
            value = step(self.id, index, value)
        return {"end": value, "base": base, "values": values,
                "id": sha(b"hamp chain id 1" + self.id + u(4, self.link.index) + u(8, self.epoch)
                          + u(4, self.generation) + digest(self.records()) + value + u(4, base)
                          + u(4, self.length), 8)}

    def records(self):
        return {(net.version, net.network_address.packed, net.prefixlen):
                (record(net, lifetime, self.draining), net)
                for net, lifetime in self.prefixes.items()}

    def send(self, kind, fields, options=()):
        if self.certificate and kind != HELLO:
            options = [(2, self.certificate), *options]
        body = b"".join(fields) + b"".join(u(2, k) + u(2, len(v)) + v for k, v in options)
        signed = bool(self.key) and kind != HELLO
        head = u(1, 0x10 | kind) + u(1, int(signed)) + u(2, 20 + len(body) + 64 * signed) + self.id
        text = head + body
        self.link.send(text + (self.sign_with(self.key, text) if signed else b""))

    def ask(self, target):
        now = time.monotonic()
        if now - self.asked.get(target, -1.0) < min(RATE, self.hello_ms / 1000):
            return
        self.asked[target] = now
        self.queries += 1
        self.send(QUERY, [u(8, self.epoch), u(4, self.queries), target, os.urandom(8),
                          u(2, min(100, self.hello_ms // 4)), u(2, 0), u(4, 0)])

    def statement(self, chain):
        self.counter += 1
        return [u(4, self.link.index), u(8, self.epoch), u(4, self.counter), u(8, self.time_ms()),
                u(4, self.generation), digest(self.records()), self.link.ipv4, self.link.ipv6,
                self.link.mac, u(1, 3), u(1, 0), u(4, self.hello_ms), chain["end"],
                u(4, chain["base"]), u(4, self.length)]

    def report(self, records, since=None, nonces=()):
        kind = [u(1, int(since is not None)), u(1, 0), u(2, 0), u(2, 1), u(4, since or 0),
                u(2, len(records))]
        options = [(1, b"".join(nonces))] if nonces else []
        self.send(REPORT, self.statement(self.chain) + kind + records, options)

    def full(self, nonces=()):
        self.report([encoded for encoded, _ in self.records().values()], nonces=nonces)

    def changed(self, records):
        """A new generation, with a chain of its own."""
        before, self.generation = self.generation, self.generation + 1
        self.chain, self.next_chain = self.new_chain(self.index()), None
        self.change = records, before
        self.report(records, before) if before else self.full()
        self.repeat_at = time.monotonic() + random.random()

    def on_query(self, reader, now):
        reader.take(12)
        target, nonce, wait_ms = reader.take(16), reader.take(8), reader.number(2)
        flags, _ = reader.number(2), reader.number(4)
        read_options(reader)
        if not self.active or target not in (self.id, EVERYBODY) or nonce in self.nonces:
            return
        if len(self.nonces) < 32:
            self.nonces.append(nonce)
        self.anchor_is_enough &= bool(flags & 2)
        if self.answer_at is None:
            earliest = self.answered + min(RATE, self.hello_ms / 1000)
            self.answer_at = max(now + random.random() * wait_ms / 1000, earliest)

    def tick(self, now):
        """Does what is due; when it has to be called again."""
        self.listener.expire(now)
        if not self.active:
            if now - self.began < LISTENING:
                return self.began + LISTENING
            self.active = True
            self.changed([])
            self.shown = self.index()
            say("active", member=self.id.hex())
        if self.index() > self.shown:
            self.shown = self.index()
            self.show(self.shown)
        if self.repeat_at and now >= self.repeat_at:
            self.repeat_at = None
            records, before = self.change
            self.report(records, before) if before else self.full()
        if self.answer_at and now >= self.answer_at:
            nonces, self.nonces, self.answer_at, self.answered = self.nonces, [], None, now
            if self.anchor_is_enough:
                self.send(ANCHOR, self.statement(self.chain), [(1, b"".join(nonces))])
            else:
                self.full(nonces)
            self.anchor_is_enough = True
            say("answered", nonces=len(nonces))
        next_hello = self.began + (self.index() + 1) * self.hello_ms / 1000
        return min([next_hello] + [at for at in (self.repeat_at, self.answer_at) if at])

    def show(self, index):
        if index not in self.chain["values"] and self.next_chain and index > self.chain["base"]:
            self.chain, self.next_chain = self.next_chain, None
            say("renewed", base=self.chain["base"])
        if index in self.chain["values"]:
            self.send(HELLO, [self.chain["id"], u(4, index), self.chain["values"][index]])
        last = self.chain["base"] + self.length
        if not self.next_chain and index >= last - self.length // 8:
            self.next_chain = self.new_chain(last)
            self.send(ANCHOR, self.statement(self.next_chain))

    def leave(self):
        everywhere = self.listener.peers.values()
        if any(key in peer.records for peer in everywhere for key in self.records()):
            self.draining = True
            self.changed([encoded for encoded, _ in self.records().values()])
            yield DRAINING
        gone = [record(net, 0) for net in self.prefixes]
        self.prefixes = {}
        self.changed(gone)
        yield max(0.0, self.repeat_at - time.monotonic()) + 0.05


# --- the link -------------------------------------------------------------------------------------

def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Link:
    def __init__(self, interface):
        self.index = socket.if_nametoindex(interface)
        about = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        request = struct.pack("256s", interface.encode())
        self.mac = fcntl.ioctl(about, 0x8927, request)[18:24]  # SIOCGIFHWADDR
        self.ipv4 = fcntl.ioctl(about, 0x8915, request)[20:24]  # SIOCGIFADDR
        rows = [line.split() for line in pathlib.Path("/proc/net/if_inet6").read_text().splitlines()]
        # The first of global scope ("00") that is no anycast address.
        own = [bytes.fromhex(row[0]) for row in rows if row[5] == interface and row[3] == "00"]
        self.ipv6 = next(one for one in own if ipaddress.ip_address(one) not in CLASS[1])
        self.frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.frames.bind((interface, 3))
        # The kernel tells switches that snoop of the groups, for as long as these are open.
        self.four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.four.bind((socket.inet_ntoa(self.ipv4), PORT))
        membership = struct.pack("=4s4si", socket.inet_aton(GROUP4), self.ipv4, self.index)
        self.four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        self.six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.six.bind((socket.inet_ntop(socket.AF_INET6, self.ipv6), PORT))
        group = socket.inet_pton(socket.AF_INET6, GROUP6) + struct.pack("=i", self.index)
        self.six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)

    def send(self, payload):
        """Frames by hand: what a kernel's socket sends over a virtual cable has no checksum yet."""
        ports = u(2, PORT) + u(2, PORT) + u(2, 8 + len(payload))
        group = socket.inet_aton(GROUP4)
        head = bytes.fromhex("45c0") + u(2, 28 + len(payload)) + bytes.fromhex("00004000ff11")
        head += u(2, checksum(head + u(2, 0) + self.ipv4 + group)) + self.ipv4 + group
        pseudo = self.ipv4 + group + u(2, 17) + u(2, 8 + len(payload))
        udp = ports + u(2, checksum(pseudo + ports + u(2, 0) + payload) or 0xFFFF) + payload
        self.frames.send(bytes.fromhex("01005e0000fe") + self.mac + u(2, 0x0800) + head + udp)
        group = socket.inet_pton(socket.AF_INET6, GROUP6)
        head = bytes.fromhex("60000000") + u(2, 8 + len(payload)) + bytes.fromhex("11ff") + self.ipv6 + group
        pseudo = self.ipv6 + group + u(4, 8 + len(payload)) + u(4, 17)
        udp = ports + u(2, checksum(pseudo + ports + u(2, 0) + payload) or 0xFFFF) + payload
        self.frames.send(bytes.fromhex("333300000114") + self.mac + u(2, 0x86DD) + head + udp)

    def receive(self):
        """The next message: link-layer source, IP source, payload; None if it is something else."""
        frame, (_, _, kind, *_) = self.frames.recvfrom(65536)
        if kind == socket.PACKET_OUTGOING:
            return None
        if frame[12:14] == b"\x08\x00" and frame[23] == 17 and frame[22] == 255:
            at, source, group = 14 + 4 * (frame[14] & 15), frame[26:30], frame[30:34]
        elif frame[12:14] == b"\x86\xdd" and frame[20] == 17 and frame[21] == 255:
            at, source, group = 54, frame[22:38], frame[38:54]
        else:
            return None
        port, length = struct.unpack("!2xHH", frame[at:at + 6])
        ours = socket.inet_aton(GROUP4), socket.inet_pton(socket.AF_INET6, GROUP6)
        if port != PORT or group not in ours:
            return None
        return (frame[6:12], source), frame[at + 8:at + length]


def hear(member, source, payload, now):
    reader = Reader(payload)
    first, authentication, length, sender = reader.number(1), reader.number(1), reader.number(2), reader.take(16)
    kind = first & 15
    if first >> 4 != 1 or length != len(payload) or sender in (EVERYBODY, member.id):
        raise Bad("header")
    if kind not in (REPORT, HELLO, ANCHOR, QUERY) or authentication > (0 if kind == HELLO else 1):
        raise Bad("unknown")
    if authentication:
        reader.data = payload[:-64]
    if kind == QUERY:
        member.on_query(reader, now)
    elif kind == HELLO:
        member.listener.hello(sender, reader, source, now)
    else:
        member.listener.statement(sender, kind, reader, source, now)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("interface")
    parser.add_argument("name")
    parser.add_argument("hello_ms", type=int)
    parser.add_argument("chain_length", type=int)
    parser.add_argument("prefix", nargs="+")
    parser.add_argument("--key")
    parser.add_argument("--certificate")
    arguments = parser.parse_args()
    link = Link(arguments.interface)
    member, leaving, leave_at, inputs = Member(link, arguments), None, None, [link.frames, sys.stdin]
    while True:
        due = min(at for at in (member.tick(time.monotonic()), leave_at) if at is not None)
        ready, _, _ = select.select(inputs, [], [], max(0.0, due - time.monotonic()))
        now = time.monotonic()
        if sys.stdin in ready:
            word = sys.stdin.readline()
            if word.strip() == "leave":
                leaving, leave_at = member.leave(), now
            elif not word:
                inputs.remove(sys.stdin)
        if link.frames in ready and (heard := link.receive()):
            try:
                hear(member, *heard, now)
            except Bad as why:
                if str(why) not in ("a copy", "old or a copy"):
                    say("ignored", why=str(why))
        if leave_at is not None and now >= leave_at:
            try:
                leave_at = now + next(leaving)
            except StopIteration:
                return say("left")


if __name__ == "__main__":
    main()
