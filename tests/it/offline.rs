//! `zkfast log` and `zkfast snapshot` on files of a server under traffic, and on damaged copies of them.
//!
//! `tests/compat/offline.py` compares them with ZooKeeper's own tools on ZooKeeper's files.

use crate::harness::{ANSWER_TIMEOUT, Directory, Kind, Server, alone, wait_for, zkfast_binary};
use crate::java_data::{call, connect, copy, delete, fill, keys, node, set, text, zkfast};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use zkfast::client::Request;
use zkfast::client::net::four_letter_word;
use zkfast::proto::{OpCode, SessionId, Zxid};
use zkfast::snapshot::java::{LOG_HEADER_BYTES, put_log_entry, put_log_header};
use zkfast::txn::{Txn, TxnHeader};

/// Bytes of a sector, the least that a disk writes.
const SECTOR_BYTES: usize = 512;

/// Standard output; the exit status must be `status`.
#[track_caller]
fn output(args: &[&str], status: i32) -> String {
    let output = zkfast(args);
    assert_eq!(output.status.code(), Some(status), "{args:?}\n{}", errors(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard error of a command that ends with `status`.
#[track_caller]
fn complaint(args: &[&str], status: i32) -> String {
    let output = zkfast(args);
    assert_eq!(output.status.code(), Some(status), "{args:?}\n{}", errors(&output));
    errors(&output)
}

/// The value of `key=` in a line.
fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let at = line.find(&format!(" {key}=")).unwrap_or_else(|| panic!("no {key} in {line}"));
    line[at + key.len() + 2..].split(' ').next().expect("a value")
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.strip_prefix("0x").expect("0x"), 16).expect("hex digits")
}

/// Files of a folder whose name begins with `prefix`, in the order of their names.
fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let is_wanted = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().starts_with(prefix);
    let mut files: Vec<_> = entries.filter(is_wanted).collect();
    files.sort();
    files
}

/// The data of a zkfast that had every kind of txn and several snapshots, and was stopped.
struct Stopped {
    server: Server,
    /// Its last zxid.
    last: Zxid,
    /// The two sessions that are left.
    sessions: Vec<SessionId>,
    /// How many of a znode's sets there were.
    sets: usize,
}

impl Stopped {
    fn new() -> Self {
        let mut server =
            Server::start(Kind::Zkfast, &keys(&[("snapCount", "100"), ("autopurge.snapRetainCount", "100")]));
        let sessions = fill(server.address()).into_iter().map(|(id, _)| id).collect();
        let mut connection = connect(server.address());
        let sets = 400;
        call(&mut connection, &node("/often"));
        call(&mut connection, &node("/big"));
        call(&mut connection, &set("/big", &"x".repeat(3000)));
        for number in 0..sets {
            call(&mut connection, &set("/often", &format!("value {number}")));
        }
        call(&mut connection, &Request::CloseSession);
        let folder = server.data().join("zkfast-1");
        wait_for(Duration::from_secs(30), || match files(&folder, "snapshot.").len() {
            0 | 1 => Err("no second snapshot".to_owned()),
            _ => Ok(()),
        });
        let srvr = four_letter_word(server.address(), "srvr", ANSWER_TIMEOUT).expect("srvr");
        let zxid = srvr.lines().find_map(|line| line.strip_prefix("Zxid: ")).expect("a zxid");
        let last = Zxid(hex(zxid));
        assert_eq!(server.stop(), Some(0));
        Self { server, last, sessions, sets }
    }

    fn folder(&self) -> PathBuf {
        self.server.data().join("zkfast-1")
    }
}

