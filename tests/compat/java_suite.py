#!/usr/bin/env python3
"""ZooKeeper's own tests in Java, against zkfast: those that need servers and none of their insides. Their subjects are
authentication, ensembles, local sessions, servers for reads only, observers and reconfiguration.

The classes come compiled, from the jar of ZooKeeper's tests. Replaced are those that the others start servers with: java/ has
ClientBase (one server), QuorumBase, QuorumUtil and QuorumPeerTestBase (ensembles), which start processes where the originals
start threads. Each class runs in a JVM of its own.

    tests/compat/java_suite.py                      all classes, but for what LONG has
    tests/compat/java_suite.py --only AuthTest      one class
    tests/compat/java_suite.py --server reference   what Apache ZooKeeper as a process makes of the classes for ensembles
"""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

PACKAGE = "org.apache.zookeeper."
# Classes, and how many tests of each must pass: of all, or by the methods that are run.
CLASSES = {
    # Authentication.
    "test.AuthTest": 7, "test.AuthSHA2Test": 7, "test.KeyAuthClientTest": 1, "test.EnsembleAuthTest": 7,
    "test.DigestAuthDisabledTest": 1, "SaslAuthTest": 6, "test.SaslAuthFailTest": 2, "test.SaslAuthDesignatedClientTest": 2,
    "test.SaslAuthFailDesignatedClientTest": 1, "test.SaslAuthMissingClientConfigTest": 1,
    "test.SaslAuthRequiredFailWrongSASLTest": 1, "test.SaslAuthRequiredMultiClientTest": 2, "test.SaslAuthRequiredTest": 1,
    "test.SaslSuperUserTest": 1,
    # Local sessions, servers for reads only.
    "test.LocalSessionsOnlyTest": 2, "test.SessionUpgradeTest": 4, "test.DuplicateLocalSessionUpgradeTest": 2,
    "test.ReadOnlyModeTest": {"testConnectionEvents": 1},
    # Observers.
    "test.ObserverTest": 2, "test.ObserverLETest": 1,
    "test.ObserverMasterTest": {"testRevalidation(boolean)": 2, "testInOrderCommits(boolean)": 2, "testObserver(boolean)": 2},
    # Ensembles.
    "test.AsyncTest": 1, "test.FourLetterWordsQuorumTest": 1, "test.QuorumQuotaTest": 1, "test.QuorumRestartTest": 3,
    "test.WatchEventWhenAutoResetTest": 4,
    "test.StandaloneTest": {"testNoDynamicConfig": 1, "testClientPortInDynamicFile": 1, "testClientPortInStaticFile": 1},
    # Reconfiguration.
    "test.ReconfigExceptionTest": 6, "test.ReconfigMisconfigTest": 1, "server.quorum.ReconfigLegacyTest": 3,
    "server.quorum.ReconfigBackupTest": 3, "server.quorum.ReconfigFailureCasesTest": 4,
    "server.quorum.ReconfigRollingRestartCompatibilityTest": 5, "server.quorum.QuorumPeerMainMultiAddressTest": 9,
    "test.ReconfigTest": {
        "testRemoveAddOne": 1, "testRemoveOneAsynchronous": 1, "testRoleChange": 1, "testInitialConfigHasPositiveVersion": 1,
        "testReconfigEnablemntWithRollingRestart": 1, "testRemoveAddTwo": 1,
    },
    "server.quorum.ReconfigRecoveryTest": {
        "testNextConfigCompletion": 1, "testNextConfigAlreadyActive": 1, "testObserverConvertedToParticipantDuringFLE": 1,
    },
}  # fmt: skip
# What takes longer: classes that run only if --only names them, and those of which the run without it has a part.
LONG = {
    "test.QuorumTest": 14, "test.QuorumHammerTest": 1, "test.ObserverQuorumHammerTest": 1, "test.AsyncHammerTest": 2,
    "server.quorum.StandaloneDisabledTest": 2, "server.quorum.ReconfigRecoveryTest": 4, "test.ReconfigTest": 12,
    "test.FollowerResyncConcurrencyTest": {
        "testLaggingFollowerResyncsUnderNewEpoch": 1, "testFollowerSendsLastZxid": 1, "testFollowerWatcherResync": 1,
    },
    # Clients of one server.
    "test.ClientTest": 15, "test.ChrootClientTest": 15, "test.ChrootAsyncTest": 38, "test.AsyncOpsTest": 38, "test.ACLTest": 12,
    "test.ACLRootTest": 1, "test.WatcherTest": 7, "test.WatcherFuncTest": 6, "test.PersistentWatcherTest": 9,
    "test.PersistentRecursiveWatcherTest": 8, "test.PersistentWatcherACLTest": 10, "test.DisconnectedWatcherTest": 4,
    "test.MultiOperationTest": 60, "test.MultiAsyncTransactionTest": 1, "test.GetChildren2Test": 2, "test.StatTest": 4,
    "test.SessionTest": 6, "test.SessionTimeoutTest": 8, "test.SessionInvalidationTest": 1, "test.NullDataTest": 1,
    "test.SyncCallTest": 1, "test.EnforceQuotaTest": 2, "test.ServerCnxnTest": 1, "test.FourLetterWordsTest": 5,
}  # fmt: skip
# Tests of these classes that are left out, with the reason; of whole classes:
#   SaslAuthDesignatedServerTest                 its users are objects of the tests' own process
#   SaslAuthRequiredFailNoSASLTest               zkfast does not start where no client could do anything (src/docs/sasl.md)
#   AuthSHA3Test                                 zkfast does not start with a hash of SHA3
#   SSLAuthTest, SaslDigestAuthOverSSLTest, ClientSSLTest, ClientSSLReloadTest, EnforceAuthenticationTest, QuorumSSLTest,
#   Quorum*AuthTest, ZookeeperServer*Test        they set up a server of their own by its classes (tests/compat/tls.py,
#                                                quorum_tls.py and quorum_sasl.py have the like)
#   *Kerberos*                                   likewise, with a KDC in Java
#   X509AuthTest, X509AuthFailureTest, IPAuth*Test, SaslClientTest, X509*Test, MiniKdcTest   they have no server
#   HierarchicalQuorumTest, ObserverHierarchicalQuorumTest   they make servers by their class, and ask JMX for their beans
#   QuorumMajorityTest, QuorumOracleMajTest, FLE*Test        they ask the classes of the election and of quorums
#   LocalSessionRequestTest, QuorumUtilTest, EmptiedSnapshotRecoveryTest, RepeatStartupTest, QuorumZxidSyncTest
#                                                they read the log in the server's memory, its beans, its files
#   LeaderSessionTrackerTest, MultiOpSessionUpgradeTest      they put requests into the server's queue
#   SessionTrackerCheckTest                      it has no server
#   SessionUpgradeQuorumTest, ReconfigDuringLeaderSyncTest   their servers lose or delay messages by classes of the tests
#   ReadOnlyModeWithSSLTest                      it reads the client's log by logback
#   QuorumPeerMainTest, DIFFSync*Test, FuzzySnapshotRelatedTest, EphemeralNodeDeletionTest, RaceConditionTest and the like
#                                                they read a server's memory or log, or change its classes
LEFT_OUT = {
    "testReadAccessUser": "it changes a setting of a running server by a system property",
    "testOtherSuperIsSuper": "likewise",
    "testLeaderShutdown": "it closes sockets of the leader",
    "testPathValidation": "it makes the server's class refuse a create",
    "testWatcherCount": "it asks the server's object",
    # ReadOnlyModeTest
    "testSeekForRwServer": "it reads the client's log by logback, and suspends a part of the server",
    "testGlobalSessionInRO": "without local sessions, zkfast serves readers too (src/docs/compatibility.md)",
    "testMultiTransaction": "for a second without a leader, zkfast begins local sessions that are not for reads only",
    "testReadOnlyClient": "likewise",
    "testSessionEstablishment": "likewise",
    # ObserverMasterTest
    "testAdminCommands": "it asks JMX",
    # ReconfigTest
    "testJMXBeanAfterRemoveAddOne": "likewise",
    "testJMXBeanAfterRoleChange": "likewise",
    # ReconfigRecoveryTest
    "testCurrentServersAreObserversInNextConfig": "zoo.cfg.dynamic.next counts only before zkfast has a configuration of its own",
    "testCurrentObserverIsParticipantInNewConfig": "likewise",
    # StandaloneTest
    "testStandaloneReconfigFails": "its server is an object of the tests' own process",
    # FollowerResyncConcurrencyTest
    "testResyncBySnapThenDiffAfterFollowerCrashes": "it reads the servers' trees in memory",
    "testResyncByDiffAfterFollowerCrashes": "likewise",
    "testResyncByTxnlogThenDiffAfterFollowerCrashes": "likewise",
}
CLASS_SECONDS_MAX = 600


