"""Shared parts of the compat tests: paths, a server process, waiting with a deadline.

Every test takes `--server COMMAND`, a command line with `{config}` in place of the zoo.cfg's path. The default is the release
build of zkfast; `reference` is Apache ZooKeeper itself.
"""

import argparse
import contextlib
import itertools
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()

# A server that needs longer hangs. On two cores with ten other programs a JVM needs half a minute to start. These limits
# prove nothing about speed.
START_SECONDS_MAX = 300
STOP_SECONDS_MAX = 120
ANSWER_SECONDS_MAX = 120


def installed(what):
    """The path that `tests/setup/setup.sh` prints for `what`."""
    run = subprocess.run([ROOT / "tests/setup/setup.sh", what], stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit(1)
    return run.stdout.strip()


def use_environment():
    """Restarts this test in the interpreter that has kazoo, so that any python3 can start it."""
    try:
        import kazoo.client  # noqa: F401 (`import kazoo` alone would find the folder beside this file)
    except ImportError:
        python = installed("python")
        os.execv(python, [python, *sys.argv])


def arguments(description):
    """The arguments that all compat tests have. From here on SIGTERM unwinds like Ctrl-C, so that no server is left behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--server",
        metavar="COMMAND",
        default=os.environ.get("ZKFAST_SERVER", ""),
        help="server under test; {config} is its zoo.cfg (default: the release zkfast; 'reference': Apache ZooKeeper)",
    )
    return parser


def server_command(command):
    """The words of `--server`'s `command`, with the two short forms replaced. `{config}` is still in them."""
    if command == "reference":
        return [str(HERE / "reference.sh"), "{config}"]
    if not command:
        return [str(TARGET / "release/zkfast"), "{config}"]
    words = shlex.split(command)
    if not any("{config}" in word for word in words):
        sys.exit("--server wants a command with {config} in it, as in 'target/release/zkfast {config}'")
    if "/" in words[0]:
        words[0] = str(pathlib.Path(words[0]).resolve())
    return words


def on_config(words, config):
    """The command line of `server_command` for one zoo.cfg."""
    return [word.replace("{config}", str(config)) for word in words]


@contextlib.contextmanager
def scratch(name):
    """A folder for data and logs on the disk of the build, since O_DIRECT needs a real disk. It is kept if the test fails."""
    (TARGET / "tmp").mkdir(parents=True, exist_ok=True)
    path = pathlib.Path(tempfile.mkdtemp(prefix=name + "-", dir=TARGET / "tmp"))
    try:
        yield path
    except SystemExit as end:
        if end.code == 0:
            shutil.rmtree(path, ignore_errors=True)
        raise
    except BaseException:
        print(f"logs are in {path}", file=sys.stderr)
        raise
    else:
        shutil.rmtree(path, ignore_errors=True)


def is_free(port):
    """Whether a server could take the port of 127.0.0.1."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


# Between the ports of the kazoo suite and those that the kernel gives to outgoing connections. Each process begins elsewhere.
PORTS = range(28000, 32700)
_next_port = itertools.islice(itertools.cycle(PORTS), os.getpid() * 20 % len(PORTS), None)


def free_port(count=1):
    """The first of so many free ports of 127.0.0.1 in a row. No port is given again before all others were: what is to listen on
    it may start long afterwards."""
    row = []
    for port in itertools.islice(_next_port, len(PORTS)):
        if not is_free(port):
            row = []
        elif row and port == row[-1] + 1:
            row.append(port)
        else:
            row = [port]
        if len(row) == count:
            return row[0]
    raise RuntimeError(f"no {count} free ports in a row within {PORTS}")


def wait_until(condition, seconds, what):
    """Gives the first true value of `condition`. After `seconds` without one it raises an error that names `what`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def exactly(connection, count):
    """So many bytes of a connection; an EOFError if it ends before."""
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError("the server closed the connection")
        data += piece
    return data


def runnable_without_core(*pids):
    """Seconds in which threads of these processes were ready to run but had no core, since their start; 0 if the kernel does
    not count it."""
    nanoseconds = 0
    for pid in pids:
        for path in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                nanoseconds += int(path.read_text().split()[1])
    return nanoseconds / 1e9


class Server:
    """A server with its own port and data folder. It runs within a `with` block."""

    def __init__(self, command, folder, tick_time_ms=2000, **settings):
        self.words = server_command(command)
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.config = folder / "zoo.cfg"
        keys = {
            "tickTime": tick_time_ms,
            "dataDir": folder / "data",
            "clientPort": self.port,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
        }
        keys.update(settings)
        (folder / "data").mkdir()
        self.config.write_text("".join(f"{key}={value}\n" for key, value in keys.items()))

    def __enter__(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                on_config(self.words, self.config), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            wait_until(self.answers, START_SECONDS_MAX, f"{self.words[0]} answers ruok on {self.address}")
        except BaseException:
            self.process.kill()
            self.process.wait()
            print(self.log.read_text(errors="replace")[-4000:], file=sys.stderr)
            raise
        return self

    def answers(self):
        """True if the server answers. Raises an error if it has exited."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.words[0]} ended with {self.process.returncode} instead of serving")
        try:
            # ZooKeeper may take a connection while it starts, and never answer on it.
            return self.four_letter_word("ruok", seconds=5) == "imok"
        except OSError:
            return False

    def four_letter_word(self, word, seconds=ANSWER_SECONDS_MAX):
        """The answer to an administrative word such as `srvr`; an OSError if there is none in so many seconds."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(word.encode())
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        return answer.decode()

    def __exit__(self, *_):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.words[0]} ended by itself with {self.process.returncode}; log: {self.log}")
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{self.words[0]} still ran {STOP_SECONDS_MAX} s after TERM; log: {self.log}") from None
        if status != status_after_term(self.words):
            raise RuntimeError(f"{self.words[0]} ended with {status} after TERM; log: {self.log}")


class Ensemble:
    """Servers by number, each with a folder, `data` in it, and three ports of its own; one alone is a standalone server. They
    run within a `with` block.

    `commands` has the command line of each, as `--server` takes it. What a zoo.cfg has beside folders, ports and server lines
    is in `keys_of`, which a test's own class has, and in `start`.
    """

    # Where the servers look for each other.
    host = "127.0.0.1"

    def __init__(self, folder, commands, observers=()):
        self.folder, self.observers = folder, observers
        self.words = {sid: server_command(command) for sid, command in commands.items()}
        self.running, self.ports = {}, {}
        for sid in commands:
            # Of clients; the next one is for followers, the one after it for the election.
            self.ports[sid] = free_port(3)
            (folder / str(sid) / "data").mkdir(parents=True)
            if len(commands) > 1:
                (folder / str(sid) / "data" / "myid").write_text(f"{sid}\n")

    def keys_of(self, sid):
        """Keys of zoo.cfg that a server has at each start."""
        return {}

    def path(self, sid):
        """The folder of a server's zoo.cfg."""
        return self.folder / str(sid)

    def environment_of(self, sid):
        """Variables that a server has beside those of the test."""
        return {}

    def start(self, sid, keys=None):
        """Starts a server. `keys` are what its zoo.cfg has this time beside the others."""
        all_keys = {
            "tickTime": 1000,
            "initLimit": 20,
            "syncLimit": 10,
            "dataDir": self.folder / str(sid) / "data",
            "clientPort": self.ports[sid],
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
        }
        if len(self.ports) > 1:
            for other, port in self.ports.items():
                role = "observer" if other in self.observers else "participant"
                all_keys[f"server.{other}"] = f"{self.host}:{port + 1}:{port + 2}:{role}"
            if sid in self.observers:
                all_keys["peerType"] = "observer"
        all_keys |= self.keys_of(sid) | (keys or {})
        (self.path(sid) / "zoo.cfg").write_text("".join(f"{key}={value}\n" for key, value in all_keys.items()))
        self.resume(sid)

    def resume(self, sid):
        """Starts a server on the files that it has."""
        with open(self.folder / str(sid) / "server.log", "ab") as log:
            self.running[sid] = subprocess.Popen(
                on_config(self.words[sid], self.path(sid) / "zoo.cfg"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | self.environment_of(sid),
            )  # fmt: skip

    def stop(self, sid, how=signal.SIGTERM):
        """Ends a server. One that does not end in time is killed, and that is an error."""
        process = self.running.pop(sid)
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS_MAX)
        finally:
            process.kill()
            process.wait()

    def log(self, sid):
        return (self.folder / str(sid) / "server.log").read_text(errors="replace")

    def word(self, sid, name):
        """The answer to a four-letter word; an OSError if there is none."""
        with socket.create_connection(("127.0.0.1", self.ports[sid]), timeout=5) as connection:
            connection.sendall(name.encode())
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        return answer.decode()

    def role(self, sid):
        """What a server that serves says of itself, as `leader`; None of one that does not."""
        with contextlib.suppress(OSError):
            for line in self.word(sid, "srvr").splitlines():
                if line.startswith("Mode: "):
                    return line.removeprefix("Mode: ")
        return None

    def wait(self, *sids):
        """Waits until these servers serve, all of them if none is named."""
        for sid in sids or self.ports:
            wait_until(lambda: self.role(sid) or time.sleep(0.1), START_SECONDS_MAX, f"server {sid} serves")

    def wait_roles(self, *sids):
        """Waits until these servers serve, one of them as leader; gives that one."""

        def leader():
            roles = {sid: self.role(sid) for sid in sids}
            leaders = [sid for sid, role in roles.items() if role == "leader"]
            return leaders[0] if len(leaders) == 1 and all(roles.values()) else time.sleep(0.1)

        return wait_until(leader, START_SECONDS_MAX, f"servers {sids} serve")

    def hosts(self):
        """All servers, for a client."""
        return ",".join(f"127.0.0.1:{port}" for port in self.ports.values())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.kill()
            process.wait()
        self.running.clear()


def status_after_term(words):
    """The exit status of a server after SIGTERM: 0, or 128 + 15 for a JVM."""
    return 143 if words[0] in (str(HERE / "reference.sh"), "java") else 0


def run_named(cases, names, server, folder):
    """Runs functions by their names in `cases`, each with the server and a folder of its own."""

    def named(name):
        def case():
            (folder / name).mkdir()
            cases[name](server, folder / name)

        case.__name__ = name
        return case

    run_cases([named(name) for name in names], folder)


def compared(name, answers, server, folder, design):
    """A case in which zkfast answers what ZooKeeper does: `answers` gives pairs and longer tuples whose first part says what
    was asked. `design` has what zkfast answers otherwise on purpose, by the case and that part."""

    def case():
        java, ours = answers("reference", name, folder), answers(server, name, folder)
        differences = []
        for have, want in zip(ours, java):
            if have != design.get((name, want[0]), want):
                differences.append(f"zkfast    {have}\n  ZooKeeper {want}")
        assert len(java) == len(ours), f"{len(ours)} answers of zkfast, {len(java)} of ZooKeeper"
        assert not differences, "\n  " + "\n  ".join(differences)

    case.__name__ = name
    return case


def run_cases(cases, folder):
    """Runs functions in order. Prints `ok` or `FAILED` with the reason for each, then the summary."""
    passed = 0
    for case in cases:
        begun = time.monotonic()
        try:
            case()
        except Exception:
            print(f"FAILED {case.__name__}")
            traceback.print_exc(file=sys.stdout)
        else:
            passed += 1
            print(f"ok     {case.__name__} ({time.monotonic() - begun:.1f} s)", flush=True)
    report(passed, len(cases) - passed, 0, folder)


def report(passed, failed, skipped, folder):
    """Prints the summary, which must be the last line, and exits."""
    failed += not passed
    if failed:
        print(f"logs are in {folder}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(1 if failed else 0)
