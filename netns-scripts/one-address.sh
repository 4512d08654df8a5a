#!/usr/bin/env bash
# One address, three servers: the lab `hamp-lab run one-address`, in commands you can type.
#
#        one          two         three       client        late
#     10.15.46.1   10.15.46.2   10.15.46.3  10.15.46.9   10.15.46.10
#         |            |            |            |            |
#     ----+------------+------------+------------+------------+----      the switch lan
#
# one, two and three serve 198.18.0.1 and 2001:2:0:1546::1. Who answers, what happens when that one is
# unplugged, and who answers when it is back? docs/labs/one-address.md has the answer.
#
#   netns-scripts/one-address.sh            builds the network and plays
#   netns-scripts/one-address.sh shell      ... and leaves you in a shell on client
#   netns-scripts/one-address.sh describe   builds it and prints what it has built
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lesson.sh"
lesson "$@"

step 'A switch and five hosts.'
switch lan
host one 1 02:00:00:00:00:01
host two 2 02:00:00:00:00:02
host three 3 02:00:00:00:00:03
host client 9 02:00:00:00:00:09
host late 10 02:00:00:00:00:0a

step 'late will not run hamp: somebody has to tell it that the addresses are on its link.'
run ip -n late route add 198.18.0.0/16 dev eth0
run ip -n late route add 2001:2:0:1546::/112 dev eth0

# member HOST PREFERENCE: no `ip address add 198.18.0.1` anywhere: hamp gives a host the address, and
# takes it away when the host has no right to it any more.
member() {
    serve "$1"
    run_hamp "$1" <<-END
	[member]
	addresses = ["198.18.0.1", "2001:2:0:1546::1"]
	preference = $2
	END
}
step 'Three members with servers, one preferred to the other.'
member one 300
member two 200
member three 100
step 'A client: its kernel learns who has the address from hamp alone.'
run_hamp client <<-END
	[client]
	END
built

step 'Who answers?'
until_true 10 'an answer over IPv4' answers ask client 198.18.0.1 one
until_true 10 'an answer over IPv6' answers ask client '[2001:2:0:1546::1]' one
run on client curl --silent http://198.18.0.1/
run on client curl --silent 'http://[2001:2:0:1546::1]/'
run ip -n client neigh show 198.18.0.1

step 'The cable of one is pulled, at the other end: one notices nothing but a lost carrier.'
run ip -n lan link set one down
until_true 10 'the next member' answers ask client 198.18.0.1 two
until_true 10 'the next member' answers ask client '[2001:2:0:1546::1]' two
run on client curl --silent http://198.18.0.1/
run ip -n client neigh show 198.18.0.1

step 'It is plugged in again. client has an entry that works: it keeps it.'
run ip -n lan link set one up
until_true 10 'one to be the owner again' owned_by 198.18.0.1 10.15.46.1
run on client "$hamp" members
run on client curl --silent http://198.18.0.1/
step 'late has never asked before.'
run dns late 198.18.0.1
run dns late 2001:2:0:1546::1
finished client
