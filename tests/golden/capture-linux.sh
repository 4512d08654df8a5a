#!/usr/bin/env bash
# Captures how the Linux kernel asks and answers, as linux-*.hex. Root; namespaces of its own.
#
#   tests/golden/capture-linux.sh        rewrites tests/golden/linux-*.hex
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
asker=hamp-golden-asker-$$ owner=hamp-golden-owner-$$
trap 'ip netns del "$asker"; ip netns del "$owner"; rm -rf "$work"' EXIT
ip netns add "$asker"
ip netns add "$owner"
ip -n "$asker" link add eth0 address 02:15:46:00:00:0a type veth \
    peer name eth0 address 02:15:46:00:00:0b netns "$owner"
for host in "$asker" "$owner"; do
    ip netns exec "$host" sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.dad_transmits=0
    ip -n "$host" link set lo up
    ip -n "$host" link set eth0 up
done
ip -n "$asker" address add 10.15.46.10/24 dev eth0
ip -n "$asker" address add fd15:46::a/64 dev eth0 nodad
ip -n "$owner" address add 10.15.46.11/24 dev eth0
ip -n "$owner" address add fd15:46::b/64 dev eth0 nodad

# capture NAME WHAT FILTER COMMAND...: the first frame that matches while COMMAND runs.
capture() {
    local name=$1 what=$2 filter=$3 tap
    shift 3
    ip -n "$asker" neighbour flush dev eth0
    ip netns exec "$asker" tcpdump -i eth0 -U -c 1 -w "$work/frame.pcap" "$filter" 2>"$work/log" &
    tap=$!
    while kill -0 "$tap" && ! grep -q 'listening on' "$work/log"; do :; done
    ip netns exec "$asker" "$@" >/dev/null || true
    wait "$tap"
    {
        printf '# %s\n' "$what"
        printf '# Captured by capture-linux.sh from Linux %s: %s\n' "$(uname -r | cut -d. -f1-2)" "$*"
        tcpdump -r "$work/frame.pcap" -xx 2>/dev/null | sed -n 's/^\t0x[0-9a-f]*:  //p'
    } >"$here/linux-$name.hex"
}
four='ping -c 1 -W 2 10.15.46.11' six='ping -c 1 -W 2 fd15:46::b'
# shellcheck disable=SC2086 # the words of a command
{
    capture arp-request 'An ARP request to all.' 'arp[7] = 1 and ether broadcast' $four
    capture arp-reply 'Its answer.' 'arp[7] = 2' $four
    capture arp-announcement 'A gratuitous ARP.' 'arp[7] = 1' arping -U -c 1 -I eth0 10.15.46.10
    capture neighbour-solicitation 'A solicitation to the solicited-node group.' 'icmp6[0] = 135' $six
    capture neighbour-advertisement 'Its answer, Solicited and Override set.' 'icmp6[0] = 136' $six
}
