#!/usr/bin/env python3
"""Writes the golden packets of the membership protocol from docs/spec/membership.md.

An encoder of its own: it shares no line with src/wire, so that the two agree only where both
follow the specification. Whole Ethernet frames, one file each, hexadecimal spaced by field. They
tell one story of one member, so that digests, chains and signatures are what a receiver computes.

    tests/golden/generate.py        rewrites tests/golden/*.hex that it made (not linux-*.hex),
                                    and tests/golden/trust/*.hex, which are no frames
"""
import hashlib
import ipaddress
import pathlib
import struct

import ed25519

HERE = pathlib.Path(__file__).parent
MEMBER = bytes.fromhex("6d656d6265722d6f6e652d3030303031")  # "member-one-00001"
ASKER = bytes.fromhex("61736b65722d6f6e652d303030303031")  # "asker-one-000001"
MAC = bytes.fromhex("021546000001")
IPV4 = ipaddress.ip_address("10.15.46.1")
IPV6 = ipaddress.ip_address("fe80::15:46ff:fe00:1")
INTERFACE = 3
EPOCH = 1_795_176_000_000  # unix ms
DAY = 86_400_000

# RFC 8032 §7.1: the authority has the key of test 1, the member of test 2, the router of test 3.
AUTHORITY_KEY, MEMBER_KEY, ROUTER_KEY = [vector[0] for vector in ed25519.VECTORS]


def u(size, value):
    return value.to_bytes(size, "big")


def sha(data, size):
    return hashlib.sha256(data).digest()[:size]


# --- frames ---------------------------------------------------------------------------------------

def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame4(fields, mac=MAC, source=IPV4):
    payload = b"".join(fields)
    group = ipaddress.ip_address("224.0.0.254").packed
    length = 8 + len(payload)
    pseudo = source.packed + group + u(2, 17) + u(2, length)
    ports = u(2, 1021) + u(2, 1021) + u(2, length)
    udp_sum = checksum(pseudo + ports + u(2, 0) + payload) or 0xFFFF
    # Precedence internetwork control, don't fragment, TTL 255, UDP.
    head = bytes.fromhex("45c0") + u(2, 20 + length) + bytes.fromhex("00004000ff11")
    ip_sum = checksum(head + u(2, 0) + source.packed + group)
    return [bytes.fromhex("01005e0000fe"), mac, u(2, 0x0800), head + u(2, ip_sum), source.packed,
            group, ports + u(2, udp_sum)] + fields


def frame6(fields, mac=MAC, source=IPV6):
    payload = b"".join(fields)
    group = ipaddress.ip_address("ff02::114").packed
    length = 8 + len(payload)
    pseudo = source.packed + group + u(4, length) + u(4, 17)
    ports = u(2, 1021) + u(2, 1021) + u(2, length)
    udp_sum = checksum(pseudo + ports + u(2, 0) + payload) or 0xFFFF
    head = bytes.fromhex("60000000") + u(2, length) + bytes.fromhex("11ff")
    return [bytes.fromhex("333300000114"), mac, u(2, 0x86DD), head, source.packed, group,
            ports + u(2, udp_sum)] + fields


# --- messages -------------------------------------------------------------------------------------

def message(kind, fields, sender=MEMBER, authentication=0, trailer=()):
    fields = list(fields) + list(trailer)
    length = 20 + sum(map(len, fields))
    return [u(1, 0x10 | kind), u(1, authentication), u(2, length), sender] + fields


def signed(kind, fields, key):
    """A message whose sender is its key, with an Ed25519 signature over all before it."""
    unsigned = message(kind, fields, identity(key), 1, [bytes(64)])[:-1]
    return unsigned + [ed25519.sign(key, b"".join(unsigned))]


def identity(key):
    return sha(b"hamp id 1" + ed25519.public(key), 16)


