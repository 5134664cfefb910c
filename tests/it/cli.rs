//! `zkfast cli` against a real server: what each verb prints and does, exit statuses, JSON, and whole subtrees.

use crate::harness::{
    ANSWER_TIMEOUT, Directory, Server, alone, free_address, under_test, wait_for, zkfast_binary,
};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Exit statuses of `zkfast cli`.
const DONE: i32 = 0;
const REFUSED: i32 = 1;
const USAGE: i32 = 2;
const CONNECTION: i32 = 4;
const FILES: i32 = 5;

/// A server, and `zkfast cli` as a client of it.
struct Cli {
    server: Server,
}

/// Exit status, standard output and standard error.
type Ran = (i32, String, String);

impl Cli {
    fn start() -> Self {
        let keys = [("extendedTypesEnabled", "true"), ("enforceQuota", "true")];
        Self { server: Server::start(under_test(), &keys) }
    }

    fn address(&self) -> String {
        self.server.address().to_string()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(zkfast_binary());
        command.args(["cli", "-s", &self.address()]).args(args).env_remove("ZKFAST_AUTH");
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args), b"")
    }

    fn with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        ran(self.command(args), input)
    }

    /// Standard output of a command that must be done.
    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let (status, stdout, stderr) = self.run(args);
        assert_eq!(status, DONE, "{args:?}: {stderr}");
        stdout
    }

    /// Standard output of a command with `--json`.
    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let stdout = self.done(&[args, &["--json"]].concat());
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {stdout}"))
    }

    /// Standard error of a command that must end with `status`.
    #[track_caller]
    fn fails(&self, args: &[&str], status: i32) -> String {
        let (had, stdout, stderr) = self.run(args);
        assert_eq!((had, stdout.as_str()), (status, ""), "{args:?}: {stderr}");
        stderr
    }
}

fn ran(mut command: Command, input: &[u8]) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("zkfast");
    // A command that does not read may have ended.
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("zkfast ends");
    let _ = writer.join().expect("the writer ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
}

/// Data goes to standard output and nothing else does; each verb of zkCli has its effect.
#[test]
fn one_verb() {
    let _alone = alone();
    let cli = Cli::start();
    assert_eq!(cli.run(&["create", "/a", "text"]), (DONE, String::new(), "Created /a\n".into()));
    assert_eq!(cli.done(&["create", "-s", "--print", "/a/n_"]), "/a/n_0000000000\n");
    assert_eq!(cli.done(&["create", "-s", "--print", "/a/"]), "/a/0000000001\n");
    assert_eq!(cli.done(&["ls", "/a"]), "[0000000001, n_0000000000]\n");
    assert_eq!(cli.done(&["ls", "-R", "/a"]), "/a\n/a/0000000001\n/a/n_0000000000\n");
    assert_eq!(cli.done(&["get", "/a"]), "text\n");
    assert!(cli.done(&["get", "-s", "/a"]).starts_with("text\ncZxid = 0x"), "a Stat follows");
    assert_eq!(cli.done(&["set", "-v", "0", "/a", "two"]), "");
    assert!(cli.done(&["set", "-s", "/a", "three"]).contains("\ndataVersion = 2\n"));
    assert!(cli.done(&["stat", "/a"]).contains("\nnumChildren = 2\n"));
    assert_eq!(cli.done(&["getAllChildrenNumber", "/a"]), "2\n");
    assert_eq!(cli.done(&["getAcl", "/a"]), "'world,'anyone\n: cdrwa\n");
    assert_eq!(cli.done(&["setAcl", "-R", "/a", "world:anyone:cdra"]), "");
    assert_eq!(cli.done(&["getAcl", "/a/n_0000000000"]), "'world,'anyone\n: cdra\n");
    assert_eq!(cli.done(&["delete", "-v", "0", "/a/n_0000000000"]), "");
    assert_eq!(cli.done(&["sync", "/"]), "Sync is OK\n");
    assert!(cli.done(&["whoami"]).starts_with("Auth scheme: User\nip: 127.0.0.1"));
    assert!(cli.done(&["version"]).starts_with("ZooKeeper CLI version: zkfast "));
    assert_eq!(cli.done(&["deleteall", "/a"]), "");
    // The session of one verb ends with it, and its ephemerals at once.
    cli.done(&["create", "-e", "/ephemeral"]);
    assert_eq!(cli.done(&["ls", "/"]), "[zookeeper]\n");
    assert!(cli.done(&["help"]).contains("create [-s] [-e] [-c]"), "help needs no server");
}

