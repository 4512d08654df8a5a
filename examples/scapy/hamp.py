#!/usr/bin/python3
"""The membership protocol as scapy layers, written from docs/spec/membership.md alone.

    from scapy.all import *
    from hamp import *
    rdpcap("lab.pcapng")[0].show()
    sendp(Ether(src=mac, dst="01:00:5e:00:00:fe") / IP(src=ip, dst="224.0.0.254", ttl=255)
          / UDP(sport=1021, dport=1021) / Hamp(member=id) / HampReport(mac=mac, ipv4=ip, records=[
              HampRecord(address="198.18.0.1/32", lifetime=3000)]))

Lengths, counts and the digest are filled in where they are left out; so is nothing else: what is
wrong on purpose stays wrong. `sign` makes a message one of authentication type 1.

    hamp.py FRAME.hex...     reads frames as tests/golden has them, shows them, and says which of
                             them do not come out as they went in (exit code 1)
    hamp.py certify AUTHORITY.key KEY.pub OUTPUT PREFIX...
                             a certificate that has expired, from files of hamp's

Debian: python3-scapy, and python3-cryptography for signatures.
"""
import base64
import hashlib
import ipaddress
import pathlib
import sys
import time

from scapy.fields import (
    BitEnumField, BitField, ByteEnumField, ByteField, ConditionalField, Field, FieldLenField,
    FlagsField, IntField, IP6Field, IPField, LongField, MACField, PacketListField, ShortEnumField,
    ShortField, StrFixedLenField, StrLenField, XStrFixedLenField, XStrLenField,
)
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import NoPayload, Packet, Raw, bind_layers

PORT = 1021
GROUP4, GROUP6 = "224.0.0.254", "ff02::114"
EVERYBODY = bytes(16)


def digest_of(encoding):
    """The first 16 bytes of the hash."""
    return hashlib.sha256(encoding).digest()[:16]


def previous(member, index, value):
    """The value before `value`, which stands at `index` of a member's hash chain."""
    return digest_of(b"hamp chain step1" + member + index.to_bytes(4, "big") + value)


class Beside(Field):
    """A field that is no part of the bytes where it stands."""

    def addfield(self, pkt, s, val):
        return s

    def getfield(self, pkt, s):
        return s, self.default


class Inner(Packet):
    """A packet in a list: what follows it is the next one."""

    def extract_padding(self, s):
        return b"", s


class Hamp(Packet):
    """The header; the signature that ends a signed message is a field of it."""

    name = "HAMP"
    fields_desc = [
        BitField("version", 1, 4),
        BitEnumField("type", 1, 4, {1: "report", 2: "hello", 3: "anchor", 4: "query"}),
        ByteEnumField("authentication", 0, {0: "none", 1: "Ed25519"}),
        ShortField("length", None),
        XStrFixedLenField("member", b"", 16),
        Beside("signature", b"", "64s"),
    ]

    def post_build(self, pkt, pay):
        pay += self.signature or b""
        if self.length is None:
            pkt = pkt[:2] + (len(pkt) + len(pay)).to_bytes(2, "big") + pkt[4:]
        return pkt + pay

    def extract_padding(self, s):
        return s, b""

    def guess_payload_class(self, payload):
        # Without knowing the trailer nobody knows where the body ends.
        readable = self.version == 1 and self.authentication in (0, 1)
        return super().guess_payload_class(payload) if readable else Raw

    def do_dissect_payload(self, s):
        if self.authentication == 1 and len(s) >= 64:
            s, self.signature = s[:-64], s[-64:]
        super().do_dissect_payload(s)


class Prefix(Field):
    """An address of as many bytes as the record's family has, written with its prefix length."""

    def i2m(self, pkt, x):
        return x if isinstance(x, bytes) else ipaddress.ip_network(x, strict=False).network_address.packed

    def addfield(self, pkt, s, val):
        return s + self.i2m(pkt, val)

    def getfield(self, pkt, s):
        length = max(pkt.length - 12 - (4 if pkt.flags & 2 else 0), 0)
        raw, rest = s[:length], s[length:]
        if (pkt.family, length) in ((4, 4), (6, 16)):
            return rest, f"{ipaddress.ip_address(raw)}/{pkt.prefix_length}"
        return rest, raw


