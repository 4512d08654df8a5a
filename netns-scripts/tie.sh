#!/usr/bin/env bash
# Two members, one tie: the lab `hamp-lab run tie`, in commands you can type.
#
#        one          two        client        late
#     10.15.46.1   10.15.46.2  10.15.46.9  10.15.46.10
#         |            |            |            |
#     ----+------------+------------+------------+----      the switch lan
#
# one and two serve the same eight addresses, and neither is preferred. Who has which? You can know
# before you look. docs/labs/tie.md has the answer.
#
#   netns-scripts/tie.sh            builds the network and plays
#   netns-scripts/tie.sh shell      ... and leaves you in a shell on client
#   netns-scripts/tie.sh describe   builds it and prints what it has built
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lesson.sh"
lesson "$@"

addresses=(198.18.0.{1..4} 2001:2:0:1546::{1..4})

step 'A switch and four hosts. The MAC addresses matter here: an id is made of MAC and name.'
switch lan
host one 1 02:00:00:00:00:01
host two 2 02:00:00:00:00:02
host client 9 02:00:00:00:00:09
host late 10 02:00:00:00:00:0a
run ip -n late route add 198.18.0.0/16 dev eth0
run ip -n late route add 2001:2:0:1546::/112 dev eth0

# member HOST: no preference is said, so both have the same.
member() {
    serve "$1"
    { echo '[member]' && printf '"%s", ' "${addresses[@]}" | sed 's/^/addresses = [/; s/, $/]\n/'; } |
        run_hamp "$1"
}
step 'Two members that differ in nothing.'
member one
member two
run_hamp client <<-END
	[client]
	END
built

step 'What the specification says, computed with openssl.'
run "$repo/netns-scripts/ranks.sh" "${addresses[@]}" -- one=02:00:00:00:00:01 two=02:00:00:00:00:02
until_true 10 'client to know both' knows client 2

# table: who answers client for each address.
table() {
    local address
    for address in "${addresses[@]}"; do
        until_true 10 "an answer for $address" answered client "$address"
        printf '%-20s %s\n' "$address" "$(dns client "$address")"
    done
}
step 'What client sees.'
table

step 'two leaves all eight. Nothing is lost: it serves on until one has announced itself.'
for address in "${addresses[@]}"; do run on two "$hamp" leave --no-wait "$address"; done
for address in "${addresses[@]}"; do
    until_true 10 "one to answer for $address" answers dns client "$address" one
done
table

step 'two is back: who asks anew finds the same as in the beginning.'
for address in "${addresses[@]}"; do run on two "$hamp" join --no-wait "$address"; done
until_true 10 'client to know both again' knows client 2
for address in "${addresses[@]}"; do
    until_true 10 "an answer for $address" answered late "$address"
    printf '%-20s %s\n' "$address" "$(dns late "$address")"
done
finished client
