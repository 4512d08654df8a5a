#!/usr/bin/python3
"""An intruder on a link of members: what a host without rights can try, and one with the wrong ones.

For labs of one's own only (hamp-lab run intruder is one). It takes one order a line on its standard
input, as JSON, and says what became of it on its standard output:

    {"order": "join", "link": "eth0", "ms": 2000}
    {"order": "join", "frames": 42}                       when it is over

An order that cannot be carried out comes back with "error". Orders run side by side.

Debian: python3-scapy; python3-cryptography for orders with a key.
"""
import argparse
import collections
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hamp import (  # noqa: E402
    EVERYBODY, PORT, Hamp, HampAnchor, HampHello, HampOption, HampQuery, HampRecord, HampReport,
    chain_id, frames, load_certificate, load_key, member_of, previous, sign,
)
from scapy.layers.inet6 import (  # noqa: E402
    ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6,
)
from scapy.layers.inet import IP, TCP  # noqa: E402
from scapy.layers.l2 import ARP, Dot1Q, Ether  # noqa: E402
from scapy.packet import Raw  # noqa: E402

SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_IGNORE_OUTGOING = 263, 1, 23
PACKET_MR_PROMISC = 1
ETH_P_ALL = 3
KEPT = 4096


def unix_ms():
    return time.time_ns() // 1_000_000


def membership_of(frame):
    """The message in a frame, as bytes; None for anything else."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and frame[23] == 17:
        start = 14 + 4 * (frame[14] & 15)
    elif kind == b"\x86\xdd" and frame[20] == 17:
        start = 54
    else:
        return None
    if int.from_bytes(frame[start + 2:start + 4], "big") != PORT:
        return None
    return frame[start + 8:]


class Heard:
    """What was heard of one member."""

    def __init__(self):
        self.frames = collections.deque(maxlen=KEPT)
        self.report = None
        self.hello = None


class Wire:
    """An interface: everything on it is heard, and anything can be said."""

    def __init__(self, name):
        self.name = name
        self.members = collections.defaultdict(Heard)
        self.listeners = []
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((name, ETH_P_ALL))
        self.mac = self.socket.getsockname()[4].hex(":")
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        request = struct.pack("IHH8s", socket.if_nametoindex(name), PACKET_MR_PROMISC, 0, b"")
        self.socket.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            frame = self.socket.recv(65535)
            at = time.monotonic()
            message = membership_of(frame)
            if message is not None and len(message) >= 20:
                self.note(at, frame, message)
            with self.lock:
                listeners = list(self.listeners)
            for listener in listeners:
                listener(at, frame, message)

    def note(self, at, frame, message):
        with self.lock:
            heard = self.members[bytes(message[4:20])]
            heard.frames.append((at, frame))
            kind = message[0] & 15
            if kind == 2:
                heard.hello = message
            elif kind in (1, 3):
                parsed = Hamp(message)
                if kind == 1 and parsed.kind == 0 or heard.report is None:
                    heard.report = parsed

    def send(self, frame):
        self.socket.send(bytes(frame))

    def of_host(self, mac):
        """The members whose statements state this link-layer address."""
        with self.lock:
            return [(member, heard) for member, heard in self.members.items()
                    if heard.report is not None and heard.report.mac == mac]


class Order:
    """One order while it is carried out."""

    def __init__(self, wires, words):
        self.words = words
        self.wire = wires[words["link"]] if "link" in words else None
        self.wires = wires
        self.ends = time.monotonic() + words.get("ms", 1000) / 1000
        self.sent = 0
        self.note = {}

    def lasts(self):
        return time.monotonic() < self.ends

    def send(self, frame, wire=None):
        (wire or self.wire).send(frame)
        self.sent += 1

    def say(self, message, mac, ipv4, ipv6):
        for frame in frames(message, mac, ipv4, ipv6):
            self.send(frame)

    def pace(self, every):
        """Goes round every so many milliseconds until the time is over."""
        due = time.monotonic()
        while self.lasts():
            yield
            due += every / 1000
            time.sleep(max(0.0, min(due, self.ends) - time.monotonic()))

    def own(self):
        """This host's own addresses on the link, as its statements state them."""
        words = self.words
        return words.get("mac", self.wire.mac), words.get("ipv4"), words.get("ipv6")

    def victims(self):
        """The members whose link-layer address is one of `of`, and what was heard of them."""
        found = [pair for mac in self.words["of"] for pair in self.wire.of_host(mac)]
        if not found:
            raise LookupError(f"nothing heard of {self.words['of']} on {self.wire.name}")
        return found


