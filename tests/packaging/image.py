#!/usr/bin/env python3
"""The container image, run without a container engine: built by tuning/image/build, unpacked, and started by bubblewrap.

Each container has the image's files as a read-only root, user 1000, the image's environment, entry point and command, and
folders as volumes. The network is this host's, on loopback ports of the test's own.

    tests/packaging/image.py                     with the release zkfast
"""

import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compat"))
import support  # noqa: E402

BUILD = support.ROOT / "tuning/image/build"
USER = 1000
# No promise: the image of a release build has 5 MB. One that is larger has taken in what it should not.
COMPRESSED_BYTES_MAX = 10 << 20
# Variables and defaults of the official image. Source: 31z4/zookeeper-docker, 3.9.4/Dockerfile.
DEFAULTS = {
    "ZOO_CONF_DIR": "/conf",
    "ZOO_DATA_DIR": "/data",
    "ZOO_DATA_LOG_DIR": "/datalog",
    "ZOO_LOG_DIR": "/logs",
    "ZOO_TICK_TIME": "2000",
    "ZOO_INIT_LIMIT": "5",
    "ZOO_SYNC_LIMIT": "2",
    "ZOO_AUTOPURGE_PURGEINTERVAL": "0",
    "ZOO_AUTOPURGE_SNAPRETAINCOUNT": "3",
    "ZOO_MAX_CLIENT_CNXNS": "60",
    "ZOO_STANDALONE_ENABLED": "true",
    "ZOO_ADMINSERVER_ENABLED": "true",
    "ZOOCFGDIR": "/conf",
}
# What its entry point makes of them. Source: 31z4/zookeeper-docker, 3.9.4/docker-entrypoint.sh.
DEFAULT_CONFIG = """\
dataDir=/data
dataLogDir=/datalog
tickTime=2000
initLimit=5
syncLimit=2
autopurge.snapRetainCount=3
autopurge.purgeInterval=0
maxClientCnxns=60
standaloneEnabled=true
admin.enableServer=true
server.1=localhost:2888:3888;2181
"""
VOLUMES = ["conf", "data", "datalog", "logs"]


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Image:
    """An image that was built, and its files in a folder."""

    def __init__(self, folder):
        self.archive = folder / "image.tar"
        self.folder = folder
        binary = os.environ.get("ZKFAST_BIN", support.TARGET / "release/zkfast")
        self.arguments = ["--binary", binary, "--busybox", support.installed("debian")]
        print(self.build(self.archive).strip())
        with tarfile.open(self.archive) as tar:
            self.members = {member.name: tar.extractfile(member).read() for member in tar}
        index = self.json("index.json")
        self.manifest = self.json(self.path(index["manifests"][0]))
        self.config = self.json(self.path(self.manifest["config"]))
        self.root = folder / "root"
        self.root.mkdir(mode=0o755)
        for layer in self.layers():
            subprocess.run(["tar", "-xp", "--numeric-owner", "-C", self.root], input=layer, check=True)

    def build(self, output):
        command = [BUILD, *self.arguments, "--output", output]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def path(self, described):
        """Where a blob stands; its digest and size are checked."""
        path = "blobs/" + described["digest"].replace(":", "/")
        assert digest(self.members[path]) == described["digest"], path
        assert len(self.members[path]) == described["size"], path
        return path

    def json(self, path):
        return json.loads(self.members[path])

    def layers(self):
        """The tar files of the layers."""
        return [gzip.decompress(self.members[self.path(layer)]) for layer in self.manifest["layers"]]