def record(prefix, lifetime_ms, preference=100, draining=False, scope=0, serial=None):
    net = ipaddress.ip_network(prefix)
    flags = (1 if draining else 0) | (0 if serial is None else 2)
    tail = net.network_address.packed + (b"" if serial is None else u(4, serial))
    return (u(1, net.version) + u(1, 12 + len(tail)) + u(1, net.prefixlen) + u(1, flags)
            + u(1, scope) + u(1, 0) + u(2, preference) + u(4, lifetime_ms) + tail)


def digest(records):
    """Over all records in ascending order of family number, address and prefix length."""
    def order(encoded):
        family, length, prefix_length, flags = encoded[:4]
        return family, encoded[12:length - (4 if flags & 2 else 0)], prefix_length
    return sha(b"".join(sorted(records, key=order)), 16)


class Chain:
    """The hellos of one generation: `value[i]` is shown by the hello of index i."""

    def __init__(self, name, base=0, length=1024, member=MEMBER):
        self.base, self.length = base, length
        value = sha(b"golden chain " + name, 16)
        self.value = {base + length: value}
        for index in range(base + length, base, -1):
            value = sha(b"hamp chain step1" + member + u(4, index) + value, 16)
            self.value[index - 1] = value
        self.end = value

    def id(self, generation, records_digest, member=MEMBER):
        return sha(b"hamp chain id 1" + member + u(4, INTERFACE) + u(8, EPOCH) + u(4, generation)
                   + records_digest + self.end + u(4, self.base) + u(4, self.length), 8)


def statement(chain, counter, generation, time_ms, records_digest, router=False):
    return [
        u(4, INTERFACE),
        u(8, EPOCH),
        u(4, counter),
        u(8, time_ms),
        u(4, generation),
        records_digest,
        IPV4.packed,
        IPV6.packed,
        MAC,
        u(1, 3),  # dead after three hellos
        u(1, 1 if router else 0),  # flags
        u(4, 1000),  # hello interval, ms
        chain.end,
        u(4, chain.base),
        u(4, chain.length),
    ]


def full(records, part=0, parts=1):
    return [u(1, 0), u(1, 0), u(2, part), u(2, parts), u(4, 0), u(2, len(records))] + records


def delta(base, records):
    return [u(1, 1), u(1, 0), u(2, 0), u(2, 1), u(4, base), u(2, len(records))] + records


def hello(chain, chain_id, index):
    return [chain_id, u(4, index), chain.value[index]]


def query(counter, target=bytes(16), nonce=bytes.fromhex("1546154615461546"), response_ms=50, flags=0,
          interval_ms=0):
    return [u(8, EPOCH), u(4, counter), target, nonce, u(2, response_ms), u(2, flags), u(4, interval_ms)]


def option(kind, value):
    return u(2, kind) + u(2, len(value)) + value


# --- trust ----------------------------------------------------------------------------------------

def certificate(key, roles, serial, prefixes=(), limit=0, hosts=(),
                valid=(EPOCH - DAY, EPOCH + 365 * DAY)):
    """Says which key may be a member (role 1) for which prefixes, or a router (role 2), and where."""
    body = [u(1, 1), u(1, roles), u(2, len(hosts)), u(8, serial), identity(AUTHORITY_KEY), ed25519.public(key),
            u(8, valid[0]), u(8, valid[1]), u(4, limit), u(2, len(prefixes))]
    for net in map(ipaddress.ip_network, [*prefixes, *hosts]):
        body.append(u(1, net.version) + u(1, net.prefixlen) + net.network_address.packed)
    return b"".join(body) + ed25519.sign(AUTHORITY_KEY, b"hamp certificate 1" + b"".join(body))


def revocation(number, serials):
    body = u(1, 1) + bytes(3) + identity(AUTHORITY_KEY) + u(8, number) + u(8, EPOCH) + u(4, len(serials))
    body += b"".join(u(8, serial) for serial in serials)
    return body + ed25519.sign(AUTHORITY_KEY, b"hamp revocation 1" + body)