def records(words, lifetime=3000):
    """The records that are claimed, with the highest preference."""
    return [HampRecord(address=prefix, preference=words.get("preference", 65535), lifetime=lifetime,
                       scope=2) for prefix in words.get("prefixes", [])]


class Liar:
    """A whole member that nobody asked for: it reports, says hello and answers queries. With a key
    and a certificate all it says is signed."""

    LENGTH = 1024

    def __init__(self, order):
        words = order.words
        self.order = order
        self.mac, self.ipv4, self.ipv6 = order.own()
        self.key = load_key(words["key"]) if "key" in words else None
        self.certificate = load_certificate(words["certificate"]) if "certificate" in words else b""
        self.member = member_of(self.key) if self.key else os.urandom(16)
        if "as" in words:
            self.member = order.wire.of_host(words["as"])[0][0]
        self.interval = words.get("hello_ms", 1000)
        self.epoch, self.counter, self.born = unix_ms(), 0, time.monotonic()
        self.spoken = 0
        values = [os.urandom(16)]
        for index in range(self.LENGTH, 0, -1):
            values.append(previous(self.member, index, values[-1]))
        self.values = values[::-1]
        self.chain = bytes(8)

    def report(self, nonces=()):
        words = self.order.words
        self.counter += 1
        options = [HampOption(kind=1, value=b"".join(nonces))] if nonces else []
        body = HampReport(
            interface=words.get("interface", 2), epoch=self.epoch, counter=self.counter,
            elapsed=int((time.monotonic() - self.born) * 1000), ipv4=self.ipv4 or "0.0.0.0",
            ipv6=self.ipv6 or "::", mac=self.mac, flags=int(words.get("router", False)),
            hello_interval=self.interval, chain_end=self.values[0], chain_length=self.LENGTH,
            records=records(words), options=options)
        message = Hamp(type=1, member=self.member) / body
        encoded = Hamp(bytes(message))
        self.chain = chain_id(self.member, encoded.payload)
        if self.key:
            message = sign(message, self.key, self.certificate)
        self.order.say(message, self.mac, self.ipv4, self.ipv6)

    def hello(self):
        index = int((time.monotonic() - self.born) * 1000) // self.interval
        if 0 < index <= self.LENGTH and index > self.spoken:
            self.spoken = index
            hello = HampHello(chain=self.chain, index=index, value=self.values[index])
            self.order.say(Hamp(type=2, member=self.member) / hello, self.mac, self.ipv4, self.ipv6)

    def query(self):
        self.queries = getattr(self, "queries", 0) + 1
        query = HampQuery(epoch=self.epoch, counter=self.queries, nonce=os.urandom(8), flags=1,
                          interval=125_000)
        message = Hamp(type=4, member=self.member) / query
        if self.key:
            message = sign(message, self.key, self.certificate)
        self.order.say(message, self.mac, self.ipv4, self.ipv6)

    def run(self):
        asked, answered = collections.OrderedDict(), set()
        lock = threading.Lock()

        def listen(_at, _frame, message):
            if message is not None and len(message) >= 56 and message[0] & 15 == 4:
                if bytes(message[32:48]) in (EVERYBODY, self.member):
                    with lock:
                        asked[bytes(message[48:56])] = True

        with self.order.wire.lock:
            self.order.wire.listeners.append(listen)
        try:
            reported = queried = 0.0
            for _ in self.order.pace(20):
                now = time.monotonic()
                with lock:
                    nonces = [nonce for nonce in asked if nonce not in answered][:32]
                    answered.update(nonces)
                if nonces or now - reported >= 0.3:
                    self.report(nonces)
                    reported = now
                self.hello()
                if self.order.words.get("queries") and now - queried >= 1.0:
                    self.query()
                    queried = now
        finally:
            with self.order.wire.lock:
                self.order.wire.listeners.remove(listen)