class Container:
    """Volumes and variables of a container; `command` runs in it."""

    def __init__(self, image, name, **variables):
        self.image = image
        self.variables = {key: str(value) for key, value in variables.items()}
        self.volumes = image.folder / name
        for volume in VOLUMES:
            (self.volumes / volume).mkdir(parents=True)
            self.give(self.volumes / volume)
        os.chmod(self.volumes, 0o755)

    @staticmethod
    def give(path):
        """As an engine does with a new volume: it belongs to the image's user."""
        if os.geteuid() == 0:
            os.chown(path, USER, USER)

    def words(self, *command, user=USER, volumes=VOLUMES):
        """The command line that runs the entry point with `command`, or with the image's own."""
        config = self.image.config["config"]
        words = ["bwrap", "--die-with-parent", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--clearenv"]
        if user == USER:
            words += ["--unshare-user", "--uid", str(USER), "--gid", str(USER)]
            if os.geteuid() == 0:
                words = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *words]
        else:
            words += ["--cap-add", "ALL"]
        words += ["--ro-bind", self.image.root, "/", "--dev", "/dev", "--proc", "/proc", "--chdir", config["WorkingDir"]]
        for volume in volumes:
            words += ["--bind", self.volumes / volume, f"/{volume}"]
        environment = dict(variable.split("=", 1) for variable in config["Env"]) | self.variables
        for name, value in environment.items():
            words += ["--setenv", name, value]
        return [*map(str, words), *config["Entrypoint"], *(command or config["Cmd"])]

    def run(self, *command, **how):
        """What a command in a container of its own prints, and its status."""
        run = subprocess.run(
            self.words(*command, **how), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=support.ANSWER_SECONDS_MAX,
        )
        return run.stdout, run.returncode

    def shell(self, script, **how):
        """What a hook prints that the runtime executes: without the entry point, on the same volumes."""
        words = self.words("sh", "-c", script, **how)
        words.remove(self.image.config["config"]["Entrypoint"][0])
        run = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=support.ANSWER_SECONDS_MAX
        )
        return run.stdout, run.returncode

    def start(self):
        self.log = open(self.volumes / "log", "ab")
        self.process = subprocess.Popen(self.words(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def server(self):
        """The process of the server: the child of the sandbox's own first process."""
        parent, found = self.process.pid, None
        while children := pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            parent = found = int(children[0])
        return found

    def stop(self):
        """Ends the server as an engine does; gives its status."""
        os.kill(self.server(), 15)
        return self.process.wait(support.STOP_SECONDS_MAX)

    def end(self):
        if hasattr(self, "process") and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def text(self, path):
        return (self.volumes / path).read_text()


def layout(image):
    """What the archive promises holds, and a second build has the same bytes."""

    def archive_is_whole():
        assert image.json("oci-layout") == {"imageLayoutVersion": "1.0.0"}
        assert [digest(layer) for layer in image.layers()] == image.config["rootfs"]["diff_ids"]
        [docker] = image.json("manifest.json")
        assert docker["Layers"] == [image.path(layer) for layer in image.manifest["layers"]]
        assert docker["Config"] == image.path(image.manifest["config"])
        compressed = sum(layer["size"] for layer in image.manifest["layers"])
        assert compressed < COMPRESSED_BYTES_MAX, compressed

    def configuration_is_the_official_ones():
        config = image.config["config"]
        environment = dict(variable.split("=", 1) for variable in config["Env"])
        assert environment.pop("PATH").split(":")[-1] == "/apache-zookeeper-3.9.4-bin/bin"
        assert environment == DEFAULTS, environment
        assert config["User"] == "1000:1000"
        assert set(config["Volumes"]) == {"/data", "/datalog", "/logs"}
        assert set(config["ExposedPorts"]) == {f"{port}/tcp" for port in [2181, 2888, 3888, 8080, 7000]}
        assert config["Cmd"] == ["zkServer.sh", "start-foreground"]
        assert config["Labels"]["org.opencontainers.image.version"] in (support.ROOT / "Cargo.toml").read_text()

    def only_the_volumes_are_the_users():
        for layer in image.layers():
            with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
                for member in tar:
                    mine = member.name in VOLUMES
                    assert member.uid == (USER if mine else 0), f"{member.name} belongs to {member.uid}"
                    writable = member.mode & 0o022 and not member.issym()
                    assert not writable or member.name == "tmp", f"{member.name} has mode {member.mode:o}"
                    assert not member.mode & 0o6000, f"{member.name} has mode {member.mode:o}"

    def the_same_inputs_give_the_same_bytes():
        again = image.folder / "again.tar"
        image.build(again)
        assert again.read_bytes() == image.archive.read_bytes()

    return [
        archive_is_whole, configuration_is_the_official_ones, only_the_volumes_are_the_users,
        the_same_inputs_give_the_same_bytes,
    ]


def entry_point(image):
    """What the entry point makes of variables and of files that are there."""

    def defaults():
        container = Container(image, "defaults")
        assert container.run("id", "-u") == ("1000\n", 0)
        assert container.text("conf/zoo.cfg") == DEFAULT_CONFIG
        assert container.text("data/myid") == "1\n"

    def every_variable():
        container = Container(
            image, "variables", ZOO_MY_ID=3, ZOO_TICK_TIME=1, ZOO_INIT_LIMIT=2, ZOO_SYNC_LIMIT=3,
            ZOO_AUTOPURGE_PURGEINTERVAL=4, ZOO_AUTOPURGE_SNAPRETAINCOUNT=5, ZOO_MAX_CLIENT_CNXNS=6,
            ZOO_STANDALONE_ENABLED="false", ZOO_ADMINSERVER_ENABLED="false", ZOO_4LW_COMMANDS_WHITELIST="*",
            ZOO_SERVERS="server.2=a:1:2;3  server.3=b:1:2:observer;3", ZOO_CFG_EXTRA="x=/* reconfigEnabled=true",
        )
        assert container.run("true") == ("", 0)
        assert container.text("conf/zoo.cfg") == (
            "dataDir=/data\ndataLogDir=/datalog\ntickTime=1\ninitLimit=2\nsyncLimit=3\nautopurge.snapRetainCount=5\n"
            "autopurge.purgeInterval=4\nmaxClientCnxns=6\nstandaloneEnabled=false\nadmin.enableServer=false\n"
            "server.2=a:1:2;3\nserver.3=b:1:2:observer;3\n4lw.commands.whitelist=*\nx=/*\nreconfigEnabled=true\n"
        )
        assert container.text("data/myid") == "3\n"

    def other_folders():
        container = Container(image, "folders", ZOO_DATA_DIR="/data/a", ZOO_DATA_LOG_DIR="/data/b", ZOO_CONF_DIR="/logs")
        assert container.run("true") == ("", 0)
        assert container.text("logs/zoo.cfg").startswith("dataDir=/data/a\ndataLogDir=/data/b\n")
        assert container.text("data/a/myid") == "1\n"

    def files_that_are_there_win():
        container = Container(image, "files", ZOO_MY_ID=3, ZOO_TICK_TIME=1)
        (container.volumes / "conf/zoo.cfg").write_text("mine=1\n")
        (container.volumes / "data/myid").write_text("7\n")
        assert container.run("true") == ("", 0)
        assert container.text("conf/zoo.cfg") == "mine=1\n"
        assert container.text("data/myid") == "7\n"

    def a_folder_that_cannot_be_written():
        container = Container(image, "read-only")
        output, status = container.run("true", volumes=["data", "datalog", "logs"])
        assert status == 2 and "/conf/zoo.cfg cannot be written by user 1000" in output, output
        if os.geteuid() == 0:
            os.chown(container.volumes / "data", 0, 0)
            output, status = container.run("true")
            assert status == 2 and "/data/myid cannot be written by user 1000" in output, output
        assert not (container.volumes / "data/myid").exists()

    def root_becomes_the_user():
        container = Container(image, "as-root")
        os.chown(container.volumes / "data", 0, 0)
        container.variables["ZKFAST_FLAGS"] = "--version"
        output, status = container.run(user=0)
        assert status == 0 and "zkfast 0." in output, output
        assert (container.volumes / "data").stat().st_uid == USER
        assert (container.volumes / "data/myid").stat().st_uid == USER

    # Only root can give a volume away.
    return [
        defaults, every_variable, other_folders, files_that_are_there_win, a_folder_that_cannot_be_written,
    ] + ([root_becomes_the_user] if os.geteuid() == 0 else [])


def ensemble(image, containers):
    """Three containers on loopback ports, and what hooks of operators do in them."""
    numbers = [support.free_port() for _ in range(12)]
    clients = numbers[:3]
    lines = [f"server.{n + 1}=127.0.0.1:{numbers[3 + n]}:{numbers[6 + n]};{clients[n]}" for n in range(3)]
    for n in range(3):
        containers.append(Container(
            image, f"server{n + 1}", ZOO_MY_ID=n + 1, ZOO_SERVERS=" ".join(lines), ZOO_TICK_TIME=500,
            ZOO_CFG_EXTRA=f"admin.serverPort={numbers[9 + n]}", ZKFAST_FLAGS="--log-format json",
        ))

    def modes():
        answers = [container.shell("zkServer.sh status 2>/dev/null") for container in containers]
        return sorted(output.splitlines()[-1] for output, status in answers if status == 0)

    def three_servers_serve():
        for container in containers:
            container.start()
        expected = ["Mode: follower", "Mode: follower", "Mode: leader"]
        support.wait_until(lambda: modes() == expected, support.START_SECONDS_MAX, "a leader and two followers")

    def a_write_is_everywhere():
        from kazoo.client import KazooClient

        for n, port in enumerate(clients):
            client = KazooClient(f"127.0.0.1:{port}", timeout=30)
            client.start(support.ANSWER_SECONDS_MAX)
            if n == 0:
                client.create("/image", b"data")
            client.sync("/image")
            assert client.get("/image")[0] == b"data"
            client.stop()
            client.close()

    def the_server_is_user_1000_on_a_read_only_root():
        for container in containers:
            process = pathlib.Path(f"/proc/{container.server()}")
            # An operator's stop hook looks for zoo.cfg in the list of processes.
            words = (process / "cmdline").read_bytes().split(b"\0")
            assert words[0] == b"zkfast" and b"/conf/zoo.cfg" in words, words
            uids = next(line for line in (process / "status").read_text().splitlines() if line.startswith("Uid:"))
            assert set(uids.split()[1:]) == {str(USER) if os.geteuid() == 0 else str(os.getuid())}, uids
            root = next(line for line in (process / "mountinfo").read_text().splitlines() if line.split()[4] == "/")
            assert "ro" in root.split()[5].split(","), root
            assert '"level":"INFO"' in container.text("log"), "ZKFAST_FLAGS"

    def hooks():
        ruok = f"echo ruok | nc 127.0.0.1 {clients[0]}"
        assert containers[0].shell(ruok) == ("imok", 0)
        assert containers[0].shell(f"echo srvr | nc -w 2 localhost {clients[0]} | grep -c '^Mode: '") == ("1\n", 0)
        output, status = containers[0].shell("touch /new /usr/new /etc/passwd")
        assert status != 0 and output == ""
        output, status = containers[0].shell("zkServer.sh version")
        assert status == 0 and output.startswith("zkfast "), output

    def they_stop_and_start_again():
        assert [container.stop() for container in containers] == [0, 0, 0]
        output, status = containers[0].shell("zkServer.sh status")
        assert status == 1 and output.endswith("Error contacting service. It is probably not running.\n"), output
        for container in containers:
            # The zoo.cfg that is there wins.
            container.variables["ZOO_TICK_TIME"] = "nonsense"
            container.start()
        support.wait_until(lambda: len(modes()) == 3, support.START_SECONDS_MAX, "three servers serve again")
        a_write_is_there()

    def a_write_is_there():
        from kazoo.client import KazooClient

        client = KazooClient(f"127.0.0.1:{clients[2]}", timeout=30)
        client.start(support.ANSWER_SECONDS_MAX)
        assert client.get("/image")[0] == b"data"
        client.stop()
        client.close()

    return [
        three_servers_serve, a_write_is_everywhere, the_server_is_user_1000_on_a_read_only_root, hooks,
        they_stop_and_start_again,
    ]


def scripts(image):
    """zkServer.sh in the background, as runbooks use it."""

    def start_status_restart_stop():
        client, admin = support.free_port(), support.free_port()
        container = Container(
            image, "scripts", ZOO_SERVERS=f"server.1=localhost:2888:3888;{client}",
            ZOO_CFG_EXTRA=f"admin.serverPort={admin}",
        )
        wait = "until zkServer.sh status 2>/dev/null | grep Mode; do sleep 0.1; done"
        script = (
            f"zkServer.sh start 2>/dev/null && {wait} && zkServer.sh start 2>/dev/null; echo second $?;"
            f" zkServer.sh restart 2>/dev/null && {wait}; zkServer.sh --config /conf stop 2>/dev/null;"
            " zkServer.sh stop 2>/dev/null; ls /logs; zkServer.sh nonsense 2>/dev/null; echo usage $?"
        )
        output, status = container.run("sh", "-c", script)
        lines = [line for line in output.splitlines() if line]
        assert status == 0, output
        assert lines[0] == "Starting zookeeper ... STARTED", output
        assert lines[1] == "Mode: standalone", output
        assert lines[2].startswith("Starting zookeeper ... already running as process "), output
        assert lines[3] == "second 1", output
        assert lines[4:7] == [
            "Stopping zookeeper ... STOPPED", "Starting zookeeper ... STARTED", "Mode: standalone",
        ], output
        assert lines[7] == "Stopping zookeeper ... STOPPED", output
        assert lines[8].startswith("Stopping zookeeper ... no zookeeper to stop (could not find file /data/"), output
        assert lines[9].endswith(".out") and lines[10] == "usage 2", output

    def other_files():
        container = Container(image, "other")
        conf = container.volumes / "conf"
        (conf / "zoo.cfg").write_text("dataDir=/data\nclientPort=1\n")
        (conf / "zookeeper-env.sh").write_text("ZKFAST_FLAGS=--log-level=off\n")
        (conf / "other.cfg").write_text("dataDir=/data\nclientPort=2\n")
        for arguments, file in [("", "/conf/zoo.cfg"), ("other.cfg", "/conf/other.cfg"), ("/data/x.cfg", "/data/x.cfg")]:
            output, status = container.shell(f"zkServer.sh print-cmd {arguments} 2>/dev/null")
            assert (output, status) == (f'zkfast --log-level=off "{file}"\n', 0), output

    def the_command_line():
        container = Container(image, "cli")
        # In place of the server, so that what it is told is seen.
        (container.volumes / "logs/zkfast").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
        os.chmod(container.volumes / "logs/zkfast", 0o755)
        for words, told, *jvm in [
            ("", "cli|"),
            ("-server a:1,b:2/c get /d", "cli|--server|a:1,b:2/c|get|/d|"),
            ("-timeout 5 -r -waitforconnection create -e /d 'x y'",
             "cli|--timeout|5|--read-only|--wait-for-connection|create|-e|/d|x y|"),
            ("-client-configuration f --json ls /", "cli|--client-configuration|f|--json|ls|/|"),
            ("-server", ""),
            ("ls /", "cli|--jaas|/c.jaas|ls|/|", "-Xmx1g -Djava.security.auth.login.config=/c.jaas -Dx=y"),
        ]:
            output, status = container.shell(f"CLIENT_JVMFLAGS='{''.join(jvm)}' PATH=/logs:$PATH zkCli.sh {words}")
            assert (output, status) == (told, 0 if told else 2), f"{words}: {output} {status}"

    return [start_status_restart_stop, other_files, the_command_line]


def main():
    support.arguments(__doc__).parse_args()
    support.use_environment()
    # A folder that user 1000 can reach, on a disk.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="zkfast-image-", dir="/var/tmp"))
    os.chmod(folder, 0o755)
    containers = []
    try:
        image = Image(folder)
        cases = layout(image) + entry_point(image) + ensemble(image, containers) + scripts(image)
        support.run_cases(cases, folder)
    except SystemExit as end:
        if end.code == 0:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        for container in containers:
            container.end()


if __name__ == "__main__":
    main()
