#!/usr/bin/env python3
"""ZooKeeper's own tests of authentication in Java, against zkfast: those that need a server and none of its insides.

The classes come compiled, from the jar of ZooKeeper's tests. One of them is replaced, the base of the others: java/ClientBase.java
starts zkfast where that one starts a server in the tests' own process. Each class runs in a JVM of its own.

    tests/compat/java_suite.py                      all classes
    tests/compat/java_suite.py --only AuthTest      one class
"""

import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import support  # noqa: E402

PACKAGE = "org.apache.zookeeper."
# Classes, and how many tests of each must pass.
CLASSES = {
    "test.AuthTest": 7, "test.AuthSHA2Test": 7, "test.KeyAuthClientTest": 1, "test.EnsembleAuthTest": 7,
    "test.DigestAuthDisabledTest": 1, "SaslAuthTest": 6, "test.SaslAuthFailTest": 2, "test.SaslAuthDesignatedClientTest": 2,
    "test.SaslAuthFailDesignatedClientTest": 1, "test.SaslAuthMissingClientConfigTest": 1,
    "test.SaslAuthRequiredFailWrongSASLTest": 1, "test.SaslAuthRequiredMultiClientTest": 2, "test.SaslAuthRequiredTest": 1,
    "test.SaslSuperUserTest": 1,
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
LEFT_OUT = {
    "testReadAccessUser": "it changes a setting of a running server by a system property",
    "testOtherSuperIsSuper": "likewise",
}
CLASS_SECONDS_MAX = 300


def main():
    parser = support.arguments(__doc__)
    short = {name.split(".")[-1]: name for name in CLASSES}
    parser.add_argument("--only", choices=short, action="append", help="this class alone")
    options = parser.parse_args()
    [binary, config] = support.server_command(options.server)
    assert config == "{config}", "the command is a program, and {config}"
    server, tests = support.installed("zookeeper"), support.installed("zookeeper-tests")
    with support.scratch("java-suite") as folder:
        source = support.HERE / "java/ClientBase.java"
        subprocess.run(["javac", "-d", folder / "classes", "-cp", f"{server}/*:{tests}/*", source], check=True)

        def case(name):
            def run():
                files = folder / name
                files.mkdir()
                words = [
                    "java", "-Xmx256m", "-XX:+UseSerialGC", f"-Dzkfast.command={binary}", f"-Dzkfast.folder={files}",
                    f"-Dbuild.test.dir={files}", "-cp", f"{folder / 'classes'}:{tests}/*:{server}/*",
                    "org.junit.platform.console.ConsoleLauncher", "--disable-banner", "--disable-ansi-colors",
                    "--details=tree", "-c", PACKAGE + name,
                ]  # fmt: skip
                with open(files / "output", "wb") as output:
                    subprocess.run(words, stdout=output, stderr=output, timeout=CLASS_SECONDS_MAX)
                text = (files / "output").read_text(errors="replace")
                counts = {what: int(number) for number, what in re.findall(r"\[ *(\d+) tests (successful|failed)", text)}
                failed = re.findall(r"(\w+)\(\) \[X\]", text)
                unexpected = [test for test in failed if test not in LEFT_OUT]
                assert not unexpected and counts.get("successful") == CLASSES[name], (counts, failed, text[-3000:])

            run.__name__ = name.split(".")[-1]
            return run

        support.run_cases([case(short[name]) for name in options.only or short], folder)


if __name__ == "__main__":
    main()
