#!/usr/bin/env bash
# Builds hamp and runs its first lab: three members share one address on one link, and lose one
# another in several ways while a client keeps asking. Installs what a fresh Debian 12 lacks.
#
#   netns-scripts/demo.sh            as root or as an ordinary user
#   netns-scripts/demo.sh --quick    arguments go to `hamp-lab run first-link`
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need "${BUILD_PROGRAMS[@]}" "${LAB_PROGRAMS[@]}"
find_cargo
"$CARGO" build --locked --package testbed
exec "$target/debug/hamp-lab" run first-link "$@"
