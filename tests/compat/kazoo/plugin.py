"""A pytest plugin that runs kazoo's own tests with the server under test, and writes one line per result.

kazoo.testing writes a zoo.cfg and starts `java ... QuorumPeerMain ZOO.CFG`. This plugin starts the command in
ZKFAST_KAZOO_SERVER (JSON, a list of words with `{config}`) instead, after one change to the zoo.cfg: it adds what kazoo
gives as -D flags. The certificates that kazoo makes are of version 3 here.
"""

import json
import os
import signal
import subprocess
import time
import types

import OpenSSL
from kazoo.testing import common

SERVER = json.loads(os.environ["ZKFAST_KAZOO_SERVER"])
STATUS_AFTER_TERM = int(os.environ["ZKFAST_KAZOO_STATUS_AFTER_TERM"])
SERVER_LOG = os.environ["ZKFAST_KAZOO_SERVER_LOG"]
RESULTS = open(os.environ["ZKFAST_KAZOO_RESULTS"], "a", buffering=1)

YOUNG_SECONDS = 10

# The JAAS file and read-only mode, which servers take as JVM flags only: zkfast and Java each from their own variable.
JVM_FLAGS = ("-Djava.security.auth.login.config=", "-Dreadonlymode.enabled=")


def start(args):
    """Stands in for subprocess.Popen in kazoo.testing.common."""
    config = args[-1]
    with open(config) as file:
        lines = [line for line in file.read().splitlines() if line]
    for flag in args:
        if flag.startswith("-Dzookeeper.") and not flag.startswith(("-Dzookeeper.log.", "-Dzookeeper.root.")):
            lines.append(flag.removeprefix("-Dzookeeper."))
    with open(config, "w") as file:
        file.write("\n".join(lines) + "\n")
    flags = " ".join(flag for flag in args if flag.startswith(JVM_FLAGS))
    with open(SERVER_LOG, "ab") as log:
        process = subprocess.Popen(
            [word.replace("{config}", config) for word in SERVER],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"JVMFLAGS": flags, "JAVA_TOOL_OPTIONS": flags},
        )
    process.begun = time.monotonic()
    return process


common.subprocess = types.SimpleNamespace(Popen=start)


class Crypto:
    """Stands in for OpenSSL.crypto in kazoo.testing.common: kazoo leaves its certificates at version 1 of X.509, which zkfast
    refuses of a client (src/docs/tls.md, what differs from Java)."""

    @staticmethod
    def X509():
        made = OpenSSL.crypto.X509()
        made.set_version(2)
        return made

    def __getattr__(self, name):
        return getattr(OpenSSL.crypto, name)


common.OpenSSL = types.SimpleNamespace(crypto=Crypto())
stop_of_kazoo = common.ManagedZooKeeper.stop


def stop(server):
    """Reports a server that crashed or ended with a wrong status after SIGTERM; kazoo only logs that."""
    was_running = server.running
    crashed = was_running and server.process.poll() is not None
    # test_update_host_list stops a server right after its start, before the server has a handler for SIGTERM.
    is_young = was_running and time.monotonic() - server.process.begun < YOUNG_SECONDS
    stop_of_kazoo(server)
    expected = [STATUS_AFTER_TERM, -signal.SIGTERM] if is_young else [STATUS_AFTER_TERM]
    if was_running and (crashed or server.process.returncode not in expected):
        how = "by itself" if crashed else "after TERM"
        write("server", "failed", text=f"the server ended {how} with status {server.process.returncode}")


common.ManagedZooKeeper.stop = stop


def write(name, outcome, seconds=0.0, text=""):
    RESULTS.write(json.dumps({"name": name, "outcome": outcome, "seconds": seconds, "text": text}) + "\n")


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        text = "" if report.outcome == "passed" else report.longreprtext
        write(report.nodeid, report.outcome, report.duration, text)
    else:
        # Set-up and tear-down that pass are no results, but their time counts.
        write(report.nodeid, "", report.duration)
