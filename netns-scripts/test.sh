#!/usr/bin/env bash
# Every test: units, properties, conformance, namespaces, and the examples in the documentation.
# Installs what a fresh Debian 12 lacks. What this machine or user cannot run is listed at the end.
#
#   netns-scripts/test.sh            as root or as an ordinary user
#   netns-scripts/test.sh NAME       only tests whose name contains NAME
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need "${BUILD_PROGRAMS[@]}" "${LAB_PROGRAMS[@]}"
find_cargo

log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$CARGO" build --locked --workspace
if "$CARGO" nextest --version >/dev/null 2>&1; then
    # A filter that only doc tests match, or that none matches, is not a failure here.
    "$CARGO" nextest run --locked --workspace --no-fail-fast --no-tests=pass "$@"
    sed 's/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g' "$target/nextest/default/junit.xml" >"$log"
else
    "$CARGO" test --locked --workspace --lib --bins --tests --no-fail-fast -- --show-output "$@" |
        tee "$log"
fi
"$CARGO" test --locked --workspace --doc -- "$@"

# A test that cannot run prints one line that begins with `skipped: ` and says why.
skips=$(sed -nE 's/.*(skipped: .*|test [^ ]+ ... ignored, .*)/\1/p' "$log" | sort | uniq -c)
if [[ -n $skips ]]; then
    printf '\nnot run here (how often, why):\n%s\n' "$skips"
fi
