#!/bin/sh
# Runs each fuzz target for SECONDS_EACH seconds (20), from the seeds and from what earlier runs found. Without a nightly
# toolchain each is skipped, and said to be.

set -eu
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
seconds=${SECONDS_EACH:-20}
work=$root/target/fuzz
PATH="$PATH:$root/target/tools/bin"

for target in targets/*.rs; do
    name=$(basename "$target" .rs)
    if ! cargo +nightly --version >/dev/null 2>&1; then
        echo "==> skipped: fuzz target $name: there is no nightly toolchain (rustup toolchain install nightly)"
        continue
    fi
    echo "==> fuzzing: $name, for $seconds s"
    mkdir -p "$work/corpus/$name" "$work/artifacts/$name"
    # No sanitizer: what is fuzzed has no unsafe code, and its own assertions are what is to fail.
    cargo +nightly fuzz run --fuzz-dir . --target-dir "$work" --sanitizer none "$name" "$work/corpus/$name" "seeds/$name" -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 \
        -artifact_prefix="$work/artifacts/$name/"
done