/// The log of a server lists every txn once, in order, and each filter selects what it names.
#[test]
fn a_log_is_listed() {
    let _alone = alone();
    let stopped = Stopped::new();
    let data = stopped.server.data();
    let listed = output(&["log", "list", text(&data)], 0);
    let rows: Vec<&str> = listed.lines().filter(|line| !line.starts_with(' ')).collect();
    let zxids: Vec<u64> = rows.iter().map(|row| hex(row.split(' ').next().expect("a zxid"))).collect();
    assert!(zxids.is_sorted_by(|one, other| one < other), "in order");
    assert_eq!(zxids.last(), Some(&stopped.last.0));
    let of = |more: &[&str]| output(&[&["log", "list", text(&data)], more].concat(), 0);
    assert_eq!(of(&["--path", "/often", "--type", "setData"]).lines().count(), stopped.sets);
    assert_eq!(of(&["--path", "/ofte"]), "");
    // The multi that made it and took it back, with its sub-txns on lines of their own.
    let multi = of(&["--path", "/multi/one"]);
    assert!(multi.contains(" multi count=7 "), "{multi}");
    assert!(multi.contains("\n  delete /multi/one"), "{multi}");
    let session = stopped.sessions[1].to_string();
    let of_session = of(&["--session", &session]);
    assert!(of_session.lines().all(|line| field(line, "session") == session), "{of_session}");
    assert!(of_session.contains(" createSession ") && of_session.contains(" create2 /two "), "{of_session}");
    let range = format!("{:#x}..{:#x}", zxids[3], zxids[5]);
    assert_eq!(of(&["--zxid", &range]).lines().filter(|line| !line.starts_with(' ')).count(), 3);
    let time = rows[7].split(' ').nth(1).expect("a time");
    let (since, until) = (of(&["--since", time]), of(&["--until", time]));
    assert_eq!(since.lines().count() + until.lines().count(), listed.lines().count());
    assert!(since.contains(rows[7]) && !until.contains(rows[7]));
    assert_eq!(of(&["--limit", "4"]).lines().count(), 4);
    let last = of(&["--zxid", &format!("{:#x}..", stopped.last.0 - 1), "--data", "--json"]);
    let first_line = last.lines().next().expect("the last set");
    // "value 399", and the zxid as text.
    assert!(first_line.contains("\"data\":\"dmFsdWUgMzk5\",\"version\":400"), "{first_line}");
    assert!(
        first_line.starts_with(&format!("{{\"zxid\":\"{:#x}\",\"time_ms\":1", stopped.last.0 - 1)),
        "{first_line}"
    );
    let summary = output(&["log", "summary", text(&data)], 0);
    assert!(summary.contains(&format!("path /often txns={}", stopped.sets + 1)), "{summary}");
    assert!(summary.contains(&format!("last={} ", stopped.last)), "{summary}");
    let verified = output(&["log", "verify", text(&data)], 0);
    let txns: usize =
        verified.lines().map(|line| field(line, "txns").parse::<usize>().expect("a count")).sum();
    assert!(verified.lines().all(|line| line.starts_with("sound ")), "{verified}");
    assert_eq!(txns, rows.len());
}

/// Snapshots are listed, shown, summed up and compared; ZooKeeper's form of the same tree does not differ.
#[test]
fn snapshots_are_shown() {
    let _alone = alone();
    let stopped = Stopped::new();
    let data = stopped.server.data();
    let listed = output(&["snapshot", "list", text(&data)], 0);
    assert!(listed.lines().count() >= 2, "{listed}");
    let verified = output(&["snapshot", "verify", text(&data)], 0);
    assert!(verified.lines().all(|line| line.starts_with("sound ") && line.ends_with("digest_check=agrees")));
    let shown = output(&["snapshot", "show", text(&data)], 0);
    let header = shown.lines().next().expect("a header");
    let znodes = shown.lines().filter(|line| line.starts_with('/')).count();
    assert_eq!(field(header, "znodes"), znodes.to_string());
    assert_eq!(field(header, "kind"), "zkfast");
    let of = |more: &[&str]| output(&[&["snapshot", "show", text(&data)], more].concat(), 0);
    let owned = of(&["--session", &stopped.sessions[1].to_string()]);
    assert_eq!(
        owned.lines().map(|line| line.split(' ').next().expect("a path")).collect::<Vec<_>>(),
        ["/a/two", "/two"]
    );
    let b = of(&["--path", "/a/b", "--data"]);
    let b = b.lines().next().expect("a znode");
    assert!(
        b.starts_with("/a/b kind=persistent ")
            && b.contains(" data=\"twice\" acl=digest:eve:hash:cdrwa,ip:10.0.0.9:r")
    );
    assert_eq!((field(b, "version"), field(b, "aversion"), field(b, "children")), ("2", "1", "1"));
    let summary = output(&["snapshot", "summary", text(&data), "--path", "/multi", "--json"], 0);
    assert_eq!(summary, "{\"path\":\"/multi\",\"children\":2,\"descendants\":2,\"bytes\":6}\n");
    let sizes = output(&["snapshot", "sizes", text(&data), "--top", "1"], 0);
    assert!(sizes.starts_with("data: /big bytes=3000\n"), "{sizes}");
    assert!(sizes.contains("children: / children="), "{sizes}");
    compares(&stopped);
}