class HampRecord(Inner):
    """One prefix that a member serves. Family, lengths and flags follow from the address."""

    name = "HAMP record"
    fields_desc = [
        ByteField("family", None),
        ByteField("length", None),
        ByteField("prefix_length", None),
        FlagsField("flags", None, 8, ["draining", "serial"]),
        ByteEnumField("scope", 0, {0: "link", 1: "site", 2: "global"}),
        ByteField("reserved", 0),
        ShortField("preference", 100),
        IntField("lifetime", 3000),
        Prefix("address", "198.18.0.1/32"),
        ConditionalField(IntField("serial", 0), lambda pkt: (pkt.flags or 0) & 2),
    ]

    def post_build(self, pkt, pay):
        pkt = bytearray(pkt)
        if self.length is None:
            pkt[1] = len(pkt)
        if not isinstance(self.address, bytes):
            net = ipaddress.ip_network(self.address, strict=False)
            if self.family is None:
                pkt[0] = net.version
            if self.prefix_length is None:
                pkt[2] = net.prefixlen
        return bytes(pkt) + pay


class HampOption(Inner):
    """An option: 1 nonces, 2 a certificate."""

    name = "HAMP option"
    fields_desc = [
        ShortEnumField("kind", 1, {1: "nonces", 2: "certificate"}),
        FieldLenField("length", None, length_of="value"),
        XStrLenField("value", b"", length_from=lambda pkt: pkt.length),
    ]


STATEMENT = [
    IntField("interface", 1),
    LongField("epoch", 0),
    IntField("counter", 1),
    LongField("elapsed", 0),
    IntField("generation", 1),
    XStrFixedLenField("digest", None, 16),
    IPField("ipv4", "0.0.0.0"),
    IP6Field("ipv6", "::"),
    MACField("mac", "00:00:00:00:00:00"),
    ByteField("dead_hellos", 3),
    FlagsField("flags", 0, 8, ["router"]),
    IntField("hello_interval", 1000),
    XStrFixedLenField("chain_end", bytes(16), 16),
    IntField("chain_base", 0),
    IntField("chain_length", 1024),
]
OPTIONS = [PacketListField("options", [], HampOption)]


class Body(Packet):
    """The body of a message, which nothing follows."""

    def extract_padding(self, s):
        return b"", s


class HampReport(Body):
    """A statement with records. The digest is that of these records where it is left out, which is
    right for a full report of one part."""

    name = "HAMP report"
    fields_desc = STATEMENT + [
        ByteEnumField("kind", 0, {0: "full", 1: "delta"}),
        ByteField("reserved", 0),
        ShortField("part", 0),
        ShortField("parts", 1),
        IntField("base", 0),
        FieldLenField("count", None, count_of="records"),
        PacketListField("records", [], HampRecord, count_from=lambda pkt: pkt.count),
    ] + OPTIONS

    def self_build(self, *arguments, **named):
        if self.digest is None:
            records = sorted(map(bytes, self.records), key=lambda r: (r[0], r[12:], r[2]))
            # What is ignored in a record is 0 in the digest; ours have nothing there.
            self.digest = digest_of(b"".join(records))
        return super().self_build(*arguments, **named)


class HampAnchor(Body):
    """A statement without records."""

    name = "HAMP anchor"
    fields_desc = STATEMENT + OPTIONS


class HampHello(Body):
    """Proof of life."""

    name = "HAMP hello"
    fields_desc = [
        XStrFixedLenField("chain", bytes(8), 8),
        IntField("index", 0),
        XStrFixedLenField("value", bytes(16), 16),
    ]


class HampQuery(Body):
    """A question to one member or to all."""

    name = "HAMP query"
    fields_desc = [
        LongField("epoch", 0),
        IntField("counter", 1),
        XStrFixedLenField("target", EVERYBODY, 16),
        XStrFixedLenField("nonce", bytes(8), 8),
        ShortField("max_response", 100),
        FlagsField("flags", 0, 16, ["refresh", "anchor"]),
        IntField("interval", 0),
    ] + OPTIONS


for number, body in {1: HampReport, 2: HampHello, 3: HampAnchor, 4: HampQuery}.items():
    bind_layers(Hamp, body, type=number)
bind_layers(UDP, Hamp, sport=PORT, dport=PORT)


def chain_id(member, statement):
    """The id of a statement's chain."""
    u = lambda size, value: value.to_bytes(size, "big")
    text = (b"hamp chain id 1" + member + u(4, statement.interface) + u(8, statement.epoch)
            + u(4, statement.generation) + statement.digest + statement.chain_end
            + u(4, statement.chain_base) + u(4, statement.chain_length))
    return hashlib.sha256(text).digest()[:8]


