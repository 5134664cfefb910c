#!/usr/bin/env bash
# Runs all tests of zkfast, and installs what they need.
#
#   tests/run.sh                      all steps of --list
#   tests/run.sh kazoo zkcli          some steps, and the build or installation that they need
#   tests/run.sh --reference          the compat steps against Apache ZooKeeper, which tests their expectations
#   tests/run.sh --list               the steps
#
# Two steps run at a time. Prints a line per step, and failures. All output is in target/test-logs/STEP.log. The last line is
# `N passed, N failed, N skipped`: tests, or steps without a count of tests. Exit status 1 if any failed.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

STEPS="fmt build setup kazoo kazoo3 zkcli sasl java sessions cli lecture offline metrics prometheus audit admin roles reconfig rolling tls console restore size large packages core compile clippy doc deny loom sim fuzz benches test epoll"
# Those that wait for nothing but a core, and whose results depend on no time. They run beside the others, on what these leave
# of the cores: most others wait for disks and timers.
BESIDE="core compile clippy doc deny loom sim fuzz benches"
# A step has no time limit, since its duration depends on the machine. It is ended if it makes no progress: it has written
# nothing for so many seconds, and used less CPU time than this in them (idle servers use some) ...
IDLE_SECONDS_MAX=${ZKFAST_STEP_IDLE_SECONDS_MAX:-300}
IDLE_CPU_SECONDS=20
# ... or if it loops: it has used so much CPU time since its last output.
SILENT_CPU_SECONDS_MAX=${ZKFAST_STEP_SILENT_CPU_SECONDS_MAX:-1800}
LOGS=${CARGO_TARGET_DIR:-target}/test-logs
mkdir -p "$LOGS"
export CARGO_TERM_COLOR=never

describe() {
  cat <<'EOF'
fmt       the source is formatted (cargo fmt --check)
core      the pure core stands without glommio, files, sockets and clocks, its tests too
build     release build of the workspace: what the steps with servers run
compile   the test programs of the step test are built
clippy    no lint speaks (cargo clippy, warnings are errors)
doc       the documentation builds, no link in it dangles (cargo doc, warnings are errors)
deny      licences, versions and sources of all crates (cargo-deny, tests/deny.toml); skipped where it cannot be had
loom      the channel between shards in every order of its steps (loom, a model checker)
setup     kazoo and Apache ZooKeeper are installed, and what the step packages needs (tests/setup/setup.sh)
sim       2000 seeded histories of simulated ensembles (ZKFAST_SIM_SEEDS=FROM..TO for others)
test      unit and tidy tests with overflow checks; integration, differential and crash tests of the release build
fuzz      every decoder for 6 s each, led by the code that inputs reach (libFuzzer; ZKFAST_FUZZ_SECONDS)
epoll     what is tested of servers on sockets, again on the other engine (--engine epoll)
benches   every benchmark runs once (cargo bench -- --test)
kazoo     kazoo's own test suite (tests/compat/kazoo)
kazoo3    the same against three servers that form one service
zkcli     ZooKeeper's own command line (tests/compat/zkcli.py)
sasl      SASL and the other schemes of clients, SASL between servers, beside and with Apache ZooKeeper (tests/compat/sasl.py,
          auth.py, quorum_sasl.py, kerberos.py), and of zkfast's clients (sasl_tools.py)
java      ZooKeeper's own tests in Java that need servers and none of their insides: authentication, ensembles, local sessions,
          reads without a leader, observers, reconfiguration (tests/compat/java_suite.py)
sessions  local sessions and reads without a leader, beside and with Apache ZooKeeper (tests/compat/sessions.py)
cli       the same verbs in it and in `zkfast cli`, what they print and do (tests/compat/cli.py)
lecture   leader election with SIGKILL by three processes (tests/compat/lecture.py)
offline   zkfast log and zkfast snapshot beside ZooKeeper's own tools, on ZooKeeper's files (tests/compat/offline.py)
metrics   what mntr counts, beside Apache ZooKeeper under the same traffic, in every role (tests/compat/metrics.py)
prometheus a page for Prometheus beside Apache ZooKeeper with its provider, in every role (tests/compat/prometheus.py)
audit     the audit log, beside Apache ZooKeeper's under the same traffic, in every role (tests/compat/audit.py)
admin     every command of HTTP, beside Apache ZooKeeper in the same state, in every role (tests/compat/admin.py)
roles     a leader without clients, two servers with an oracle, observers of followers, beside and with Apache ZooKeeper (tests/compat/roles.py, observers.py)
reconfig  servers that join, leave and change roles while they run, under load, beside and mixed with Apache ZooKeeper (tests/compat/reconfig.py)
rolling   five servers are restarted one by one under 1,000 sessions that write (tests/compat/rolling.py)
restore   trees by HTTP into Apache ZooKeeper and back, what is refused, kill -9 in a restore (tests/compat/restore.py)
console   the page at / of the HTTP port in a headless Chromium (tests/compat/console.py); skipped where there is none
tls       TLS beside Apache ZooKeeper on the same stores, and between servers, mixed (tests/compat/tls.py, quorum_tls.py)
size      a tree of 250 MB, full load, slow flushes: servers stopped, emptied, killed; beside Java (tests/compat/size.py)
large     a list of 300,000 children, 100,000 watches, 3,000 sessions that lose their leader (tests/compat/large.py)
packages  the image run as an ensemble by bubblewrap, the Helm chart, the .deb and the .rpm (tests/packaging)
EOF
}