/// Bytes that are no text go in and out unchanged, from the command line and from standard input; null is not empty.
#[test]
fn bytes() {
    let _alone = alone();
    let cli = Cli::start();
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(cli.with_input(&["create", "/b", "-"], &bytes).0, DONE);
    let output = cli.command(&["get", "--raw", "/b"]).output().expect("zkfast");
    assert_eq!(output.stdout, bytes);
    assert!(
        cli.done(&["get", "--hex", "/b"]).starts_with("000102")
            && cli.done(&["get", "--hex", "/b"]).ends_with("feff\n")
    );
    let base64 = cli.done(&["get", "-b", "/b"]);
    assert_eq!(base64, cli.done(&["get", "--base64", "/b"]));
    assert!(cli.done(&["get", "-x", "/b"]).contains("|00000010| 10 11"), "a dump");
    cli.done(&["create", "/c"]);
    assert_eq!(cli.done(&["get", "/c"]), "null\n");
    assert_eq!(cli.done(&["get", "--raw", "/c"]), "");
    assert_eq!(cli.json(&["get", "/c"])["base64"], Value::Null);
    cli.done(&["set", "/c", ""]);
    assert_eq!(cli.json(&["get", "/c"])["base64"], "");
    assert_eq!(cli.with_input(&["set", "-b", "/c", "-"], base64.as_bytes()).0, DONE);
    assert_eq!(cli.done(&["get", "-b", "/c"]), base64);
    assert!(cli.fails(&["set", "-b", "/c", "?"], USAGE).contains("not base64"));
}

/// The exit status tells a refusal, a usage error and a lost connection apart, and a refusal names its code.
#[test]
fn statuses() {
    let _alone = alone();
    let mut cli = Cli::start();
    cli.done(&["create", "/a", "x"]);
    cli.done(&["create", "/a/b", "x"]);
    for (args, code) in [
        (&["get", "/none"][..], "NoNode"),
        (&["create", "/a"], "NodeExists"),
        (&["delete", "/a"], "NotEmpty"),
        (&["set", "-v", "7", "/a", "x"], "BadVersion"),
        (&["removewatches", "/a"], "NoWatcher"),
        (&["reconfig", "-remove", "1"], "ReconfigDisabled"),
        (&["export", "/none"], "NoNode"),
        (&["addauth", "nonsense", "x"], "AuthFailed"),
    ] {
        let stderr = cli.fails(args, REFUSED);
        assert!(stderr.contains(&format!("({code})")), "{args:?}: {stderr}");
    }
    let error = cli.fails(&["get", "/none", "--json"], REFUSED);
    let error: Value = serde_json::from_str(&error).expect("an error as JSON");
    assert_eq!(error["error"], "NoNode");
    assert_eq!(error["code"], -101);
    assert_eq!(error["path"], "/none");
    for args in [
        &["gett", "/a"][..],
        &["-timeout", "1", "ls", "/"],
        &["get"],
        &["get", "a"],
        &["get", "/a/"],
        &["get", "-q", "/a"],
        &["create", "-c", "-e", "/x"],
        &["create", "-t", "0", "/x"],
        &["create", "/x", "d", "world:anyone:z"],
        &["setquota", "/a"],
        &["find", "--type", "other", "/"],
        &["import", "--conflict", "other"],
        &["history"],
        &["deleteall", "/"],
    ] {
        cli.fails(args, USAGE);
    }
    assert!(cli.fails(&["gett", "/a"], USAGE).contains("did you mean get?"));
    cli.fails(&["import", "/no/such/file"], FILES);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let output = cli.command(&["get", "/a"]).stdout(full).output().expect("zkfast");
    assert_eq!(output.status.code(), Some(FILES));
    cli.server.kill();
    assert!(cli.fails(&["get", "/a"], CONNECTION).contains("(ConnectionLoss)"));
}

