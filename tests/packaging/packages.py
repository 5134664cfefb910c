#!/usr/bin/env python3
"""The .deb and the .rpm: built by tuning/packages/build, installed in roots of their own, their files and the unit looked at.

    tests/packaging/packages.py                  with the release zkfast
"""

import os
import pathlib
import re
import stat
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compat"))
import support  # noqa: E402

UNIT = "usr/lib/systemd/system/zkfast.service"
CONFIG = "etc/zookeeper/conf/zoo.cfg"
# Files that each package has; manual pages come on top, one for each command.
FILES = {
    "usr/bin/zkfast": 0o755,
    UNIT: 0o644,
    CONFIG: 0o644,
    "usr/share/zkfast/check": 0o755,
    "usr/share/man/man1/zkfast.1.gz": 0o644,
    "usr/share/man/man1/zkfast-check.1.gz": 0o644,
    "usr/share/bash-completion/completions/zkfast": 0o644,
    "usr/share/zsh/site-functions/_zkfast": 0o644,
    "usr/share/fish/vendor_completions.d/zkfast.fish": 0o644,
    "usr/share/doc/zkfast/copyright": 0o644,
    "usr/share/doc/zkfast/examples/60-zkfast.conf": 0o644,
}
# `systemd-analyze security`, 0 to 10: the page quotes it. Up to 2 a service is "OK" and better.
EXPOSURE_MAX = 1.5