# Advisories come from a database that only the network has; a copy that is there is read.
deny() {
  local program options="--locked" checks="licenses bans sources"
  program=$(tests/setup/setup.sh deny) || {
    echo "0 passed, 0 failed, 1 skipped: no cargo-deny"
    return 0
  }
  if ls -d "${CARGO_HOME:-$HOME/.cargo}"/advisory-dbs/advisory-db-*/ >/dev/null 2>&1; then
    options="$options --offline" checks="$checks advisories"
  fi
  # shellcheck disable=SC2086  # words
  "$program" $options --config tests/deny.toml check $checks
}

# libFuzzer is C++; the step `test` has changed inputs without it.
fuzz() {
  command -v c++ >/dev/null || {
    echo "0 passed, 0 failed, 1 skipped: no C++ compiler (c++) on PATH"
    return 0
  }
  # The same changes each time: more of them are tried by hand.
  tests/fuzz/run.sh all "${ZKFAST_FUZZ_SECONDS:-6}" -seed=1
}

# Not what most steps need: without it the step `packages` fails by itself, and says why.
setup() {
  tests/setup/setup.sh python && tests/setup/setup.sh zookeeper || return 1
  tests/setup/setup.sh helm || true
  tests/setup/setup.sh debian || true
}

packages() {
  local status=0 subject
  for subject in image chart packages; do
    "$ZKFAST_PYTHON" "tests/packaging/$subject.py" || status=1
  done
  return $status
}

sasl() {
  local status=0
  if [ "$(id -u)" = 0 ] || PATH=$PATH:/usr/sbin command -v krb5kdc >/dev/null; then
    "$ZKFAST_PYTHON" tests/compat/kerberos.py || status=1
  else
    echo "0 passed, 0 failed, 1 skipped: no KDC (krb5kdc), and only root may install one"
  fi
  "$ZKFAST_PYTHON" tests/compat/sasl.py || status=1
  "$ZKFAST_PYTHON" tests/compat/auth.py || status=1
  "$ZKFAST_PYTHON" tests/compat/quorum_sasl.py || status=1
  "$ZKFAST_PYTHON" tests/compat/sasl_tools.py || status=1
  return $status
}