def join(order):
    """A member, or with "router" a router, that nobody has asked for. With "as", one that says
    it is who has that link-layer address."""
    Liar(order).run()


def leave(order):
    """Statements of others that say that they serve nothing any more: without a signature, and with
    the signature and the certificate of their last real one."""
    for _ in order.pace(order.words.get("every", 100)):
        for member, heard in order.victims():
            real = heard.report
            for ahead, signed in ((0, False), (0, True), (1_000, False), (1_000, True)):
                body = HampReport(
                    interface=real.interface, epoch=real.epoch + ahead, counter=real.counter + 1_000,
                    elapsed=real.elapsed + 50, generation=real.generation + 1, ipv4=real.ipv4,
                    ipv6=real.ipv6, mac=real.mac, hello_interval=real.hello_interval,
                    dead_hellos=real.dead_hellos, chain_end=os.urandom(16),
                    chain_length=real.chain_length, records=[])
                message = Hamp(type=1, member=member) / body
                if signed and real.authentication == 1:
                    body.options = [option for option in real.options if option.kind == 2]
                    message = Hamp(type=1, member=member, authentication=1,
                                   signature=real.signature) / body
                order.say(message, real.mac, real.ipv4, real.ipv6)


def querier(order):
    """Queries to everybody as fast as it goes: a router that asks for everything and says that it
    will again; the members' answers are for all to hear."""
    mac, ipv4, ipv6 = order.own()
    epoch = unix_ms()
    member = os.urandom(16)
    for number, _ in enumerate(order.pace(order.words.get("every", 10))):
        query = HampQuery(epoch=epoch, counter=number + 1, nonce=os.urandom(8), max_response=0,
                          flags=1, interval=125_000)
        order.say(Hamp(type=4, member=member) / query, mac, ipv4, ipv6)


def proxy(order):
    """Answers ARP requests and neighbour solicitations for "targets" with its own address."""
    targets, mac = set(order.words["targets"]), order.own()[0]

    def listen(_at, frame, _message):
        packet = Ether(frame) if frame[12:14] in (b"\x08\x06", b"\x86\xdd") else None
        if packet is None:
            return
        if ARP in packet and packet[ARP].op == 1 and packet[ARP].pdst in targets:
            asks = packet[ARP]
            order.send(Ether(src=mac, dst=asks.hwsrc)
                       / ARP(op=2, hwsrc=mac, psrc=asks.pdst, hwdst=asks.hwsrc, pdst=asks.psrc))
        elif ICMPv6ND_NS in packet and packet[ICMPv6ND_NS].tgt in targets:
            target = packet[ICMPv6ND_NS].tgt
            order.send(Ether(src=mac, dst=packet.src) / IPv6(src=target, dst=packet[IPv6].src, hlim=255)
                       / ICMPv6ND_NA(tgt=target, R=0, S=1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac))

    with order.wire.lock:
        order.wire.listeners.append(listen)
    try:
        for _ in order.pace(50):
            pass
    finally:
        with order.wire.lock:
            order.wire.listeners.remove(listen)


def claims(order, mac):
    """Frames that say to all, and to each of "to", that the addresses "targets" are at `mac`: every
    kind of ARP and neighbour discovery that makes or changes an entry."""
    own, everybody, nodes = order.own(), "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"
    told = []
    for target in order.words["targets"]:
        if ":" in target:
            option = ICMPv6NDOptDstLLAddr(lladdr=mac)
            for source in (target, own[2]):
                told.append(Ether(src=own[0], dst=nodes) / IPv6(src=source, dst="ff02::1", hlim=255)
                            / ICMPv6ND_NA(tgt=target, R=0, S=0, O=1) / option)
            continue
        gratuitous = ARP(op=1, hwsrc=mac, psrc=target, pdst=target)
        told.append(Ether(src=own[0], dst=everybody) / gratuitous)
        for to in order.words["to"]:
            reply = ARP(op=2, hwsrc=mac, psrc=target, hwdst=to)
            told.append(Ether(src=own[0], dst=to) / reply)
            told.append(Ether(src=own[0], dst=to) / Dot1Q(vlan=0) / reply)
    return [bytes(frame) for frame in told]