# --- the story ------------------------------------------------------------------------------------

A4, A6, B4 = "198.18.0.1/32", "2001:2:0:1546::1/128", "198.18.0.2/32"
NONCE = bytes.fromhex("1546154615461546")
# Not in the digest's order, which is by family first.
TWO = [record(A6, 3000), record(A4, 3000)]
THREE = TWO + [record(B4, 3000)]
FIELDS = [
    record("2001:2:0:1546::8000/113", 60000, 65535, False, 2),
    record("198.18.4.0/24", 60000, 7, True, 1, 0x20261120),
    record("198.18.4.0/32", 60000)]
LATER = [bytes.fromhex("630f10000000006400000bb8") + b"xyz", record(A4, 3000)]
MANY = [record(f"198.18.1.{number}/32", 3000) for number in range(20)]
FIRST, SECOND = Chain(b"of generation 1"), Chain(b"of generation 2")
RENEWED = Chain(b"of generation 1, renewed", base=2)
OTHER = Chain(b"of the others", length=16)
FIRST_ID = FIRST.id(1, digest(TWO))
KEYED = Chain(b"of the one with a key", member=identity(MEMBER_KEY))
KEYED_ID = KEYED.id(1, digest(TWO), identity(MEMBER_KEY))
MEMBER_CERTIFICATE = certificate(MEMBER_KEY, 1, 2, ["198.18.0.0/24", "2001:2:0:1546::/112"], 4)
ROUTER_CERTIFICATE = certificate(ROUTER_KEY, 2, 3)