/// Two snapshots of a server differ in what came between; its export and the import of that differ in nothing.
fn compares(stopped: &Stopped) {
    let files = files(&stopped.folder(), "snapshot.");
    let zxid =
        |path: &PathBuf| u64::from_str_radix(path.extension().expect("a zxid").to_str().expect("text"), 16);
    let mut by_zxid = files.clone();
    by_zxid.sort_by_key(|path| zxid(path).expect("hex"));
    let [.., earlier, later] = &by_zxid[..] else { panic!("two snapshots") };
    let differences = output(&["snapshot", "compare", text(earlier), text(later)], 1);
    assert!(differences.contains("~ /often\n  bytes left="), "{differences}");
    let ignored = "data,mzxid,mtime,version";
    let rest = ["snapshot", "compare", text(earlier), text(later), "--path", "/often", "--ignore", ignored];
    assert_eq!(output(&rest, 0), "");
    let place = Directory::new("offline");
    let (java, back) = (place.path().join("java"), place.path().join("back"));
    output(&["export", text(&stopped.server.data()), text(&java)], 0);
    output(&["import", "--extended-types", text(&java), text(&back)], 0);
    assert_eq!(output(&["snapshot", "compare", text(&java), text(&back)], 0), "");
    let kinds = output(&["snapshot", "list", text(&java), text(&back)], 0);
    let kinds: Vec<&str> = kinds.lines().map(|line| field(line, "kind")).collect();
    assert_eq!(kinds, ["zookeeper", "zkfast"]);
    // The sessions of the first snapshot and those of the last, and subtrees that grew.
    let [first, ..] = &by_zxid[..] else { panic!("two snapshots") };
    let grown = output(&["snapshot", "compare", text(first), text(&back), "--bytes", "100"], 1);
    assert!(grown.lines().any(|line| line.starts_with("~ / bytes=")), "{grown}");
    assert!(grown.lines().any(|line| line.starts_with("+ /") || line.starts_with("~ /zookeeper")), "{grown}");
}

