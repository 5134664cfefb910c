#!/usr/bin/env bash
# Runs Apache ZooKeeper, the reference, in the foreground on the zoo.cfg that is the only argument. A compat test with
# `--server reference` shows that its expectations are ZooKeeper's behaviour. JVMFLAGS are split at blanks, as zkServer.sh does.
#
# kazoo's test_request_queuing_*, which restart the server under a client, sometimes fail on ZooKeeper (3 of 42 runs): in
# the client's log the starting server accepts a connection and does not answer the handshake for 10 s.
set -eu
lib=$("$(dirname "${BASH_SOURCE[0]}")/../setup/setup.sh" zookeeper)
set -f # The flags may hold a `*`.
exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dfile.encoding=UTF-8 -Dzookeeper.jmx.log4j.disable=true \
  -Dzookeeper.preAllocSize=100 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn ${JVMFLAGS:-} -cp "$lib/*" \
  org.apache.zookeeper.server.quorum.QuorumPeerMain "$1"