# Test programs in Rust are built with little optimization, which takes a tenth of the time of a release build. The servers
# that they start are the release build.
step() {
  export ZKFAST_BIN=${ZKFAST_BIN:-$(realpath -m "${CARGO_TARGET_DIR:-target}/release/zkfast")}
  case $1 in
    fmt) cargo fmt --all --check ;;
    core) cargo check --no-default-features --lib && cargo check --no-default-features --lib --profile test ;;
    build) cargo build --release --workspace ;;
    compile) cargo test --workspace --no-run ;;
    clippy) cargo clippy --workspace --all-targets -- -D warnings ;;
    doc) RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace ;;
    deny) deny ;;
    loom)
      RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/loom \
        cargo test --no-default-features --test loom ;;
    setup) setup ;;
    sim)
      ZKFAST_SIM_SEEDS=${ZKFAST_SIM_SEEDS:-0..2000} \
        cargo test --release --no-default-features --features sim --test sim ;;
    test) cargo test --workspace --no-fail-fast ;;
    fuzz) fuzz ;;
    # What tests commands and files, and not what a server does on its sockets, has run on the default engine.
    epoll)
      ZKFAST_ENGINE=epoll cargo test --no-fail-fast --test it -- --skip engines --skip cli:: --skip offline:: \
        --skip settings:: --skip java_data:: --skip log_lines:: --skip systemd:: --skip tools:: --skip preload:: ;;
    benches) cargo bench --benches -- --test ;;
    kazoo) "$ZKFAST_PYTHON" tests/compat/kazoo/run.py ;;
    kazoo3) "$ZKFAST_PYTHON" tests/compat/kazoo/run.py --servers 3 ;;
    zkcli) "$ZKFAST_PYTHON" tests/compat/zkcli.py ;;
    sasl) sasl ;;
    java) "$ZKFAST_PYTHON" tests/compat/java_suite.py ;;
    sessions) "$ZKFAST_PYTHON" tests/compat/sessions.py ;;
    cli) "$ZKFAST_PYTHON" tests/compat/cli.py ;;
    lecture) "$ZKFAST_PYTHON" tests/compat/lecture.py ;;
    offline) "$ZKFAST_PYTHON" tests/compat/offline.py ;;
    metrics) "$ZKFAST_PYTHON" tests/compat/metrics.py ;;
    prometheus) "$ZKFAST_PYTHON" tests/compat/prometheus.py ;;
    audit) "$ZKFAST_PYTHON" tests/compat/audit.py ;;
    admin) "$ZKFAST_PYTHON" tests/compat/admin.py ;;
    roles) "$ZKFAST_PYTHON" tests/compat/roles.py && "$ZKFAST_PYTHON" tests/compat/observers.py ;;
    reconfig) "$ZKFAST_PYTHON" tests/compat/reconfig.py ;;
    rolling) "$ZKFAST_PYTHON" tests/compat/rolling.py ;;
    restore) "$ZKFAST_PYTHON" tests/compat/restore.py ;;
    console) "$ZKFAST_PYTHON" tests/compat/console.py ;;
    tls) "$ZKFAST_PYTHON" tests/compat/tls.py && "$ZKFAST_PYTHON" tests/compat/quorum_tls.py ;;
    size) "$ZKFAST_PYTHON" tests/compat/size.py ;;
    large) "$ZKFAST_PYTHON" tests/compat/large.py ;;
    packages) packages ;;
  esac
}

needs() {
  case $1 in
    test | epoll | sasl | java | sessions | cli | offline | metrics | prometheus | audit | admin | roles | reconfig | rolling | restore | console | tls | packages) echo build setup ;;
    kazoo | kazoo3 | zkcli | lecture | size | large) [ "${ZKFAST_SERVER:-}" = reference ] && echo setup || echo build setup ;;
  esac
}

# Has this process and its children run when no other wants to. Linux weighs sessions first, and then the processes of each.
yield_cores() {
  { echo 19 >/proc/self/autogroup; } 2>/dev/null
  chrt --idle -p 0 $$ >/dev/null 2>&1 || renice -n 19 -p $$ >/dev/null
}

# `lane` starts each step as `tests/run.sh --step STEP`, in its own session.
if [ "${1:-}" = --step ]; then
  case " $BESIDE " in *" $2 "*) yield_cores ;; esac
  step "$2"
  exit
fi

wanted=""
for argument in "$@"; do
  case $argument in
    --list) describe; exit 0 ;;
    --reference) export ZKFAST_SERVER=reference ;;
    *)
      case " $STEPS " in
        *" $argument "*) wanted="$wanted $argument" ;;
        *) printf 'no step %s; there are: %s\n' "$argument" "$STEPS" >&2; exit 2 ;;
      esac ;;
  esac
