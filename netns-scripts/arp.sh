#!/usr/bin/env bash
# What ARP really decides: the lab `hamp-lab run arp`, in commands you can type.
#
#        one          two         three        stock
#     10.15.46.1   10.15.46.2   10.15.46.3   10.15.46.9
#         |            |            |            |
#     ----+------------+------------+------------+----      the switch lan
#
# one, two and three have the same address and nothing else. How many answers does stock get, and which
# one does its kernel believe? docs/labs/arp.md has the answer. The lab gives the servers' cables
# different delays; here the switch alone decides who comes first.
#
#   netns-scripts/arp.sh            builds the network and plays
#   netns-scripts/arp.sh shell      ... and leaves you in a shell on stock
#   netns-scripts/arp.sh describe   builds it and prints what it has built
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lesson.sh"
[[ ${HAMP_LESSON:-} == inside ]] || need tcpdump=tcpdump
lesson "$@"

step 'A switch and four hosts.'
switch lan
host one 1 02:00:00:00:00:01
host two 2 02:00:00:00:00:02
host three 3 02:00:00:00:00:03
host stock 9 02:00:00:00:00:09
run ip -n stock route add 198.18.0.0/16 dev eth0
run ip -n stock route add 2001:2:0:1546::/112 dev eth0

step 'The same addresses on three hosts: by hand that is a mistake, and no kernel notices.'
for server in one two three; do
    run ip -n "$server" address add 198.18.0.1/32 dev eth0
    run ip -n "$server" address add 2001:2:0:1546::1/128 dev eth0 nodad
    serve "$server"
done
built

# listen COMMAND...: the answers that the command draws, as tcpdump sees them on stock's cable.
listen() {
    ip netns exec stock tcpdump --immediate-mode -lnetvi eth0 'arp or (icmp6 and (ip6[40] == 135 or ip6[40] == 136))' \
        >"$state/tcpdump" 2>"$state/tcpdump.log" &
    local listener=$!
    until grep -q 'listening on' "$state/tcpdump.log"; do
        # It changes to a user of its own, whom a user namespace of an ordinary user does not have.
        if ! kill -0 "$listener" 2>/dev/null; then
            printf '   %s\n' "$(tail -n 1 "$state/tcpdump.log")"
            "$@"
            return
        fi
        sleep 0.05
    done
    "$@"
    # Late answers are answers too.
    sleep 1
    kill "$listener"
    wait "$listener" || true
    sed -nE 's/^([0-9a-f:]+) > .*Reply (198.18.0.1 is-at .*), length.*/   \1 says: \2/p
        s/^([0-9a-f:]+) > .*advertisement.*tgt is (2001:2:0:1546::1), (Flags .*)/   \1 says: \2, \3/p' \
        "$state/tcpdump"
}
# first ADDRESS: a question to all, since stock knows nothing yet.
first() {
    run ip -n stock neigh flush all
    dns stock "$1" >"$state/answer"
}

step 'Over IPv4: three answers, and what the kernel made of them.'
until_true 10 'the servers' dns stock 198.18.0.1
listen first 198.18.0.1
run ip -n stock neigh show 198.18.0.1
step 'Over IPv6: three answers again; Override is set (flags 0x60), so each replaces the one before.'
listen first 2001:2:0:1546::1
run ip -n stock neigh show 2001:2:0:1546::1

step 'Now the addresses go away, and hamp comes.'
preference=300
for server in one two three; do
    run ip -n "$server" address del 198.18.0.1/32 dev eth0
    run ip -n "$server" address del 2001:2:0:1546::1/128 dev eth0
    run_hamp "$server" <<-END
	[member]
	addresses = ["198.18.0.1", "2001:2:0:1546::1"]
	preference = $preference
	END
    preference=$((preference - 100))
done
for server in one two three; do
    until_true 10 "$server to know the others" knows "$server" 2
done
step 'One answer, from the member that is preferred; Override is clear (flags 0x40).'
listen first 198.18.0.1
listen first 2001:2:0:1546::1
run ip -n stock neigh
finished stock