def kill_servers(files):
    """Kills servers that a class has left: a JVM ends its own, but not if it is killed itself."""
    with contextlib.suppress(FileNotFoundError):
        for pid in (files / "pids").read_text().split():
            with contextlib.suppress(OSError):
                # The id may be another program's by now.
                if str(files).encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(int(pid), signal.SIGKILL)


def main():
    parser = support.arguments(__doc__)
    short = {name.split(".")[-1]: name for name in CLASSES | LONG}
    parser.add_argument("--only", choices=short, action="append", help="this class alone")
    options = parser.parse_args()
    classes = [name.split(".")[-1] for name in CLASSES]
    words = support.server_command(options.server)
    [binary, config] = words
    assert config == "{config}", "the command is a program, and {config}"
    server, tests = support.installed("zookeeper"), support.installed("zookeeper-tests")
    with support.scratch("java-suite") as folder:
        sources = sorted((support.HERE / "java").glob("*.java"))
        subprocess.run(["javac", "-d", folder / "classes", "-cp", f"{server}/*:{tests}/*", *sources], check=True)

        def case(name):
            expected = (CLASSES | LONG if options.only else CLASSES)[name]
            if isinstance(expected, int):
                selected = ["-c", PACKAGE + name]
            else:
                selected = [word for method in expected for word in ("-m", f"{PACKAGE}{name}#{method}")]
                expected = sum(expected.values())

            def run():
                files = folder / name
                files.mkdir()
                java = [
                    "java", "-Xmx256m", "-XX:+UseSerialGC", f"-Dzkfast.command={binary}", f"-Dzkfast.folder={files}",
                    f"-Dzkfast.status={support.status_after_term(words)}",
                    f"-Dbuild.test.dir={files}", "-cp", f"{folder / 'classes'}:{tests}/*:{server}/*",
                    "org.junit.platform.console.ConsoleLauncher", "--disable-banner", "--disable-ansi-colors",
                    "--details=tree", "--details-theme=ascii", *selected,
                ]  # fmt: skip
                try:
                    with open(files / "output", "wb") as output:
                        subprocess.run(java, stdout=output, stderr=output, timeout=CLASS_SECONDS_MAX)
                finally:
                    kill_servers(files)
                text = (files / "output").read_text(errors="replace")
                counts = {what: int(number) for number, what in re.findall(r"\[ *(\d+) tests (successful|failed)", text)}
                failed = re.findall(r"(\w+)\(\)(?: \d+ ms)? \[X\]", text)
                unexpected = [test for test in failed if test not in LEFT_OUT]
                assert not unexpected and counts.get("successful") == expected, (counts, failed, text[-3000:])

            run.__name__ = name.split(".")[-1]
            return run

        support.run_cases([case(short[name]) for name in options.only or classes], folder)


if __name__ == "__main__":
    main()