def claim(order):
    """Says that the addresses "targets" are its own, and takes it back in the end: they are at "of"."""
    told = claims(order, order.own()[0])
    for _ in order.pace(order.words.get("every", 50)):
        for frame in told:
            order.send(frame)
    # Linux takes no other answer within a second after one (locktime).
    time.sleep(1.5)
    for frame in claims(order, order.words["of"]):
        order.send(frame)


def outrun(order):
    """On a switch of its own in front of a member: answers each SYN to one of "targets" by the host
    with the link-layer address "asker" before the member does, with a right acknowledgement, from its
    own address and from the member's. The member's answers come a little later.

    "link" is the port of the member, "to" the port of all others."""
    other, port = order.wires[order.words["to"]], order.wire.name
    mac, *own = order.own()
    asker = bytes.fromhex(order.words["asker"].replace(":", ""))
    rules = (f"table netdev outrun {{ chain in {{ type filter hook ingress device \"{port}\" priority 0;"
             f" ether daddr {order.words['asker']} tcp flags & (syn | ack) == syn | ack drop; }}; }}")

    def hear_syn(_at, frame, _message):
        packet = Ether(frame) if frame[6:12] == asker else None
        if packet is None or TCP not in packet or packet[TCP].flags & 0x12 != 2:
            return
        asked = packet[IPv6] if IPv6 in packet else packet[IP]
        if asked.dst not in order.words["targets"]:
            return
        of = 1 if IPv6 in packet else 0
        for source in (own[of], order.words["of"][of]):
            answer = type(asked)(src=source, dst=asked.src) / TCP(
                sport=packet.dport, dport=packet.sport, flags="SA", seq=1, ack=packet[TCP].seq + 1)
            order.send(Ether(src=mac, dst=packet.src) / answer, other)

    def hand_on(_at, frame, _message):
        packet = Ether(frame) if frame[:6] == asker else None
        if packet is not None and TCP in packet and packet[TCP].flags & 0x12 == 0x12:
            time.sleep(0.005)
            # Between virtual interfaces it may not have been computed.
            del packet[TCP].chksum
            order.send(bytes(packet), other)

    for wire, listener in ((other, hear_syn), (order.wire, hand_on)):
        with wire.lock:
            wire.listeners.append(listener)
    subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True)
    try:
        for _ in order.pace(50):
            pass
    finally:
        subprocess.run(["nft", "delete", "table", "netdev", "outrun"], check=False)
        for wire, listener in ((other, hear_syn), (order.wire, hand_on)):
            with wire.lock:
                wire.listeners.remove(listener)


def replay(order):
    """All that was heard of others, again and again, frame by frame as it was."""
    recorded = [frame for _, heard in order.victims() for _, frame in list(heard.frames)]
    order.note["recorded"] = len(recorded)
    rounds = order.pace(order.words.get("every", 2))
    while order.lasts():
        for frame in recorded:
            order.send(frame)
            if next(rounds, "over") == "over":
                return


def draw(order, members, state):
    """Asks members for all they have to say, in nobody's name."""
    for member in members:
        state["asked"] = state.get("asked", 0) + 1
        query = HampQuery(epoch=1, counter=state["asked"], target=member, nonce=os.urandom(8),
                          max_response=0)
        order.say(Hamp(type=4, member=state.setdefault("asker", os.urandom(16))) / query, *order.own())


def relay(order):
    """What members of this link say, to another link, as they say it; and they are asked to say it."""
    other, state = order.wires[order.words["to"]], {}
    victims = {bytes.fromhex(mac.replace(":", "")) for mac in order.words["of"]}

    def listen(_at, frame, message):
        if message is not None and frame[6:12] in victims:
            order.send(frame, other)

    with order.wire.lock:
        order.wire.listeners.append(listen)
    try:
        for _ in order.pace(100):
            draw(order, [member for member, _ in order.victims()], state)
    finally:
        with order.wire.lock:
            order.wire.listeners.remove(listen)