GOLDEN = {
    "report-ipv4": ("A full report of two addresses, over IPv4.",
        frame4(message(1, statement(FIRST, 1, 1, 0, digest(TWO)) + full(TWO)))),
    "report-ipv6": ("The same report's copy over IPv6.",
        frame6(message(1, statement(FIRST, 1, 1, 0, digest(TWO)) + full(TWO)))),
    "hello-ipv4": ("A hello of the first report's chain: chain id, index, value.",
        frame4(message(2, hello(FIRST, FIRST_ID, 2)))),
    "hello-ipv6": ("The same hello's copy over IPv6.",
        frame6(message(2, hello(FIRST, FIRST_ID, 2)))),
    "anchor": ("An anchor: a statement without records; it renews the chain and answers a query.",
        frame4(message(3, statement(RENEWED, 2, 1, 2500, digest(TWO)) + [option(1, NONCE)]))),
    "report-delta": ("A change: one address more since generation 1.",
        frame4(message(1, statement(SECOND, 3, 2, 3000, digest(THREE)) + delta(1, [record(B4, 3000)])))),
    "report-leave": ("A leave: two of the three addresses with lifetime 0.",
        frame6(message(1, statement(OTHER, 4, 3, 3500, digest([record(B4, 3000)]))
            + delta(2, [record(A4, 0), record(A6, 0)])))),
    "report-all-fields": ("A whole prefix, draining, site scope, serial; answers two nonces.",
        frame4(message(1, statement(OTHER, 5, 4, 4000, digest(FIELDS)) + full(FIELDS)
            + [option(1, NONCE + NONCE[::-1])]))),
    "report-later-version": ("A record family and an option that version 1 does not know.",
        frame4(message(1, statement(OTHER, 6, 5, 4500, digest(LATER)) + full(LATER)
            + [option(0x4000, b"later")]))),
    "report-named": ("A report of a member whose host is called `größe-1`.",
        frame4(message(1, statement(OTHER, 11, 9, 6500, digest(TWO)) + full(TWO)
            + [option(3, "größe-1".encode())]))),
    "report-part-1": ("The first part of a report in two: 12 of 20 addresses.",
        frame4(message(1, statement(OTHER, 7, 6, 5000, digest(MANY)) + full(MANY[:12], 0, 2)))),
    "report-part-2": ("Its second part, with the digest of all.",
        frame4(message(1, statement(OTHER, 8, 6, 5000, digest(MANY)) + full(MANY[12:], 1, 2)))),
    "report-part-257": ("Part 256, from 0, of 300: part and parts are two bytes each.",
        frame6(message(1, statement(OTHER, 9, 7, 5500, digest([])) + full(MANY[:1], 256, 300)))),
    "report-router": ("A router's report: it serves nothing.",
        frame6(message(1, statement(OTHER, 10, 8, 6000, digest([]), router=True) + full([])))),
    "query-everybody": ("A router's query: everybody reports in full within 300 ms.",
        frame4(message(4, query(1, response_ms=300, flags=1, interval_ms=125000), sender=ASKER))),
    "query-one": ("A query to one member, with a nonce to prove the answer fresh.",
        frame6(message(4, query(2, target=MEMBER), sender=ASKER))),
    "query-anchor": ("A router's general query: an anchor is enough.",
        frame6(message(4, query(3, response_ms=300, flags=2, interval_ms=125000), sender=ASKER))),
    "report-signed": ("A signed report: the certificate first among the options, the signature last.",
        frame4(signed(1, statement(KEYED, 1, 1, 0, digest(TWO)) + full(TWO)
            + [option(2, MEMBER_CERTIFICATE), option(1, NONCE)], MEMBER_KEY))),
    "anchor-signed": ("A signed anchor.",
        frame6(signed(3, statement(KEYED, 2, 1, 1500, digest(TWO))
            + [option(2, MEMBER_CERTIFICATE), option(1, NONCE)], MEMBER_KEY))),
    "hello-signed": ("A hello is not signed: the signed report's chain vouches for it.",
        frame4(message(2, hello(KEYED, KEYED_ID, 2), sender=identity(MEMBER_KEY)))),
    "query-signed": ("A router's signed query, with its certificate.",
        frame6(signed(4, query(1, response_ms=300, flags=2, interval_ms=125000)
            + [option(2, ROUTER_CERTIFICATE)], ROUTER_KEY))),
    "unknown-type": ("Message type 15: ignored.", frame4(message(15, [b"later"]))),
    "unknown-authentication": ("Authentication type 9: ignored.",
        frame4(message(1, [b"unreadable without knowing the trailer"], authentication=9))),
}

def write(file, what, fields, source):
    lines, line = [], ""
    for field in filter(None, fields):
        if len(line) + 2 * len(field) > 96:
            lines.append(line.rstrip())
            line = ""
        line += field.hex() + " "
    text = [f"# {what}", f"# Made by generate.py from {source}."]
    file.write_text("\n".join(text + [*lines, line.rstrip()]).replace("\n\n", "\n") + "\n")


def pieces(data):
    return [data[at:at + 32] for at in range(0, len(data), 32)]


for name, (what, fields) in GOLDEN.items():
    write(HERE / f"{name}.hex", what, fields, "docs/spec/membership.md")
for name, (what, data) in {
    "authority-key": ("The authority's public key: RFC 8032 §7.1, test 1.", ed25519.public(AUTHORITY_KEY)),
    "certificate-member": ("The certificate of the key of test 2: a member with four records at most.",
        MEMBER_CERTIFICATE),
    "certificate-router": ("The certificate of the key of test 3: a router.", ROUTER_CERTIFICATE),
    "certificate-hosts": ("The member's, which says what its own addresses are: one, and a network.",
        certificate(MEMBER_KEY, 1, 2, ["198.18.0.0/24", "2001:2:0:1546::/112"], 4,
            ["10.15.46.1/32", "2001:db8:1546::/64"])),
    "revocation-list": ("The authority's seventh list: serials 2 (the member's) and 9.",
        revocation(7, [2, 9])),
}.items():
    write(HERE / "trust" / f"{name}.hex", what, pieces(data), "docs/spec/trust.md")
