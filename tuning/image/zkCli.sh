#!/bin/sh
# ZooKeeper's zkCli.sh, for what calls it: `zkfast cli` with the options of ZooKeeperMain.java in zkfast's spelling.
#
#   zkCli.sh [-server HOST:PORT[,...][/CHROOT]] [-timeout MS] [-client-configuration FILE] [-r] [-waitforconnection]
#     [COMMAND [ARGUMENTS]]
#
# Of CLIENT_JVMFLAGS the JAAS file is read: -Djava.security.auth.login.config=FILE.

server='' timeout='' configuration='' jaas='' flags=''
for word in ${CLIENT_JVMFLAGS:-}; do
  case $word in
    -Djava.security.auth.login.config=*) jaas=${word#*=} ;;
  esac
done
while [ $# -gt 0 ]; do
  case $1 in
    -server | -timeout | -client-configuration)
      if [ $# -lt 2 ]; then
        echo "Error: no argument found for option $1" >&2
        exit 2
      fi
      case $1 in
        -server) server=$2 ;;
        -timeout) timeout=$2 ;;
        *) configuration=$2 ;;
      esac
      shift ;;
    -r) flags="$flags --read-only" ;;
    -waitforconnection) flags="$flags --wait-for-connection" ;;
    # A command, or an option of zkfast's own.
    *) break ;;
  esac
  shift
done
# shellcheck disable=SC2086  # words
exec zkfast cli ${server:+--server "$server"} ${timeout:+--timeout "$timeout"} \
  ${configuration:+--client-configuration "$configuration"} ${jaas:+--jaas "$jaas"} $flags "$@"
