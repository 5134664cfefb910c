#!/bin/sh
# Entry point of the image: makes zoo.cfg and myid from the ZOO_* variables, then runs the command.
#
# The variables, their defaults (set in the image) and the order of the lines are those of the official image of ZooKeeper
# 3.9.4 (docker-entrypoint.sh), so that its compose files and manifests work as they are. A zoo.cfg or a myid that is there
# already wins over every variable.
#
# -f: the variables are lists of words, and a `*` in them is no pattern of files.
set -ef

fail() {
  printf 'docker-entrypoint: %s\n' "$*" >&2
  exit 2
}

for directory in "$ZOO_DATA_DIR" "$ZOO_DATA_LOG_DIR" "$ZOO_LOG_DIR"; do
  mkdir -p "$directory" || fail "$directory cannot be made: mount a volume there"
done

# The image names user 1000. Started with `--user 0`, it gives the volumes to that user, and goes on as it.
if [ "$1" = zkServer.sh ] && [ "$(id -u)" = 0 ]; then
  chown -R zookeeper "$ZOO_DATA_DIR" "$ZOO_DATA_LOG_DIR" "$ZOO_LOG_DIR"
  # shellcheck disable=SC2016  # the inner shell expands them
  exec su -m -s /bin/sh zookeeper -c 'exec "$0" "$@"' "$0" "$@"
fi

config() {
  printf '%s\n' \
    "dataDir=$ZOO_DATA_DIR" \
    "dataLogDir=$ZOO_DATA_LOG_DIR" \
    "tickTime=$ZOO_TICK_TIME" \
    "initLimit=$ZOO_INIT_LIMIT" \
    "syncLimit=$ZOO_SYNC_LIMIT" \
    "autopurge.snapRetainCount=$ZOO_AUTOPURGE_SNAPRETAINCOUNT" \
    "autopurge.purgeInterval=$ZOO_AUTOPURGE_PURGEINTERVAL" \
    "maxClientCnxns=$ZOO_MAX_CLIENT_CNXNS" \
    "standaloneEnabled=$ZOO_STANDALONE_ENABLED" \
    "admin.enableServer=$ZOO_ADMINSERVER_ENABLED"
  # Without quotes: one line for each word.
  for line in ${ZOO_SERVERS:-server.1=localhost:2888:3888;2181}; do
    printf '%s\n' "$line"
  done
  if [ -n "$ZOO_4LW_COMMANDS_WHITELIST" ]; then
    printf '%s\n' "4lw.commands.whitelist=$ZOO_4LW_COMMANDS_WHITELIST"
  fi
  for line in $ZOO_CFG_EXTRA; do
    printf '%s\n' "$line"
  done
}

# Writes standard input to the file $1, all of it or nothing: a part would win over the variables at the next start.
write() {
  { cat >"$1.new" && mv "$1.new" "$1"; } ||
    fail "$1 cannot be written by user $(id -u): $2"
}

if [ ! -f "$ZOO_CONF_DIR/zoo.cfg" ]; then
  config | write "$ZOO_CONF_DIR/zoo.cfg" "mount a tmpfs or a volume of this user at $ZOO_CONF_DIR, or one with a zoo.cfg"
fi
if [ ! -f "$ZOO_DATA_DIR/myid" ]; then
  printf '%s\n' "${ZOO_MY_ID:-1}" | write "$ZOO_DATA_DIR/myid" "give the volume to user 1000 (fsGroup: 1000 in Kubernetes)"
fi

exec "$@"