done
if [ -z "$wanted" ]; then
  if [ "${ZKFAST_SERVER:-}" = reference ]; then wanted="kazoo kazoo3 zkcli lecture size large"; else
    wanted=$STEPS
  fi
fi
for name in $wanted; do wanted="$wanted $(needs "$name")"; done

# Prints the command lines of the live processes of a group. Zombies do not count.
members() {
  local stat fields
  for stat in /proc/[0-9]*/stat; do
    fields=$(cat "$stat" 2>/dev/null) || continue
    # State, parent and group follow the command's name in brackets.
    read -r state _ pgrp _ <<<"${fields##*) }"
    if [ "$pgrp" = "$1" ] && [ "$state" != Z ]; then
      tr '\0' ' ' <"${stat%stat}cmdline" 2>/dev/null
      echo
    fi
  done
}

# Prints the CPU time of a group's processes and of their reaped children, in hundredths of a second.
cpu_of() {
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v group="$1" -v hertz="$(getconf CLK_TCK)" '
    { sub(/.*\) /, "") }
    $3 == group { ticks += $12 + $13 + $14 + $15 }
    END { printf "%d\n", ticks * 100 / hertz }'
}

# Ends a step that makes no progress. Runs beside the step until it is killed.
watch() {
  local group=$1 log=$2 idle_max=$3 bytes=-1 cpu=0 moved=$SECONDS since_moved=0 since_output=0 now_bytes now_cpu used
  while sleep 5; do
    now_bytes=$(stat -c %s "$log")
    now_cpu=$(cpu_of "$group")
    # The sum decreases when a process ends that its parent has not reaped.
    used=$((now_cpu > cpu ? now_cpu - cpu : 0))
    cpu=$now_cpu
    since_moved=$((since_moved + used)) since_output=$((since_output + used))
    if [ "$now_bytes" != "$bytes" ]; then
      bytes=$now_bytes since_output=0 since_moved=0 moved=$SECONDS
    elif [ "$since_moved" -ge $((IDLE_CPU_SECONDS * 100)) ]; then
      since_moved=0 moved=$SECONDS
    fi
    if [ $((SECONDS - moved)) -ge "$idle_max" ]; then
      echo "ended: nothing written and $((since_moved / 100)) s of CPU used within $idle_max s" >>"$log"
    elif [ "$since_output" -ge $((SILENT_CPU_SECONDS_MAX * 100)) ]; then
      echo "ended: $SILENT_CPU_SECONDS_MAX s of CPU used without a word" >>"$log"
    else
      continue
    fi
    kill -TERM -- "-$group"
    sleep 30
    kill -KILL -- "-$group"
    return
  done
}

group=0
# SIGTERM first, so that a test can end servers in other groups. Processes that still run after 15 s are killed.
end_group() {
  if [ "$group" != 0 ] && kill -TERM -- "-$group" 2>/dev/null; then
    for _ in $(seq 150); do
      [ -n "$(members "$group")" ] || break
      sleep 0.1
    done
    kill -KILL -- "-$group" 2>/dev/null
  fi
  group=0
}
watcher=0
end_watcher() {
  if [ "$watcher" != 0 ]; then
    kill "$watcher" 2>/dev/null
    wait "$watcher" 2>/dev/null
  fi
  watcher=0
}

