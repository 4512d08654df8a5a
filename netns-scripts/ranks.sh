#!/usr/bin/env bash
# Who has which address when all else is equal: the hash of docs/spec/link.md ("Ranks"), computed with
# openssl alone.
#
#   netns-scripts/ranks.sh ADDRESS... -- NAME=MAC...
#   netns-scripts/ranks.sh 198.18.0.1 -- one=02:00:00:00:00:01 two=02:00:00:00:00:02
#
# Prints each address with its members, rank 1 first, and their scores.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[[ ${1:-} != -h && ${1:-} != --help ]] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0" | sed '$d'; exit; }
[[ " $* " == *' -- '*=* ]] || die 2 "usage: $0 ADDRESS... -- NAME=MAC..."
need openssl=openssl perl=perl-base

addresses=()
while [[ $1 != -- ]]; do
    addresses+=("$1")
    shift
done
shift

# bytes HEX: the bytes that hexadecimal digits stand for.
bytes() { perl -e 'print pack "H*", shift' "$1"; }

# id NAME MAC: the first 16 bytes of SHA-256 over "hamp id without key 1", the MAC and the name, in
# hexadecimal (docs/spec/membership.md, "Header").
id() {
    { printf 'hamp id without key 1' && bytes "${2//:/}" && printf '%s' "$1"; } |
        openssl dgst -sha256 -r | cut -c1-32
}

# packed ADDRESS: one byte 4 or 6 for the family, and the address's bytes, in hexadecimal.
packed() {
    perl -MSocket=inet_pton,AF_INET,AF_INET6 -e '
        my ($text) = @ARGV;
        my $v6 = $text =~ /:/;
        my $bytes = inet_pton($v6 ? AF_INET6 : AF_INET, $text) // die "$text is no address\n";
        print $v6 ? "06" : "04", unpack "H*", $bytes' "$1"
}

# score ID ADDRESS: SipHash-2-4 with a key of zeros. openssl prints its eight bytes, lowest first.
score() {
    bytes "$1$2" |
        openssl mac -macopt hexkey:00000000000000000000000000000000 -macopt size:8 -in - SIPHASH |
        perl -ne 'chomp; print scalar reverse(pack "H*", $_) =~ s/(.)/sprintf "%02x", ord $1/gesr'
}

for address in "${addresses[@]}"; do
    packed=$(packed "$address") || exit 2
    ranked=$(for member in "$@"; do
        printf '%s %s\n' "$(score "$(id "${member%%=*}" "${member#*=}")" "$packed")" "${member%%=*}"
    done | LC_ALL=C sort -r)
    printf '%-20s' "$address"
    while read -r score name; do printf ' %s (%s)' "$name" "$score"; done <<<"$ranked"
    printf '\n'
done
