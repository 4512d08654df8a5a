#!/usr/bin/env bash
# Fuzzes one target with the installed compiler, stable or not: nothing here is `unsafe`, so
# libFuzzer's coverage is worth having without the address sanitizer that needs nightly.
#
#   fuzz/run.sh                  builds all targets
#   fuzz/run.sh decode 60        runs `decode` for 60 seconds from the committed corpus
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../netns-scripts/lib.sh"

need "${BUILD_PROGRAMS[@]}" g++=g++
find_cargo
host=$("$CARGO" -vV | sed -n 's/^host: //p')
coverage=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
    --cfg=fuzzing -Ccodegen-units=1)
# With --target the flags do not reach build scripts and macros, which must not be instrumented.
RUSTFLAGS="${coverage[*]}" CARGO_TARGET_DIR="$repo/fuzz/target" \
    "$CARGO" build --locked --release --manifest-path fuzz/Cargo.toml --target "$host"

(($#)) || exit 0
# What is found goes beside the corpus, which holds only chosen files.
mkdir -p "fuzz/target/found/$1" fuzz/artifacts
exec "fuzz/target/$host/release/$1" -max_total_time="${2:-60}" -max_len=2048 \
    -artifact_prefix=fuzz/artifacts/ "fuzz/target/found/$1" "fuzz/corpus/$1"
