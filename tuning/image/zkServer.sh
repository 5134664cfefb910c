#!/bin/sh
# The commands of ZooKeeper's zkServer.sh, for what calls it: entry points, operators, probes, runbooks.
#
#   zkServer.sh [--config DIR] {start|start-foreground|stop|restart|status|version|print-cmd} [FILE]
#
# FILE is a name in DIR, or a path; zoo.cfg by default. DIR is by default ZOOCFGDIR, else /conf. As there, zookeeper-env.sh and
# java.env of DIR are read first, and JVMFLAGS and SERVER_JVMFLAGS may set ZooKeeper's properties (`-Dzookeeper.NAME=VALUE`).
# ZKFAST_FLAGS has further flags of zkfast, such as `--log-format json --cores 2-5`. What `start` logs goes to ZOO_LOG_DIR.

if [ "${1:-}" = --config ]; then
  ZOOCFGDIR=${2:-}
  shift 2 || exit 1
fi
ZOOCFGDIR=${ZOOCFGDIR:-/conf}
# Other people's files, which may set variables without `export`.
set -a
for file in zookeeper-env.sh java.env; do
  # shellcheck disable=SC1090
  [ ! -f "$ZOOCFGDIR/$file" ] || . "$ZOOCFGDIR/$file"
done
set +a

case ${2:-} in
  '') ZOOCFG=$ZOOCFGDIR/${ZOOCFG:-zoo.cfg} ;;
  */*) ZOOCFG=$2 ;;
  *) ZOOCFG=$ZOOCFGDIR/$2 ;;
esac

# The value of key $1 in file $2, without the blanks around it; the last one, if there are several.
value() {
  sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*\(.*[^[:space:]]\)[[:space:]]*\$/\1/p" "$2" 2>/dev/null | tail -n 1
}

pid_file() {
  if [ -n "${ZOOPIDFILE:-}" ]; then
    printf '%s\n' "$ZOOPIDFILE"
  else
    printf '%s/zookeeper_server.pid\n' "$(value dataDir "$ZOOCFG")"
  fi
}

start() {
  pid_file=$(pid_file)
  log=${ZOO_LOG_DIR:-.}/zookeeper-${USER:-$(id -un)}-server-$(hostname).out
  printf 'Starting zookeeper ... '
  if [ -f "$pid_file" ] && kill -0 "$(cat "$pid_file")" 2>/dev/null; then
    echo "already running as process $(cat "$pid_file")."
    exit 1
  fi
  mkdir -p "$(dirname "$pid_file")" "$(dirname "$log")"
  # shellcheck disable=SC2086  # words
  setsid zkfast ${ZKFAST_FLAGS:-} "$ZOOCFG" >"$log" 2>&1 </dev/null &
  server=$!
  printf '%s' "$server" >"$pid_file" || {
    kill "$server"
    echo FAILED TO WRITE PID
    exit 1
  }
  # Long enough for a configuration that is refused.
  sleep 1
  kill -0 "$server" 2>/dev/null || {
    echo FAILED TO START
    exit 1
  }
  echo STARTED
}

# Waits until the server has written what it accepted: a restart before that finds its data in use.
stop() {
  pid_file=$(pid_file)
  printf 'Stopping zookeeper ... '
  if [ ! -f "$pid_file" ]; then
    echo "no zookeeper to stop (could not find file $pid_file)"
    return
  fi
  server=$(cat "$pid_file")
  kill "$server"
  rm "$pid_file"
  for _ in $(seq 120); do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  echo STOPPED
}

# Sets address and port to where clients connect: clientPort, else what stands after the `;` of this server's own line, in
# the file or in the file that dynamicConfigFile names.
client_address() {
  address=$(value clientPortAddress "$ZOOCFG")
  port=$(value clientPort "$ZOOCFG")
  [ -z "$port" ] || return 0
  sid=$(cat "$(value dataDir "$ZOOCFG")/myid" 2>/dev/null)
  for file in "$ZOOCFG" "$(value dynamicConfigFile "$ZOOCFG")"; do
    line=$(value "server\.${sid:-1}" "$file")
    case $line in
      *\;*) port=${line##*;} && break ;;
    esac
  done
  case $port in
    *:*) address=${port%:*} && port=${port##*:} ;;
  esac
}

status() {
  client_address
  case $port in
    '' | *[!0-9]*)
      echo "Client port not found in $ZOOCFG. Terminating."
      if grep -q '^[[:space:]]*secureClientPort' "$ZOOCFG" 2>/dev/null; then
        echo "There is one with TLS: zkfast status --client-configuration FILE asks it."
      fi
      exit 1 ;;
  esac
  # A server that listens on every address is asked on the loopback address.
  address=$(printf '%s' "$address" | tr -d '[]')
  case $address in
    '' | 0.0.0.0 | ::) address=localhost ;;
  esac
  echo "Client port found: $port. Client address: $address. Client SSL: false."
  # A server that hangs gives no answer; nc itself only limits the time to connect.
  mode=$(printf srvr | timeout 10 nc -w 5 "$address" "$port" 2>/dev/null | grep Mode)
  if [ -z "$mode" ]; then
    echo "Error contacting service. It is probably not running."
    exit 1
  fi
  echo "$mode"
}

case ${1:-} in
  version) exec zkfast --version ;;
  start | start-foreground | stop | restart | status | print-cmd) echo "Using config: $ZOOCFG" >&2 ;;
esac
case ${1:-} in
  start) start ;;
  start-foreground)
    # shellcheck disable=SC2086  # words
    exec zkfast ${ZKFAST_FLAGS:-} "$ZOOCFG" ;;
  stop) stop ;;
  restart) stop && start ;;
  status) status ;;
  print-cmd) echo "zkfast ${ZKFAST_FLAGS:-} \"$ZOOCFG\"" ;;
  *)
    echo "Usage: $0 [--config DIR] {start|start-foreground|stop|version|restart|status|print-cmd} [FILE]" >&2
    exit 2 ;;
esac