def ahead(order):
    """A statement each that puts the clocks of others ahead, and hellos of the times to come: of a
    chain of its own, and of theirs with values that are made up."""
    for number, _ in enumerate(order.pace(order.words.get("every", 50))):
        for member, heard in order.victims():
            real, hello = heard.report, heard.hello
            value, made = os.urandom(16), []
            body = HampAnchor(**{field.name: real.getfieldval(field.name)
                                 for field in HampAnchor.fields_desc if field.name != "options"})
            body.counter, body.elapsed = real.counter + 1_000, real.elapsed + 86_400_000
            body.chain_base = body.elapsed // body.hello_interval
            body.chain_end = previous(member, body.chain_base + 1, value)
            if number == 0:
                order.say(Hamp(type=3, member=member) / body, real.mac, real.ipv4, real.ipv6)
                chain = chain_id(member, Hamp(bytes(Hamp(type=3, member=member) / body)).payload)
                made = [(chain, body.chain_base + 1, value)]
            if hello is not None:
                real_chain, index = bytes(hello[20:28]), int.from_bytes(hello[28:32], "big")
                made += [(real_chain, min(index + more, 2**32 - 1), os.urandom(16))
                         for more in (1, 3, 60, 1_000, 2**31)]
            for chain, index, value in made:
                hello_of = HampHello(chain=chain, index=index, value=value)
                order.say(Hamp(type=2, member=member) / hello_of, real.mac, real.ipv4, real.ipv6)


def hold(order):
    """On a switch of its own in front of a member: takes the member's messages out of the traffic.
    For "hold_ms" hellos still pass, so that it lives, and as many reports are drawn and kept as it
    gives. Then nothing passes, and from "wait_ms" on what was kept is handed on, a report each
    "every", so that it lasts.

    "link" is the port of the member, "to" the port of all others."""
    other, port, words = order.wires[order.words["to"]], order.wire.name, order.words
    rules = (f"table netdev held {{ chain in {{ type filter hook ingress device \"{port}\" priority 0;"
             f" udp dport {PORT} drop; }}; }}")
    held, lock, began = collections.deque(), threading.Lock(), time.monotonic()
    victims = {bytes.fromhex(mac.replace(":", "")) for mac in words["of"]}

    def since(ms):
        return time.monotonic() - began >= ms / 1000

    def listen(_at, frame, message):
        if message is None or frame[6:12] not in victims:
            return
        kind = message[0] & 15
        if kind in (1, 3) or (kind == 2 and since(words["hold_ms"])):
            with lock:
                held.append((kind, frame))
        else:
            order.send(frame, other)

    members, state, due = [member for member, _ in order.victims()], {}, 0.0
    with order.wire.lock:
        order.wire.listeners.append(listen)
    subprocess.run(["nft", "-f", "-"], input=rules.encode(), check=True)
    try:
        for _ in order.pace(20):
            if not since(words["hold_ms"]):
                draw(order, members, state)
            elif since(words["wait_ms"]) and time.monotonic() >= due:
                due = time.monotonic() + words["every"] / 1000
                with lock:
                    while held:
                        kind, frame = held.popleft()
                        order.send(frame, other)
                        # A report comes once over each family.
                        if kind != 2 and not (held and held[0][0] == kind):
                            break
                    order.note["left"] = len(held)
    finally:
        with order.wire.lock:
            order.wire.listeners.remove(listen)
        subprocess.run(["nft", "delete", "table", "netdev", "held"], check=False)


def ones_complement(data):
    """The Internet checksum (RFC 1071): the sum in ones' complement is the number modulo 2^16 - 1."""
    return 0xFFFF - int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 0xFFFF