/// The first server that answers is taken, paths begin at the chroot, and with `--wait-for-connection` a server that starts
/// later is found.
#[test]
fn connecting() {
    let _alone = alone();
    let mut cli = Cli::start();
    cli.done(&["create", "/app", "x"]);
    let servers = format!("{},{}/app", free_address(), cli.address());
    let at_app = |args: &[&str]| {
        let mut command = Command::new(zkfast_binary());
        command.args(["cli", "--server", &servers]).args(args);
        ran(command, b"")
    };
    assert_eq!(at_app(&["create", "/in", "y"]), (DONE, String::new(), "Created /in\n".into()));
    assert_eq!(at_app(&["ls", "-R", "/"]).1, "/\n/in\n");
    assert_eq!(at_app(&["setquota", "-n", "9", "/in"]).0, DONE);
    assert!(cli.done(&["listquota", "/app/in"]).contains("count=9"), "a quota stands at the server's path");
    assert!(
        at_app(&["get", "/none"]).2.contains("exist: /none "),
        "an error has the path that was asked for"
    );
    cli.server.kill();
    let waiting = cli
        .command(&["--wait-for-connection", "--timeout", "60000", "get", "/app"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("zkfast");
    cli.server.start_again();
    let output = waiting.wait_with_output().expect("zkfast ends");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(DONE), &b"x\n"[..]));
}

/// A credential comes from a flag, a file or the environment, and is presented before the verb.
#[test]
fn credentials() {
    let _alone = alone();
    let cli = Cli::start();
    let directory = Directory::new("auth");
    let file = directory.path().join("auth");
    fs::write(&file, "# mine\n\ndigest:alice:secret\n").expect("written");
    let file = file.to_str().expect("a path");
    cli.done(&["--auth", "digest:alice:secret", "create", "/private", "x", "auth::cdrwa"]);
    assert!(cli.fails(&["get", "/private"], REFUSED).contains("(NoAuth)"));
    assert_eq!(cli.done(&["--auth-file", file, "get", "/private"]), "x\n");
    let output =
        cli.command(&["get", "/private"]).env("ZKFAST_AUTH", "digest:alice:secret").output().expect("zkfast");
    assert_eq!(output.stdout, b"x\n");
    assert!(
        !cli.fails(&["--auth", "secret", "ls", "/"], USAGE).contains("secret"),
        "a credential is not repeated"
    );
    // What may not be read makes an export fail, and is named.
    let (status, stdout, stderr) = cli.run(&["export", "/"]);
    assert_eq!((status, stdout.lines().count()), (REFUSED, 1), "{stderr}");
    assert!(stderr.contains("not read: /private (NoAuth)"), "{stderr}");
}

/// The shapes of JSON that scripts read.
#[test]
fn json() {
    let _alone = alone();
    let cli = Cli::start();
    let created = cli.json(&["create", "-s", "/n_", "x"]);
    assert_eq!(created["path"], "/n_0000000000");
    assert_eq!(created["stat"]["version"], 0);
    let get = cli.json(&["get", "/n_0000000000"]);
    assert_eq!(get["data"], "x");
    assert_eq!(get["base64"], "eA==");
    assert_eq!(get["stat"]["dataLength"], 1);
    assert!(get["stat"]["czxid"].as_str().is_some_and(|zxid| zxid.starts_with("0x")), "{get}");
    assert_eq!(cli.json(&["set", "/n_0000000000", "y"])["stat"]["version"], 1);
    assert_eq!(cli.json(&["ls", "/"])["children"], serde_json::json!(["n_0000000000", "zookeeper"]));
    assert_eq!(cli.json(&["ls", "-R", "/n_0000000000"])["paths"], serde_json::json!(["/n_0000000000"]));
    let world = serde_json::json!([{ "scheme": "world", "id": "anyone", "perms": "cdrwa" }]);
    assert_eq!(cli.json(&["getAcl", "/n_0000000000"])["acl"], world);
    assert_eq!(cli.json(&["setAcl", "/n_0000000000", "world:anyone:cdrwa"])["stat"]["aversion"], 1);
    assert_eq!(cli.json(&["stat", "/"])["path"], "/");
    assert_eq!(cli.json(&["listquota", "/n_0000000000"])["quota"], Value::Null);
    assert_eq!(cli.json(&["setquota", "-N", "5", "/n_0000000000"])["quota"]["countHardLimit"], 5);
    assert_eq!(cli.json(&["listquota", "/n_0000000000"])["stat"]["count"], 1);
    assert_eq!(cli.json(&["delquota", "/n_0000000000"])["path"], "/n_0000000000");
    assert_eq!(cli.json(&["whoami"])[0]["scheme"], "ip");
    assert_eq!(cli.json(&["sync", "/"])["sync"], true);
    assert_eq!(cli.json(&["getEphemerals"])["ephemerals"], serde_json::json!([]));
    assert_eq!(cli.json(&["getAllChildrenNumber", "/n_0000000000"])["allChildrenNumber"], 0);
    assert!(cli.json(&["config"])["stat"].is_object());
    assert!(cli.json(&["version"])["version"].is_string());
    assert_eq!(cli.json(&["tree", "/n_0000000000"])["children"], serde_json::json!([]));
    assert_eq!(cli.json(&["du", "/n_0000000000"])["znodes"], 1);
    assert_eq!(cli.json(&["find", "--name", "n_*"])["path"], "/n_0000000000");
    assert_eq!(cli.json(&["delete", "/n_0000000000"])["deleted"], 1);
    assert_eq!(cli.json(&["help", "ls"])["usage"], "[-s] [-w] [-R] PATH");
}

