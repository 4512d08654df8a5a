#!/usr/bin/env bash
# The cache that lies: the lab `hamp-lab run cache`, in commands you can type.
#
#        one          two        client       stock
#     10.15.46.1   10.15.46.2  10.15.46.9  10.15.46.10
#         |            |            |            |
#     ----+------------+------------+------------+----      the switch lan
#
# Both clients are deaf when one dies and two takes over. What does each of them believe afterwards?
# docs/labs/cache.md has the answer.
#
#   netns-scripts/cache.sh            builds the network and plays
#   netns-scripts/cache.sh shell      ... and leaves you in a shell on stock
#   netns-scripts/cache.sh describe   builds it and prints what it has built
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lesson.sh"
lesson "$@"

step 'A switch and four hosts.'
switch lan
host one 1 02:00:00:00:00:01
host two 2 02:00:00:00:00:02
host client 9 02:00:00:00:00:09
host stock 10 02:00:00:00:00:0a
run ip -n stock route add 198.18.0.0/16 dev eth0
run ip -n stock route add 2001:2:0:1546::/112 dev eth0

# member HOST PREFERENCE
member() {
    serve "$1"
    run_hamp "$1" <<-END
	[member]
	addresses = ["198.18.0.1", "2001:2:0:1546::1"]
	preference = $2
	END
}
step 'Two members with servers, and a client that runs hamp. stock has its kernel alone.'
member one 200
member two 100
run_hamp client <<-END
	[client]
	END
built

step 'Both clients are answered by one, and know its MAC address.'
until_true 10 'one to be the owner' owned_by 198.18.0.1 10.15.46.1
until_true 10 'an answer' answers dns client 198.18.0.1 one
until_true 10 'an answer' answers dns stock 198.18.0.1 one
run ip -n client neigh show 198.18.0.1
run ip -n stock neigh show 198.18.0.1

step 'The cables of both leave the bridge: frames are lost, and the carrier stays.'
run ip -n lan link set client nomaster
run ip -n lan link set stock nomaster
run ip -n stock -brief link show eth0
step 'one dies. two misses three hellos and announces itself, three times in 2.2 s; nobody hears it.'
kill_all one
run sleep 6

step 'Frames pass again. Nothing is announced: nothing happens now.'
run ip -n lan link set client master br0
run ip -n lan link set stock master br0
until_true 5 'client to hear two' answers dns client 198.18.0.1 two
run ip -n client neigh show 198.18.0.1
step 'stock still believes in the dead one, for 23 to 53 s after it last heard from it.'
run dns stock 198.18.0.1
run ip -n stock neigh show 198.18.0.1
step 'Until it gives up by itself, or somebody makes it forget.'
run ip -n stock neigh flush to 198.18.0.1
until_true 5 'stock to ask again' answers dns stock 198.18.0.1 two
run ip -n stock neigh show 198.18.0.1
finished stock