def frames(message, mac, ipv4=None, ipv6=None):
    """A message as whole frames, one for each family that the sender has an address of."""
    udp = UDP(sport=PORT, dport=PORT) / message
    if ipv4:
        yield (Ether(src=mac, dst="01:00:5e:00:00:fe")
               / IP(src=ipv4, dst=GROUP4, ttl=255, tos=0xC0, flags="DF", id=0) / udp.copy())
    if ipv6:
        yield Ether(src=mac, dst="33:33:00:00:01:14") / IPv6(src=ipv6, dst=GROUP6, hlim=255) / udp.copy()


def sign(message, key, certificate):
    """The message with its sender's certificate and a signature of `key` (an Ed25519PrivateKey of
    python3-cryptography), as bytes of a Hamp packet."""
    message = message.copy()
    message.authentication, message.signature = 1, bytes(64)
    body = message.payload
    body.options = [HampOption(kind=2, value=certificate)] + list(body.options)
    whole = bytes(message)
    message.signature = key.sign(whole[:-64])
    return message


def unarmoured(path):
    """The bytes in a file of `hamp key` or `hamp authority`: base64 between two lines of dashes."""
    lines = pathlib.Path(path).read_text().splitlines()
    begin = next(at for at, line in enumerate(lines) if line.startswith("-----BEGIN HAMP"))
    end = next(at for at, line in enumerate(lines) if line.startswith("-----END HAMP"))
    return base64.b64decode("".join(lines[begin + 1:end]))


def load_key(path):
    """The Ed25519 key in a file of `hamp key new` or `hamp authority new`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    return Ed25519PrivateKey.from_private_bytes(unarmoured(path))


def public_of(key):
    """The public key's 32 bytes."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def member_of(key):
    """The id of the member that has this key."""
    return digest_of(b"hamp id 1" + public_of(key))


def load_certificate(path):
    """The bytes of a certificate in a file of `hamp authority certify`."""
    return unarmoured(path)


def certificate(authority, public, roles=1, serial=1, not_before=0, not_after=0, limit=16,
                prefixes=()):
    """What an authority's key says of another's public one: roles 1 member, 2 router; times in
    milliseconds since 1970."""
    u = lambda size, value: value.to_bytes(size, "big")
    nets = [ipaddress.ip_network(prefix) for prefix in prefixes]
    text = (u(1, 1) + u(1, roles) + u(2, 0) + u(8, serial) + member_of(authority) + public
            + u(8, not_before) + u(8, not_after) + u(4, limit) + u(2, len(nets))
            + b"".join(u(1, n.version) + u(1, n.prefixlen) + n.network_address.packed for n in nets))
    return text + authority.sign(b"hamp certificate 1" + text)


def certify(authority, public, output, *prefixes):
    """Writes a certificate that was valid for an hour until an hour ago, for labs."""
    hour, now = 3_600_000, time.time_ns() // 1_000_000
    made = certificate(load_key(authority), unarmoured(public), serial=0xDEAD, prefixes=prefixes,
                       not_before=now - 2 * hour, not_after=now - hour)
    text = base64.b64encode(made).decode()
    lines = [text[at:at + 64] for at in range(0, len(text), 64)]
    pathlib.Path(output).write_text(
        "\n".join(["-----BEGIN HAMP CERTIFICATE-----", *lines, "-----END HAMP CERTIFICATE-----", ""]))


def main(paths):
    """Takes frames apart and puts them together again."""
    if paths[:1] == ["certify"]:
        return certify(*paths[1:])
    differ = []
    for path in map(pathlib.Path, paths):
        lines = path.read_text().splitlines()
        frame = bytes.fromhex("".join(line for line in lines if not line.startswith("#")))
        packet = Ether(frame)
        packet.show()
        found = packet.getlayer(Hamp)
        if found is None or isinstance(found.payload, NoPayload):
            differ.append(f"{path}: no message")
            continue
        # From the fields alone: nothing may hide in what scapy remembers of the bytes it read.
        found.clear_cache()
        bodies = [found.payload] + [p for name in ("records", "options")
                                    for p in found.payload.fields.get(name, [])]
        for body in bodies:
            body.clear_cache()
        found.length = None
        if bytes(found) != bytes(packet.getlayer(UDP).original)[8:]:
            differ.append(f"{path}: is not what its fields say")
    for line in differ:
        print(line, file=sys.stderr)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