/// `tree`, `du` and `find` on a small subtree.
#[test]
fn subtrees() {
    let _alone = alone();
    let cli = Cli::start();
    for (path, data) in [("/t", "12"), ("/t/a", "345"), ("/t/a/x", "6"), ("/t/b", ""), ("/t/a/y", "7890")] {
        cli.done(&["create", path, data]);
    }
    assert_eq!(cli.done(&["tree", "/t"]), "/t\n├── a\n│   ├── x\n│   └── y\n└── b\n");
    assert_eq!(cli.done(&["tree", "-L", "1", "/t"]), "/t\n├── a\n└── b\n");
    let du: Vec<Vec<String>> = cli
        .done(&["du", "/t"])
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect();
    assert_eq!(du, [["10", "5", "/t"], ["8", "3", "/t/a"], ["0", "1", "/t/b"]]);
    assert_eq!(cli.done(&["find", "--name", "[xy]", "/t"]), "/t/a/x\n/t/a/y\n");
    assert_eq!(cli.done(&["find", "--size", "+2", "/t"]), "/t/a\n/t/a/y\n");
    assert_eq!(cli.done(&["find", "--size", "0", "--type", "persistent", "/t"]), "/t/b\n");
    assert_eq!(cli.done(&["find", "--type", "ephemeral", "/t"]), "");
}

