#!/usr/bin/env python3
"""Writes the golden packets of the membership protocol from docs/spec/membership.md.

An encoder of its own: it shares no line with src/wire, so that the two agree only where both
follow the specification. Whole Ethernet frames, one file each, hexadecimal spaced by field.

    tests/golden/generate.py        rewrites tests/golden/*.hex that it made (not linux-*.hex)
"""
import hashlib
import ipaddress
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
MEMBER = bytes.fromhex("6d656d6265722d6f6e652d3030303031")  # "member-one-00001"
ASKER = bytes.fromhex("61736b65722d6f6e652d303030303031")  # "asker-one-000001"
MAC = bytes.fromhex("021546000001")
IPV4 = ipaddress.ip_address("10.15.46.1")
IPV6 = ipaddress.ip_address("fe80::15:46ff:fe00:1")
EPOCH = 1_795_176_000_000  # unix ms


def u(size, value):
    return value.to_bytes(size, "big")


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


def message(kind, fields, sender=MEMBER, authentication=0, trailer=()):
    fields = list(fields) + list(trailer)
    length = 20 + sum(map(len, fields))
    return [u(1, 0x10 | kind), u(1, authentication), u(2, length), sender] + fields


def statement(chain_end, counter, generation, time_ms, digest, flags=0):
    return [
        u(4, 3),  # interface
        u(8, EPOCH),
        u(4, counter),
        u(8, time_ms),
        u(4, generation),
        digest,
        IPV4.packed,
        IPV6.packed,
        MAC,
        u(1, 3),  # dead after three hellos
        u(1, flags),  # 1: a router
        u(4, 1000),  # hello interval, ms
        chain_end,
        u(4, 0),  # the chain's first index
        u(4, 1024),  # and its length
    ]


def record(prefix, lifetime_ms, preference=100, draining=False, scope=0, serial=None):
    net = ipaddress.ip_network(prefix)
    flags = (1 if draining else 0) | (0 if serial is None else 2)
    tail = net.network_address.packed + (b"" if serial is None else u(4, serial))
    return (u(1, net.version) + u(1, 12 + len(tail)) + u(1, net.prefixlen) + u(1, flags)
            + u(1, scope) + u(1, 0) + u(2, preference) + u(4, lifetime_ms) + tail)


def option(kind, value):
    return u(2, kind) + u(2, len(value)) + value


def full(records):
    return [u(1, 0), u(1, 0), u(2, 0), u(2, 1), u(4, 0), u(2, len(records))] + records


def delta(base, records):
    return [u(1, 1), u(1, 0), u(2, 0), u(2, 1), u(4, base), u(2, len(records))] + records


SECRET = bytes(range(16))
END = hashlib.sha256(b"golden chain end").digest()[:16]
DIGEST = hashlib.sha256(b"golden digest").digest()[:16]
A4, A6 = "198.18.0.1/32", "2001:2:0:1546::1/128"
TWO = [record(A4, 3000), record(A6, 3000)]
NONCE = bytes.fromhex("1546154615461546")

GOLDEN = {
    "report-ipv4": ("A full report of two addresses, over IPv4.",
        frame4(message(1, statement(END, 1, 1, 0, DIGEST) + full(TWO)))),
    "report-ipv6": ("The same report's copy over IPv6.",
        frame6(message(1, statement(END, 1, 1, 0, DIGEST) + full(TWO)))),
    "report-all-fields": ("A whole prefix, draining, site scope, serial; answers two nonces.",
        frame4(message(1, statement(END, 2, 2, 500, DIGEST) + full([
            record("198.18.4.0/24", 60000, 7, True, 1, 0x20261120),
            record("2001:2:0:1546::8000/113", 60000, 65535, False, 2)])
            + [option(1, NONCE + NONCE[::-1])]))),
    "report-delta": ("A change: one address more since generation 1.",
        frame4(message(1, statement(END, 3, 2, 1000, DIGEST)
            + delta(1, [record("198.18.0.2/32", 3000)])))),
    "report-leave": ("A leave: both addresses with lifetime 0.",
        frame6(message(1, statement(END, 4, 3, 2000, DIGEST)
            + delta(2, [record(A4, 0), record(A6, 0)])))),
    "report-later-version": ("A record family and an option that version 1 does not know.",
        frame4(message(1, statement(END, 5, 4, 3000, DIGEST)
            + full([record(A4, 3000), bytes.fromhex("630f10000000006400000bb8") + b"xyz"])
            + [option(0x4000, b"later")]))),
    "report-signed": ("Authentication type 1: an Ed25519 signature as the trailer.",
        frame4(message(1, statement(END, 6, 4, 4000, DIGEST) + full(TWO)
            + [option(2, b"certificate")], authentication=1, trailer=[b"\x5a" * 64]))),
    "anchor": ("An anchor: a statement without records.",
        frame4(message(3, statement(END, 7, 4, 5000, DIGEST) + [option(1, NONCE)]))),
    "hello-ipv4": ("A hello: chain, index, value.",
        frame4(message(2, [hashlib.sha256(b"golden chain").digest()[:8], u(4, 7), SECRET]))),
    "hello-ipv6": ("The same hello's copy over IPv6.",
        frame6(message(2, [hashlib.sha256(b"golden chain").digest()[:8], u(4, 7), SECRET]))),
    "query-everybody": ("A router's query: everybody reports in full within 300 ms.",
        frame4(message(4, [u(8, EPOCH), u(4, 1), bytes(16), NONCE, u(2, 300), u(2, 1),
            u(4, 125000)], sender=ASKER))),
    "query-one": ("A query to one member, with a nonce to prove the answer fresh.",
        frame6(message(4, [u(8, EPOCH), u(4, 2), MEMBER, NONCE, u(2, 50), u(2, 0), u(4, 0)],
            sender=ASKER))),
    "report-router": ("A router without a member of its own: the router flag and no record.",
        frame6(message(1, statement(END, 1, 1, 0, DIGEST, flags=1) + full([])))),
    "query-anchor": ("A querier's general query: an anchor is answer enough.",
        frame4(message(4, [u(8, EPOCH), u(4, 3), bytes(16), NONCE, u(2, 10000), u(2, 2),
            u(4, 125000)], sender=ASKER))),
    "unknown-type": ("Message type 15: ignored.", frame4(message(15, [b"later"]))),
    "unknown-authentication": ("Authentication type 9: ignored.",
        frame4(message(1, [b"unreadable without knowing the trailer"], authentication=9))),
}

for name, (what, fields) in GOLDEN.items():
    lines, line = [], ""
    for field in filter(None, fields):
        if len(line) + 2 * len(field) > 96:
            lines.append(line.rstrip())
            line = ""
        line += field.hex() + " "
    text = [f"# {what}", "# Made by generate.py from docs/spec/membership.md."]
    (HERE / f"{name}.hex").write_text("\n".join(text + [*lines, line.rstrip()]).replace("\n\n", "\n") + "\n")