def run(*words, **how):
    """What a command prints; it must succeed."""
    done = subprocess.run([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **how)
    assert done.returncode == 0, f"{words}: {done.stdout}"
    return done.stdout


def files(root):
    """Paths of the files below a root."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


class Packages:
    """Both packages, and a root in which the .deb is installed."""

    def __init__(self, folder):
        self.folder = folder
        binary = os.environ.get("ZKFAST_BIN", support.TARGET / "release/zkfast")
        words = [support.ROOT / "tuning/packages/build", "--binary", binary, "--output", folder]
        built = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        self.deb, self.rpm = map(pathlib.Path, built)
        print(f"{self.deb.name}: {self.deb.stat().st_size} bytes, {self.rpm.name}: {self.rpm.stat().st_size} bytes")
        self.root = folder / "root"
        for path in ["etc", "var/lib/dpkg/info", "var/lib/dpkg/updates"]:
            (self.root / path).mkdir(parents=True)
        (self.root / "var/lib/dpkg/status").touch()
        (self.root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (self.root / "etc/group").write_text("root:x:0:\n")

    def dpkg(self, *words):
        """dpkg on the root; scripts run outside of it, with DPKG_ROOT set."""
        return run(
            "dpkg", f"--root={self.root}", "--force-script-chrootless", "--force-depends", "--log=/dev/null", *words,
        )

    def deb_is_installed(self):
        self.dpkg("--install", self.deb)
        for path, mode in FILES.items():
            found = (self.root / path).stat()
            assert stat.S_IMODE(found.st_mode) == mode and found.st_uid == 0, f"{path}: {found}"
        assert self.dpkg("--verify", "zkfast") == ""
        fields = run("dpkg-deb", "--field", self.deb)
        assert re.search(r"^Depends: .*libc6 \(>= 2\.\d+\)", fields, re.M), fields
        version = run(self.root / "usr/bin/zkfast", "--version").split()[1]
        assert f"Version: {version}-1\n" in fields, fields

    def the_user_has_its_directory(self):
        passwd = (self.root / "etc/passwd").read_text()
        user = re.search(r"^zookeeper:[^:]*:(\d+):(\d+):[^:]*:/var/lib/zookeeper:/usr/sbin/nologin$", passwd, re.M)
        assert user, passwd
        found = (self.root / "var/lib/zookeeper").stat()
        assert (found.st_uid, found.st_gid) == (int(user[1]), int(user[2])), found
        assert stat.S_IMODE(found.st_mode) == 0o750, found
        unit = (self.root / UNIT).read_text()
        assert "\nUser=zookeeper\n" in unit and "\nStateDirectory=zookeeper\n" in unit

    def the_server_takes_its_zoo_cfg(self):
        data = self.folder / "data"
        data.mkdir()
        words = [self.root / "usr/bin/zkfast", "check", self.root / CONFIG, "--data-dir", data]
        assert " 0 errors" in run(*words)
        text = (self.root / CONFIG).read_text()
        assert "\ndataDir=/var/lib/zookeeper\n" in text and "\nclientPortAddress=127.0.0.1\n" in text

    def systemd_takes_the_unit(self):
        unit = (self.root / UNIT).read_text()
        # The units that it names are this host's; the server is the one in the root.
        copy = self.folder / "zkfast.service"
        copy.write_text(unit.replace("/usr/bin/zkfast", str(self.root / "usr/bin/zkfast")))
        output = run("systemd-analyze", "verify", "--man=no", copy)
        assert output == "", output
        assert "\nExecStart=/usr/bin/zkfast /etc/zookeeper/conf/zoo.cfg\n" in unit
        assert "\nType=notify\n" in unit and re.search(r"^WatchdogSec=\d+$", unit, re.M)
        # The same as systemd's own tool says it of the file in the repository.
        output = run("systemd-analyze", "security", "--offline=true", "--no-pager", self.root / UNIT)
        exposure = float(re.search(r"Overall exposure level for zkfast\.service: ([\d.]+)", output)[1])
        print(f"systemd-analyze security: {exposure}")
        assert exposure <= EXPOSURE_MAX, output
        page = (support.ROOT / "src/docs/packages.md").read_text()
        assert f"Overall exposure level for zkfast.service: {exposure}" in page, f"the page quotes another than {exposure}"

    def a_changed_zoo_cfg_and_data_stay(self):
        (self.root / CONFIG).write_text("tickTime=1\n")
        (self.root / "var/lib/zookeeper/myid").write_text("1\n")
        self.dpkg("--install", "--force-confold", self.deb)
        assert (self.root / CONFIG).read_text() == "tickTime=1\n"
        self.dpkg("--remove", "zkfast")
        assert (self.root / CONFIG).exists() and not (self.root / "usr/bin/zkfast").exists()
        self.dpkg("--purge", "zkfast")
        assert not (self.root / CONFIG).exists()
        assert (self.root / "var/lib/zookeeper/myid").exists()

    def rpm_has_the_same_files(self):
        root = self.folder / "rpm"
        root.mkdir()
        # Its scripts want a shell and useradd in the root: they are looked at below.
        run("rpm", "--root", root, "--dbpath", "/database", "--nodeps", "--noscripts", "--install", self.rpm)
        tree = self.folder / "deb"
        run("dpkg-deb", "--extract", self.deb, tree)
        for path in FILES:
            assert (root / path).read_bytes() == (tree / path).read_bytes(), path
        installed = {path for path in files(root) if not path.startswith("database/")}
        assert installed == files(tree), installed ^ files(tree)
        fields = r"[%{FILENAMES} %{FILEUSERNAME} %{FILEMODES:octal} %{FILEFLAGS:fflags}\n]"
        listed = run("rpm", "-qp", "--queryformat", fields, self.rpm)
        assert "/var/lib/zookeeper zookeeper 40750" in listed, listed
        assert re.search(rf"^/{CONFIG} root 100644 cn", listed, re.M), listed
        assert "libc.so.6(GLIBC_" in run("rpm", "-qp", "--requires", self.rpm)

    def scripts_of_the_rpm(self):
        for tag in ["PREIN", "POSTIN", "PREUN", "POSTUN"]:
            script = run("rpm", "-qp", "--queryformat", f"%{{{tag}}}", self.rpm)
            assert script not in ["", "(none)"], tag
            run("sh", "-n", "-c", script)
            assert "restarts nothing" not in script or tag == "POSTIN", script
            assert ("useradd --system" in script) == (tag == "PREIN"), script

    def the_same_inputs_give_the_same_files(self):
        again = self.folder / "again"
        binary = os.environ.get("ZKFAST_BIN", support.TARGET / "release/zkfast")
        run(support.ROOT / "tuning/packages/build", "--binary", binary, "--output", again, "deb")
        assert (again / self.deb.name).read_bytes() == self.deb.read_bytes()


def main():
    support.arguments(__doc__).parse_args()
    support.installed("debian")
    os.environ.setdefault("SOURCE_DATE_EPOCH", "1700000000")
    with support.scratch("packages") as folder:
        packages = Packages(folder)
        support.run_cases([
            packages.deb_is_installed, packages.the_user_has_its_directory, packages.the_server_takes_its_zoo_cfg,
            packages.systemd_takes_the_unit, packages.a_changed_zoo_cfg_and_data_stay, packages.rpm_has_the_same_files,
            packages.scripts_of_the_rpm, packages.the_same_inputs_give_the_same_files,
        ], folder)


if __name__ == "__main__":
    main()