/// A process of `zkfast cli` whose output is read line by line.
struct Stream {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Stream {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("zkfast");
        // It says that it watches before the first event can come.
        let mut ready = String::new();
        BufReader::new(child.stderr.as_mut().expect("piped")).read_line(&mut ready).expect("a line");
        assert!(ready.starts_with("watching "), "{ready}");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, lines }
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `watch` gives each event as a line, over a restart of the server, and ends after `--count` of them.
#[test]
fn watching() {
    let _alone = alone();
    let mut cli = Cli::start();
    cli.done(&["create", "/w"]);
    let mut stream = Stream::start(cli.command(&["watch", "/w", "--recursive", "--count", "3"]));
    cli.done(&["create", "/w/a", "x"]);
    assert!(stream.next().starts_with("NodeCreated /w/a 0x"));
    cli.server.kill();
    assert_eq!(stream.next(), "None Disconnected", "events may lack from here on");
    cli.server.start_again();
    assert_eq!(stream.next(), "None SyncConnected");
    cli.done(&["set", "/w/a", "y"]);
    assert!(stream.next().starts_with("NodeDataChanged /w/a 0x"));
    cli.done(&["delete", "/w/a"]);
    assert!(stream.next().starts_with("NodeDeleted /w/a 0x"));
    assert_eq!(stream.next(), "", "no more");
    assert_eq!(stream.child.wait().expect("it ends").code(), Some(DONE));

    let mut stream = Stream::start(cli.command(&["watch", "/w", "--json"]));
    cli.done(&["create", "/w/b"]);
    let event: Value = serde_json::from_str(&stream.next()).expect("JSON");
    assert_eq!(event["type"], "NodeChildrenChanged");
    assert_eq!(event["path"], "/w");
}

/// Commands on standard input run one after the other in one session; the status is that of the first that failed.
#[test]
fn commands_of_a_script() {
    let _alone = alone();
    let cli = Cli::start();
    let script = "create -e /e 'two words'\nget /e\ngetEphemerals\nget /none\nget\nprintwatches\nhistory\nredo 1\nquit\nls /\n";
    let (status, stdout, stderr) = cli.with_input(&[], script.as_bytes());
    assert_eq!(status, REFUSED, "{stderr}");
    assert!(
        stdout.starts_with("two words\n[/e]\nprintwatches is on\n0 - create -e /e 'two words'\n"),
        "{stdout}"
    );
    assert!(stdout.ends_with("6 - history\ntwo words\n"), "nothing runs after quit: {stdout}");
    assert!(stderr.contains("Created /e\n") && stderr.contains("(NoNode)"), "{stderr}");
    let (_, stdout, _) = cli.with_input(&["--json"], b"printwatches\nhistory\n");
    let first = r#"{"printwatches":true}"#;
    assert!(stdout.starts_with(first) && stdout.contains(r#""command":"history""#), "{stdout}");
    let (status, stdout, _) = cli.with_input(&[], b"close\nget /\nconnect\nget -b /\n");
    assert_eq!((status, stdout.as_str()), (CONNECTION, "\n"));
}

/// A script that creates `branches` znodes with `leaves` each below `/tree`, of all kinds of data and access lists.
fn plant(cli: &Cli, branches: usize, leaves: usize) -> usize {
    let stat = r#""stat":{}"#;
    let open = r#"[{"scheme":"world","id":"anyone","perms":"cdrwa"}]"#;
    let two = r#"[{"scheme":"world","id":"anyone","perms":"cdr"},{"scheme":"ip","id":"127.0.0.1","perms":"cdrwa"}]"#;
    let mut lines =
        format!("{{\"path\":\"/tree\",\"base64\":null,\"acl\":{open},\"ephemeral\":false,{stat}}}\n");
    for branch in 0..branches {
        let acl = if branch % 7 == 0 { two } else { open };
        lines +=
            &format!("{{\"path\":\"/tree/b{branch}\",\"base64\":\"\",\"acl\":{acl},\"ephemeral\":false}}\n");
        for leaf in 0..leaves {
            let data = ["\"eA==\"", "null", "\"AP8=\""][leaf % 3];
            lines += &format!("{{\"path\":\"/tree/b{branch}/{leaf}ä\",\"base64\":{data},\"acl\":{open}}}\n");
        }
    }
    let (status, _, stderr) = cli.with_input(&["import"], lines.as_bytes());
    assert_eq!(status, DONE, "{stderr}");
    let count = 1 + branches * (1 + leaves);
    assert!(stderr.contains(&format!("created: {count}, ")), "{stderr}");
    count
}

/// Some thousand znodes go out and into another server, and nothing differs; a change is found, and only that.
#[test]
fn export_import_diff() {
    let _alone = alone();
    let (cli, other) = (Cli::start(), Cli::start());
    let count = plant(&cli, 50, 60);
    let directory = Directory::new("export");
    let file = directory.path().join("tree.jsonl");
    let file = file.to_str().expect("a path");
    cli.done(&["export", "/tree", "--out", file]);
    let text = fs::read_to_string(file).expect("the export");
    assert_eq!(text.lines().count(), count);
    let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["path"], "/tree");
    assert_eq!(first["ephemeral"], false);
    assert_eq!(first["stat"]["numChildren"], 50);

    // Nothing is written in a dry run, and a missing parent is an error unless it may be made.
    assert_eq!(other.json(&["import", "--dry-run", file])["created"], count);
    assert_eq!(other.done(&["ls", "/"]), "[zookeeper]\n");
    assert!(other.run(&["import", "--to", "/x/y", file]).2.contains("(NoNode)"));
    assert_eq!(other.json(&["import", "--to", "/x/y", "--parents", file])["created"], count);
    let there = format!("{}/x/y", other.address());
    assert_eq!(cli.done(&["diff", "/tree", &there]), "");
    assert_eq!(cli.done(&["diff", &format!("file:{file}"), &there]), "");

    other.done(&["set", "/x/y/b1", "changed"]);
    other.done(&["create", "/x/y/more"]);
    other.done(&["deleteall", "/x/y/b2"]);
    other.done(&["setAcl", "/x/y/b3", "world:anyone:cdrwa,ip:127.0.0.1:r"]);
    let (status, stdout, _) = cli.run(&["diff", "/tree", &there]);
    assert_eq!(status, REFUSED);
    let shorter: Vec<&str> = stdout.lines().filter(|line| !line.starts_with("only-a /b2/")).collect();
    assert_eq!(shorter, ["data /b1", "only-a /b2", "acl /b3", "only-b /more"]);
    assert_eq!(stdout.lines().count(), 64);

    // Each policy does its own.
    let import = |policy: &str| other.run(&["import", "--json", "--to", "/x/y", "--conflict", policy, file]);
    let (status, _, stderr) = import("fail");
    assert!(status == REFUSED && stderr.contains("NodeExists"), "{stderr}");
    let (status, stdout, stderr) = import("skip");
    assert_eq!(status, DONE, "{stderr}");
    let skipped: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(
        skipped["created"].as_u64().zip(skipped["existed"].as_u64()).map(|(a, b)| a + b),
        Some(count as u64)
    );
    assert_eq!(import("overwrite").0, DONE);
    assert_eq!(cli.run(&["diff", "/tree", &there]).1, "only-b /more\n");
}

/// A copy goes from one server to another, with a rate; ephemerals are left out, or made persistent.
#[test]
fn copying() {
    let _alone = alone();
    let (cli, other) = (Cli::start(), Cli::start());
    plant(&cli, 5, 20);
    let mut owner = cli.command(&[]);
    owner.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut owner = owner.spawn().expect("zkfast");
    let stdin = owner.stdin.as_mut().expect("piped");
    stdin.write_all(b"create -e /tree/mine x\nsync /\n").expect("taken");
    let mut line = String::new();
    BufReader::new(owner.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    assert_eq!(line, "Sync is OK\n");
    let there = format!("{}/copy", other.address());
    let copied = cli.json(&["copy", "/tree", &there, "--rate", "1000"]);
    assert_eq!(copied["created"], 106);
    assert_eq!(copied["ephemeralsLeftOut"], 1);
    assert_eq!(cli.done(&["diff", "/tree", &there, "--no-ephemerals"]), "");
    assert_eq!(cli.run(&["diff", "/tree", &there]).1, "only-a /mine\n");
    cli.done(&["copy", "/tree", &there, "--conflict", "overwrite", "--ephemerals", "persistent"]);
    assert_eq!(cli.run(&["diff", "/tree", &there]).1, "ephemeral /mine\n");
    assert_eq!(cli.done(&["find", "--type", "ephemeral", "/tree"]), "/tree/mine\n");
    cli.fails(&["copy", "/tree", "/tree/below"], USAGE);
    drop(owner.stdin.take());
    assert!(owner.wait().expect("it ends").success());
}

/// An import that was interrupted goes on after the lines that are done, and ends with the whole tree.
#[test]
fn resumed_import() {
    let _alone = alone();
    let (cli, mut other) = (Cli::start(), Cli::start());
    plant(&cli, 20, 20);
    let export = cli.done(&["export", "/tree"]);
    let directory = Directory::new("resume");
    let at = |name: &str| directory.path().join(name).to_str().expect("a path").to_owned();
    let (file, state) = (at("tree.jsonl"), at("state"));
    fs::write(&file, &export).expect("written");
    let import = ["import", "--resume", &state, "--rate", "100", &file];
    let running = other.command(&import).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("zkfast");
    wait_for(ANSWER_TIMEOUT, || {
        let done = fs::read_to_string(&state).map_err(|error| error.to_string())?;
        if done.trim().parse::<u64>().is_ok_and(|done| done > 20) {
            Ok(())
        } else {
            Err(format!("{done} lines"))
        }
    });
    other.server.kill();
    let output = running.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(CONNECTION));
    let done: u64 = fs::read_to_string(&state).expect("the state").trim().parse().expect("a number");
    assert!(done > 20 && done < 421, "{done}");
    other.server.start_again();
    let rest = other.json(&["import", "--resume", &state, &file]);
    let total =
        rest["created"].as_u64().zip(rest["existed"].as_u64()).map(|(created, existed)| created + existed);
    assert_eq!(total, Some(421 - done), "{rest}");
    assert!(!fs::exists(&state).expect("a look"), "nothing is left to resume");
    assert_eq!(cli.done(&["diff", "/tree", &format!("{}/tree", other.address())]), "");
}

/// A stream of znodes that pauses for longer than the session's timeout does not end the session.
#[test]
fn slow_input() {
    let _alone = alone();
    let cli = Cli { server: Server::start(under_test(), &[("tickTime", "500")]) };
    let mut command = cli.command(&["--timeout", "3000", "import", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("zkfast");
    let mut stdin = child.stdin.take().expect("piped");
    let line = |path: &str| {
        let acl = r#"[{"scheme":"world","id":"anyone","perms":"cdrwa"}]"#;
        format!("{{\"path\":\"{path}\",\"base64\":null,\"acl\":{acl}}}\n")
    };
    stdin.write_all(line("/slow").as_bytes()).expect("taken");
    // That time passes without a line is what is tested.
    std::thread::sleep(Duration::from_millis(7000));
    stdin.write_all(line("/slow/a").as_bytes()).expect("taken");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(DONE), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(cli.done(&["ls", "/slow"]), "[a]\n");
}