def rewritten(frame, mac, ipv4, payload):
    """An IPv4 frame of ours with another sender and other contents, its checksums right."""
    head = bytearray(frame[:34])
    head[6:12], head[26:30], head[24:26] = mac, ipv4, b"\0\0"
    head[16:18] = (28 + len(payload)).to_bytes(2, "big")
    head[24:26] = ones_complement(bytes(head[14:34])).to_bytes(2, "big")
    length = (8 + len(payload)).to_bytes(2, "big")
    udp = frame[34:38] + length + b"\0\0" + payload
    pseudo = bytes(head[26:34]) + b"\0\x11" + length
    check = ones_complement(pseudo + udp) or 0xFFFF
    return bytes(head) + udp[:6] + check.to_bytes(2, "big") + payload


def flood(order):
    """As many frames a second as "rate" says. "kind": `garbage` (no message at all), `unsigned`
    (each a report of a new member), `signed` (the same with the certificate of a real one and a
    signature that is none), `victim` (that, in a real member's name and from its address)."""
    words = order.words
    mac, ipv4, _ = order.own()
    own = bytes.fromhex(mac.replace(":", "")), socket.inet_aton(ipv4)
    body = HampReport(interface=2, epoch=unix_ms(), ipv4=ipv4, mac=mac, records=records(words),
                      chain_end=os.urandom(16))
    frame = bytes(next(frames(Hamp(type=1, member=os.urandom(16)) / body, mac, ipv4)))
    plain = frame[42:]
    if words["kind"] in ("signed", "victim"):
        member, heard = order.victims()[0]
        real = heard.report
        certificate = next((o.value for o in real.options if o.kind == 2), b"")
        victim = words["kind"] == "victim"
        if victim:
            own = (bytes.fromhex(real.mac.replace(":", "")), socket.inet_aton(real.ipv4))
            body.mac, body.ipv4, body.ipv6 = real.mac, real.ipv4, real.ipv6
            body.epoch, body.counter, body.elapsed = real.epoch, real.counter + 10_000, real.elapsed
            body.interface = real.interface
        body.options = [HampOption(kind=2, value=certificate)]
        plain = bytes(Hamp(type=1, authentication=1, member=member, signature=bytes(64)) / body)
    variants = []
    for number in range(words.get("variants", 1024)):
        if words["kind"] == "garbage":
            length = random.choice((0, 1, 4, 19, 20, 48, 200, 1400))
            payload = os.urandom(length)
            if number % 2 and length >= 4:
                payload = bytes([0x10 | number // 2 % 16, number // 32 % 3]) + length.to_bytes(2, "big") + payload[4:]
        elif words["kind"] == "unsigned":
            payload = plain[:4] + os.urandom(16) + plain[20:]
        else:
            # A counter that was never seen, so that no cheap refusal helps; the counter stands after
            # header, interface and epoch.
            counter = (1 << 20 | number).to_bytes(4, "big")
            payload = plain[:32] + counter + plain[36:-64] + os.urandom(64)
        variants.append(rewritten(frame, *own, payload))
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    out.bind((order.wire.name, 0))
    per_turn = max(1, words["rate"] // 200)
    at = 0
    for _ in order.pace(5):
        for _ in range(per_turn):
            out.send(variants[at % len(variants)])
            at += 1
    out.close()
    order.sent = at


ORDERS = {order.__name__: order
          for order in (join, leave, querier, proxy, claim, outrun, replay, relay, ahead, hold,
                        flood)}
told = threading.Lock()


def tell(words):
    with told:
        print(json.dumps(words), flush=True)


def carry_out(wires, words):
    name = words.get("order")
    try:
        order = Order(wires, words)
        ORDERS[name](order)
        tell({"order": name, "id": words.get("id"), "frames": order.sent, **order.note})
    except Exception as error:  # Whatever it is, whoever gave the order has to know.
        tell({"order": name, "id": words.get("id"), "error": f"{type(error).__name__}: {error}"})


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("links", nargs="+", metavar="INTERFACE")
    wires = {name: Wire(name) for name in arguments.parse_args().links}
    tell({"ready": sorted(wires)})
    for line in sys.stdin:
        words = json.loads(line)
        threading.Thread(target=carry_out, args=(wires, words), daemon=True).start()


if __name__ == "__main__":
    main()
