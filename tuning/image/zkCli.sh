#!/bin/sh
# ZooKeeper's zkCli.sh, for what calls it: `zkfast cli` with the options of ZooKeeperMain.java in zkfast's spelling.
#
#   zkCli.sh [-server HOST:PORT[,...][/CHROOT]] [-timeout MS] [-r] [-waitforconnection] [COMMAND [ARGUMENTS]]

server='' timeout='' flags=''
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
        *) echo "zkCli.sh: $1 is not read: its keys are properties of a Java client" >&2 ;;
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
exec zkfast cli ${server:+--server "$server"} ${timeout:+--timeout "$timeout"} $flags "$@"
