#!/usr/bin/env bash
# No router at all: the lab `hamp-lab run no-router`, in commands you can type.
#
#        one          two        client       plain
#     10.15.46.1   10.15.46.2  10.15.46.9  10.15.46.10
#         |            |            |            |
#     ----+------------+------------+------------+----      the switch lan
#
# one and two share 10.15.46.200 and fd15:46::200, addresses of their own subnet. Who needs a router, a
# route, or to be told anything? docs/labs/no-router.md has the answer.
#
#   netns-scripts/no-router.sh            builds the network and plays
#   netns-scripts/no-router.sh shell      ... and leaves you in a shell on plain
#   netns-scripts/no-router.sh describe   builds it and prints what it has built
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lesson.sh"
lesson "$@"

step 'A switch and four hosts, and not one route but those of their own addresses.'
switch lan
host one 1 02:00:00:00:00:01
host two 2 02:00:00:00:00:02
host client 9 02:00:00:00:00:09
host plain 10 02:00:00:00:00:0a

# class: which addresses are anycast here; without it hamp would leave addresses of a subnet alone.
class() {
    cat <<-END
	[class]
	ipv4 = ["10.15.46.200/32"]
	ipv6 = ["fd15:46::200/128"]
	END
}
# member HOST PREFERENCE
member() {
    serve "$1"
    {
        class
        cat <<-END
	[member]
	addresses = ["10.15.46.200", "fd15:46::200"]
	preference = $2
	END
    } | run_hamp "$1"
}
step 'Two members of an address that is carved out of the subnet.'
member one 200
member two 100
step 'client runs hamp; plain is just a host of the subnet.'
{ class && echo '[client]'; } | run_hamp client
built

step 'There is no router to ask.'
run ip -n plain route show default
run ip -n plain route
step 'And none is needed.'
until_true 10 'an answer' answers ask client 10.15.46.200 one
until_true 10 'an answer' answers dns plain 10.15.46.200 one
until_true 10 'an answer' answers dns plain fd15:46::200 one
run on client curl --silent http://10.15.46.200/
run dns plain fd15:46::200
run ip -n plain neigh show 10.15.46.200

step 'Who listens to the membership messages: members and clients joined these groups.'
run ip -n one maddress show dev eth0

step 'one dies; two misses its hellos.'
kill_all one
until_true 10 'the next member' answers dns plain 10.15.46.200 two
until_true 10 'the next member' answers ask client '[fd15:46::200]' two
run dns plain 10.15.46.200
finished plain