/// A flipped bit, a cut file and an incomplete last write of zkfast's log are told apart; the rest is still listed.
#[test]
fn damage_of_a_segment_is_found() {
    let _alone = alone();
    let stopped = Stopped::new();
    let place = Directory::new("offline");
    let log = place.path().join("log");
    fs::create_dir_all(&log).expect("a folder");
    let original = files(&stopped.folder(), "log.").pop().expect("a segment");
    let segment = log.join(original.file_name().expect("a name"));
    let whole = fs::read(&original).expect("a segment");
    let used = whole.iter().rposition(|byte| *byte != 0).expect("not empty") + 1;
    let end = used.next_multiple_of(4096);
    let listed = |status| output(&["log", "list", text(&log)], status).lines().count();
    fs::write(&segment, &whole).expect("a copy");
    let all = listed(0);

    let mut bytes = whole.clone();
    bytes[end / 2 / SECTOR_BYTES * SECTOR_BYTES + 40] ^= 4;
    fs::write(&segment, &bytes).expect("a copy");
    let message = complaint(&["log", "verify", text(&log)], 1);
    assert!(message.starts_with(&format!("damaged: {}: byte ", segment.display())), "{message}");
    assert!(message.contains("checksum is wrong") || message.contains("are missing"), "{message}");
    let before = listed(1);
    assert!(0 < before && before < all, "{before} of {all}");

    // The last sector of the last group never arrived.
    let mut bytes = whole.clone();
    bytes[end - SECTOR_BYTES..end].fill(0);
    fs::write(&segment, &bytes).expect("a copy");
    let torn = output(&["log", "verify", text(&log)], 0);
    assert!(torn.starts_with("torn ") && torn.contains(" torn_at="), "{torn}");
    assert!(listed(0) < all);

    // A copy that ends early.
    fs::write(&segment, &whole[..end]).expect("a copy");
    let message = complaint(&["log", "verify", text(&log)], 1);
    assert!(message.contains("a segment has 67108864"), "{message}");
    assert_eq!(listed(1), all, "what is there is listed");

    let snapshot = files(&stopped.folder(), "snapshot.").pop().expect("a snapshot");
    let changed = place.path().join("snapshot.1");
    let mut bytes = fs::read(&snapshot).expect("a snapshot");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&changed, &bytes).expect("a copy");
    for command in ["list", "verify", "show"] {
        let message = complaint(&["snapshot", command, text(&changed)], 1);
        assert!(message.contains("snapshot.1: byte 0: checksum of the chunk"), "{message}");
    }
    fs::write(&changed, &bytes[..middle]).expect("a copy");
    assert!(complaint(&["snapshot", "verify", text(&changed)], 1).contains("it was cut off"));
}

/// A txn as ZooKeeper logs it: a set of `/a` to `data_bytes` bytes.
fn txn(zxid: u64, data_bytes: usize) -> Vec<u8> {
    let header = TxnHeader {
        session_id: SessionId(0x1000),
        cxid: 1,
        zxid: Zxid(zxid),
        time_ms: 1_700_000_000_000,
        op: OpCode::SET_DATA,
    };
    let mut bytes = Vec::new();
    header.put(&mut bytes);
    Txn::SetData { path: b"/a", data: Some(&vec![0; data_bytes]), version: zxid as i32 }.put(&mut bytes);
    bytes
}

/// A log of ZooKeeper with these txns, and where the entries begin.
fn java_log(path: &Path, txns: &[Vec<u8>]) -> Vec<usize> {
    let (mut bytes, mut starts) = (Vec::new(), Vec::new());
    put_log_header(&mut bytes);
    assert_eq!(bytes.len(), LOG_HEADER_BYTES);
    for txn in txns {
        starts.push(bytes.len());
        put_log_entry(&mut bytes, txn);
    }
    bytes.resize(bytes.len() + 5000, 0);
    fs::write(path, &bytes).expect("a log");
    starts
}

