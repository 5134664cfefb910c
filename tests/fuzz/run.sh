#!/usr/bin/env bash
# Fuzzes decoders led by what code an input reaches (libFuzzer; a C++ compiler builds it). A stable toolchain does.
#
#   tests/fuzz/run.sh all 60          every target, for so many seconds each
#   tests/fuzz/run.sh log 3600 -jobs=2   one; what follows is libFuzzer's
#   tests/fuzz/run.sh keep            replaces the kept inputs, tests/fuzz/corpus, by few that reach the same
#
# What it finds grows in target/fuzz/corpus. An input that breaks a promise is in target/fuzz, and its path in the output:
# `cargo test --test fuzz -- TARGET FILE` runs it again.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

TARGETS="client quorum election txn log snapshot java_snapshot java_log sasl config"
# Bytes of an input; and of all kept inputs of one target.
INPUT_BYTES_MAX=4096
KEPT_BYTES_MAX=12000
TRIPLE=$(rustc -vV | sed -n 's/^host: //p')
# Relative to the repository, or as cargo is told.
FOLDER=$(realpath -m "${CARGO_TARGET_DIR:-target}/fuzz")

build() {
  # With --target, flags are not for build scripts, which could not be linked.
  export CARGO_TARGET_DIR=$FOLDER RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
  cargo test --no-default-features --test fuzz --target "$TRIPLE" --no-run --message-format=json-render-diagnostics |
    sed -n 's/.*"name":"fuzz".*"executable":"\([^"]*\)".*/\1/p'
}

seeds() {
  ZKFAST_FUZZ_SEEDS_TO=$FOLDER/seeds cargo test --no-default-features --test fuzz >"$FOLDER/seeds.log" 2>&1 ||
    { cat "$FOLDER/seeds.log"; return 1; }
}

what=${1:?"usage: tests/fuzz/run.sh TARGET|all|keep [SECONDS [OPTION...]]"}
seconds=${2:-60}
[ $# -lt 2 ] || shift
shift
mkdir -p "$FOLDER"
seeds
program=$(build)
[ -x "$program" ] || { echo "there is no program: $program"; exit 1; }

case $what in all | keep) targets=$TARGETS ;; *) targets=$what ;; esac
failed=0
for target in $targets; do
  export ZKFAST_FUZZ_TARGET=$target
  corpus=$FOLDER/corpus/$target kept=tests/fuzz/corpus/$target log=$FOLDER/$target.log
  mkdir -p "$corpus" "$kept"
  if [ "$what" = keep ]; then
    rm -rf "$FOLDER/merged"
    mkdir -p "$FOLDER/merged"
    "$program" -set_cover_merge=1 -max_len=1024 "$FOLDER/merged" "$kept" "$corpus" "$FOLDER/seeds/$target" >"$log" 2>&1
    # Those with a name of their own stay: they are of bugs.
    find "$kept" -regextype sed -regex '.*/[0-9a-f]\{40\}' -delete
    # The smallest first, as far as they go.
    find "$FOLDER/merged" -type f -printf '%s %p\n' | sort -n |
      awk -v max=$KEPT_BYTES_MAX '{ bytes += $1; if (bytes <= max) print $2 }' | xargs -r cp -t "$kept"
    printf '%-14s %d inputs kept\n' "$target" "$(find "$kept" -type f | wc -l)"
    continue
  fi
  # Each unknown key is compared with all known ones: long files take long.
  bytes=$([ "$target" = config ] && echo 512 || echo $INPUT_BYTES_MAX)
  status=ok
  "$program" -max_total_time="$seconds" -max_len="$bytes" -timeout=20 -rss_limit_mb=2048 \
    -artifact_prefix="$FOLDER/$target-" -print_final_stats=1 "$@" \
    "$corpus" "$kept" "$FOLDER/seeds/$target" >"$log" 2>&1 || status=FAILED
  printf '%-14s %s  %s\n' "$target" $status \
    "$(awk '/number_of_executed_units/ { n = $2 } / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") c = $(i + 1) }
      END { print n + 0, "inputs,", c + 0, "places in the code" }' "$log")"
  if [ $status = FAILED ]; then
    failed=$((failed + 1))
    grep -E "panicked|Test unit written|libFuzzer:" -A1 "$log" | tail -n 8
  fi
done
[ "$failed" = 0 ]
