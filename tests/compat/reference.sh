#!/usr/bin/env bash
# Starts the reference, Apache ZooKeeper, on the zoo.cfg given as the only argument, in the foreground. What a compat
# test expects is shown to be ZooKeeper's behaviour, not our reading of it, by running it with `--server reference`.
#
# One thing of it to know: it accepts connections a moment before it can answer. A client that comes in that moment waits
# until its session timeout, so kazoo's test_request_queuing_* fail now and then on the reference (about 1 of 10).
set -eu
lib=$("$(dirname "${BASH_SOURCE[0]}")/../setup/setup.sh" zookeeper)
exec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dfile.encoding=UTF-8 -Dzookeeper.jmx.log4j.disable=true \
  -Dzookeeper.preAllocSize=100 -cp "$lib/*" org.apache.zookeeper.server.quorum.QuorumPeerMain "$1"