# Sets ok, bad and skip to the counts in a step's log, or counts the step as one test.
count() {
  local log=$1 status=$2
  read -r ok bad skip < <(awk '
    match($0, /[0-9]+ passed[;,] [0-9]+ failed[;,] [0-9]+ (ignored|skipped)/) {
      split(substr($0, RSTART, RLENGTH), n, /[^0-9]+/); ok += n[1]; bad += n[2]; skip += n[3]; seen = 1
    }
    # A test in Rust that cannot run on this machine; libtest counts it as passed.
    /(^| )SKIPPED [a-z_:]+: / { ok--; skip++ }
    END { print ok + 0, bad + 0, skip + 0 }' "$log")
  if [ "$status" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
  if [ "$status" = 0 ] && [ "$ok$bad$skip" = 000 ]; then ok=1; fi
}

# Runs those of the steps that are wanted, one after the other, and ends each that is idle for so many seconds. Prints what comes
# of each, and writes the counts to a file.
lane() {
  local results=$1 idle_max=$2 broken="" name need missing log started status left
  shift 2
  trap 'end_watcher; end_group' EXIT
  trap 'exit 143' TERM
  for name in "$@"; do
    case " $wanted " in *" $name "*) ;; *) continue ;; esac
    missing=""
    for need in $(needs "$name"); do
      case " $broken " in *" $need "*) missing=$need ;; esac
    done
    if [ -n "$missing" ]; then
      printf '%-8s skipped  (no %s)\n' "$name" "$missing"
      echo 0 0 1 >>"$results"
      continue
    fi
    log=$LOGS/$name.log
    started=$SECONDS
    setsid "$BASH" tests/run.sh --step "$name" >"$log" 2>&1 </dev/null &
    group=$!
    watch "$group" "$log" "$idle_max" >/dev/null 2>&1 &
    watcher=$!
    wait "$group"
    status=$?
    end_watcher
    left=$(members "$group")
    if [ -n "$left" ]; then
      printf 'processes were left behind:\n%s\n' "$left" >>"$log"
      [ "$status" != 0 ] || status=1
    fi
    end_group
    count "$log" "$status"
    echo "$ok $bad $skip" >>"$results"
    if [ "$status" = 0 ]; then
      printf '%-8s ok      %5d s  %d passed, %d failed, %d skipped\n' "$name" $((SECONDS - started)) "$ok" "$bad" "$skip"
    else
      broken="$broken $name"
      {
        printf '%-8s FAILED  %5d s  %d passed, %d failed, %d skipped; %s:\n' \
          "$name" $((SECONDS - started)) "$ok" "$bad" "$skip" "$log"
        # cargo test prints failures in sections in the middle of its output, the other steps print them at the end.
        { awk '/^failures:$/ { show = 1 } show { print } /^test result:/ { show = 0 }' "$log" | head -n 300; tail -n 60 "$log"; } |
          sed 's/^/    /'
      } >"$results.report"
      # At once: the other lane prints too.
      cat "$results.report"
    fi
    if [ "$name" = setup ] && [ "$status" = 0 ]; then
      ZKFAST_PYTHON=$(tests/setup/setup.sh python) && ZKFAST_ZOOKEEPER_LIB=$(tests/setup/setup.sh zookeeper) || exit 1
      export ZKFAST_PYTHON ZKFAST_ZOOKEEPER_LIB
    fi
  done
}

results=$(mktemp -d "$LOGS/results.XXXXXX") || exit 1
lanes=""
end_lanes() {
  # shellcheck disable=SC2086  # numbers of processes
  if [ -n "$lanes" ]; then kill $lanes && wait $lanes; fi 2>/dev/null
  rm -rf "$results"
}
trap end_lanes EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

others=""
for name in $STEPS; do
  case " $BESIDE " in *" $name "*) ;; *) others="$others $name" ;; esac
done
begun=$SECONDS
# shellcheck disable=SC2086  # words
lane "$results/others" "$IDLE_SECONDS_MAX" $others &
lanes=$!
# Those that yield the cores may get none for a while.
# shellcheck disable=SC2086  # words
lane "$results/beside" $((6 * IDLE_SECONDS_MAX)) $BESIDE &
lanes="$lanes $!"
ended=0
for number in $lanes; do
  wait "$number" || ended=1
done
lanes=""
read -r passed failed skipped < <(cat "$results"/others "$results"/beside 2>/dev/null |
  awk '{ passed += $1; failed += $2; skipped += $3 } END { print passed + 0, failed + 0, skipped + 0 }')
printf '%-8s         %5d s\n' all $((SECONDS - begun))
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$ended" = 0 ] && [ "$failed" = 0 ] && [ "$passed" != 0 ]