/// In a log of ZooKeeper a torn tail is no damage, a changed byte is; a repair goes into a new file.
#[test]
fn damage_of_a_java_log_is_found_and_cut_off() {
    let place = Directory::new("offline");
    let (log, new) = (place.path().join("log.100000001"), place.path().join("new"));
    let txns: Vec<_> = (0x1_0000_0001..0x1_0000_0006).map(|zxid| txn(zxid, 50)).collect();
    let starts = java_log(&log, &txns);
    let whole = fs::read(&log).expect("a log");
    assert!(output(&["log", "verify", text(&log)], 0).starts_with("sound "));

    fs::write(&log, &whole[..starts[4] + 32]).expect("cut");
    let torn = output(&["log", "verify", text(&log)], 0);
    assert!(
        torn.starts_with("torn ") && torn.contains(&format!(" torn_at={} torn_bytes=32", starts[4])),
        "{torn}"
    );

    let mut bytes = whole.clone();
    bytes[starts[2] + 60] ^= 1;
    fs::write(&log, &bytes).expect("changed");
    let message = complaint(&["log", "verify", text(&log)], 1);
    let expected = format!("damaged: {}: byte {}: the checksum is ", log.display(), starts[2]);
    assert!(message.starts_with(&expected), "{message}");
    let listed = output(&["log", "list", text(&log)], 1);
    assert!(listed.lines().nth(2).expect("the third").ends_with(" damaged=checksum"), "{listed}");
    assert_eq!(listed.lines().count(), 5, "{listed}");

    let cut = output(&["log", "recover", text(&log), "--out", text(&new)], 0);
    assert!(cut.contains(" txns=2 last=0x100000002 checksums_fixed=0 cut=damage "), "{cut}");
    assert_eq!(fs::read(&new).expect("made"), whole[..starts[2]]);
    assert_eq!(fs::read(&log).expect("a log"), bytes, "the file itself is as it was");
    assert!(complaint(&["log", "recover", text(&log), "--out", text(&new)], 3).contains("exists"));
    fs::remove_file(&new).expect("removed");
    let fixed = output(&["log", "recover", text(&log), "--out", text(&new), "--fix-checksums"], 0);
    assert!(fixed.contains(" txns=5 ") && fixed.contains(" checksums_fixed=1 cut=nothing"), "{fixed}");
    assert!(output(&["log", "verify", text(&new)], 0).starts_with("sound "));
    fs::remove_file(&new).expect("removed");
    fs::write(&log, &whole).expect("a log");
    let through = ["log", "recover", text(&log), "--out", text(&new), "--through"];
    output(&[&through[..], &["0x100000003"]].concat(), 0);
    assert_eq!(fs::read(&new).expect("made"), whole[..starts[3]]);
    fs::remove_file(&new).expect("removed");
    assert!(complaint(&[&through[..], &["0x100000009"]].concat(), 1).contains("has no txn 0x100000009"));
    assert!(!new.exists());
}

/// What is no log or snapshot, and what is not there, is said with status 3; a wrong flag with status 2.
#[test]
fn statuses() {
    let place = Directory::new("offline");
    let other = place.path().join("README");
    fs::write(&other, "hello").expect("a file");
    for command in [["log", "verify"], ["log", "list"], ["snapshot", "verify"], ["snapshot", "show"]] {
        let of = |path: &Path| complaint(&[command[0], command[1], text(path)], 3);
        assert!(of(&other).contains("it is neither a "), "{command:?}");
        assert!(of(&place.path().join("absent")).contains("No such file"), "{command:?}");
        assert!(of(place.path()).contains("it holds no "), "{command:?}");
    }
    for wrong in
        [["--zxid", "9..1"], ["--since", "soon"], ["--type", "none"], ["--path", "a"], ["--session", "x"]]
    {
        complaint(&[&["log", "list", text(&other)], &wrong[..]].concat(), 2);
    }
}

/// A log of 192 MiB is read with far less memory than that.
#[test]
fn a_log_is_read_in_pieces() {
    let place = Directory::new("offline");
    let log = place.path().join("log.1");
    let txns: Vec<_> = (1..=192).map(|zxid| txn(zxid, 1 << 20)).collect();
    java_log(&log, &txns);
    drop(txns);
    let limited = Command::new("sh")
        .args(["-c", "ulimit -v 131072 && exec \"$0\" log list --path /a \"$1\""])
        .arg(zkfast_binary())
        .arg(&log)
        .output()
        .expect("a shell");
    assert!(limited.status.success(), "{}", errors(&limited));
    assert_eq!(limited.stdout.iter().filter(|byte| **byte == b'\n').count(), 192);
}

/// The files of a server that runs can be read; a copy of them is the same.
#[test]
fn a_running_server_is_not_disturbed() {
    let _alone = alone();
    let mut server = Server::start(Kind::Zkfast, &keys(&[]));
    let mut connection = connect(server.address());
    call(&mut connection, &node("/live"));
    let data = server.data();
    let listed = output(&["log", "list", text(&data), "--path", "/live"], 0);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let place = Directory::new("offline");
    copy(&data, &place.path().join("data"));
    call(&mut connection, &delete("/live"));
    let of_copy = output(&["log", "list", text(&place.path().join("data")), "--path", "/live"], 0);
    assert_eq!(of_copy, listed);
    assert_eq!(output(&["log", "list", text(&data), "--path", "/live"], 0).lines().count(), 2);
    assert_eq!(server.stop(), Some(0));
}
