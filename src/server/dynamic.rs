//! The files in which people, scripts and ZooKeeper find a configuration that was changed while servers run.
//!
//! | file | what | from | to |
//! |---|---|---|---|
//! | `zoo.cfg.dynamic.next` | the proposed configuration, with its version | its proposal | its commit, or another one's |
//! | `zoo.cfg.dynamic.1a` | the configuration of version 0x1a, without a line for that | its commit | someone removes it |
//! | `zoo.cfg` | `dynamicConfigFile=` with the path of the newest of them, in place of its own lines of the ensemble | that commit | |
//! | `zoo.cfg.bak` | `zoo.cfg` as it was with lines of its own | the first commit | |
//!
//! They are for others: this server's own record is in its data directory. So a file that cannot be written is a warning, and
//! a thread of its own writes them, which may wait for its disk.
//!
//! Source: `QuorumPeerConfig.writeDynamicConfig`, `editStaticConfig`, `QuorumPeer.setQuorumVerifier`, Apache ZooKeeper 3.9.4.

use super::files::{or_current, sync_dir};
use super::helper;
use super::logging::Text;
use crate::config::properties::{self, MalformedEscape, Property};
use crate::config::{ClientAddress, Config, Ensemble};
use crate::zab::quorum::config_text;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};

const DYNAMIC_FILE: &str = "dynamicConfigFile";

/// A file that could not be read or written, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", .path.display())]
pub struct FileError {
    path: PathBuf,
    error: io::Error,
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, FileError> {
    result.map_err(|error| FileError { path: path.to_owned(), error })
}

/// The files around one zoo.cfg. Reading and writing blocks.
#[derive(Clone, Debug)]
pub struct DynamicFiles {
    zoo_cfg: PathBuf,
    /// This server, whose line decides whether zoo.cfg keeps its port for clients.
    sid: i64,
}

impl DynamicFiles {
    /// Those around `zoo_cfg`, of server `sid`.
    pub fn new(zoo_cfg: PathBuf, sid: i64) -> Self {
        Self { zoo_cfg, sid }
    }

    /// Those of a server whose configuration may change and whose lines of the ensemble come from a file; `None` otherwise:
    /// flags win over files, so that files would not count at the next start.
    pub fn of(config: &Config) -> Option<Self> {
        let zoo_cfg = config.quorum.lines_file.as_ref().filter(|_| config.reconfig_enabled)?;
        Some(Self::new(zoo_cfg.into(), config.quorum.my_id?))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.zoo_cfg.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    fn next(&self) -> PathBuf {
        self.beside(".dynamic.next")
    }

    /// The configuration that was proposed before the end of a server that ran with these files; `None` without one.
    ///
    /// # Errors
    /// The file cannot be read, or holds no configuration.
    pub fn pending(&self) -> Result<Option<Ensemble>, FileError> {
        let path = self.next();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => at(&path, text)?,
        };
        at(&path, Ensemble::parse(&text).map(Some).map_err(io::Error::other))
    }

    /// Writes a proposed configuration.
    ///
    /// # Errors
    /// Names the file.
    pub fn propose(&self, next: &Ensemble) -> Result<(), FileError> {
        self.write(&self.next(), lines(next, true).as_bytes())
    }

    /// Forgets a proposed configuration, which is committed or will not be.
    ///
    /// # Errors
    /// Names the file.
    pub fn forget(&self) -> Result<(), FileError> {
        let path = self.next();
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => at(&path, removed.and_then(|()| sync_dir(folder(&path)))),
        }
    }

    /// Writes a configuration that is committed, and has zoo.cfg point to it.
    ///
    /// # Errors
    /// Names the file. Those before it are written; zoo.cfg is either as it was or complete.
    pub fn activate(&self, active: &Ensemble) -> Result<(), FileError> {
        let before = at(&self.zoo_cfg, fs::read(&self.zoo_cfg))?;
        let dynamic = self.beside(&format!(".dynamic.{:x}", active.version));
        self.write(&dynamic, lines(active, false).as_bytes())?;
        let pointer = at(&dynamic, fs::canonicalize(&dynamic))?;
        let own = active.servers.get(&self.sid);
        let kept = if own.is_none() { self.client_of(&before) } else { None };
        let erases_client = kept.is_some() || own.is_some_and(|own| own.client.is_some());
        let edited = edited(&before, &pointer.to_string_lossy(), erases_client, kept.as_ref());
        let (after, was_static) = at(&self.zoo_cfg, edited.map_err(io::Error::other))?;
        if was_static {
            self.write(&self.beside(".bak"), &before)?;
        }
        self.write(&self.zoo_cfg, &after)
    }

    /// The address for clients in this server's own line, in zoo.cfg or in the file that it points to, where zoo.cfg has no
    /// other one.
    fn client_of(&self, zoo_cfg: &[u8]) -> Option<ClientAddress> {
        let all = properties::parse(zoo_cfg).ok()?;
        let value = |all: &[Property], key: &str| {
            all.iter()
                .rev()
                .find(|property| property.key.trim() == key)
                .map(|property| property.value.clone())
        };
        if value(&all, "clientPort").is_some() {
            return None;
        }
        let name = format!("server.{}", self.sid);
        let line = value(&all, &name).or_else(|| {
            let dynamic = fs::read(value(&all, DYNAMIC_FILE)?).ok()?;
            value(&properties::parse(&dynamic).ok()?, &name)
        })?;
        let mut own = Ensemble::parse(&format!("{name}={}", line.trim())).ok()?;
        own.servers.remove(&self.sid)?.client
    }

    /// Puts a whole file in the place of what was there, durably. Its mode is that of zoo.cfg: who reads that reads this one.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        let mode = fs::metadata(&self.zoo_cfg).map(|data| data.permissions()).ok();
        let mut unfinished = path.to_owned().into_os_string();
        unfinished.push(".tmp");
        let unfinished = PathBuf::from(unfinished);
        let replaced =
            write_new(&unfinished, bytes, mode).and_then(|()| at(path, fs::rename(&unfinished, path)));
        if replaced.is_err() {
            // What is left of it is in no one's way.
            let _ = fs::remove_file(&unfinished);
        }
        replaced.and_then(|()| at(path, sync_dir(folder(path))))
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: Option<Permissions>) -> Result<(), FileError> {
    let create = || -> io::Result<File> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => OpenOptions::new().write(true).create_new(true).open(path),
        }
    };
    let write = |mut file: File| -> io::Result<()> {
        mode.map_or(Ok(()), |mode| file.set_permissions(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    at(path, create().and_then(write))
}

fn folder(path: &Path) -> &Path {
    or_current(path.parent().unwrap_or(Path::new("/")))
}

/// A configuration's lines in ZooKeeper's order for files, that of their text.
fn lines(ensemble: &Ensemble, with_version: bool) -> String {
    let text = config_text(ensemble);
    let mut lines: Vec<&str> =
        text.lines().filter(|line| with_version || !line.starts_with("version=")).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// zoo.cfg with `pointer` in place of its lines of the ensemble, and whether it had no pointer. All other lines stay as they
/// are, with their comments and their order, which ZooKeeper does not keep. `erases_client`: the server's own line has the
/// port for clients. `kept`: that of the line that it had, where it has none now; ZooKeeper's server does not start again then.
fn edited(
    zoo_cfg: &[u8],
    pointer: &str,
    erases_client: bool,
    kept: Option<&ClientAddress>,
) -> Result<(Vec<u8>, bool), MalformedEscape> {
    let is_gone = |key: &str| {
        ["server.", "group", "weight", DYNAMIC_FILE, "peerType"].iter().any(|family| key.starts_with(family))
            || key == "version"
            || (erases_client && ["clientPort", "clientPortAddress"].contains(&key))
    };
    let all = properties::parse(zoo_cfg)?;
    let (mut out, mut from) = (Vec::new(), 0);
    for property in all.iter().filter(|property| is_gone(property.key.trim())) {
        out.extend_from_slice(&zoo_cfg[from..property.span.start]);
        from = property.span.end;
    }
    out.extend_from_slice(&zoo_cfg[from..]);
    if out.last().is_some_and(|last| !b"\r\n".contains(last)) {
        out.push(b'\n');
    }
    let line = format!("{DYNAMIC_FILE}={}\n", properties::escaped(pointer));
    let with_line = [&out, line.as_bytes()].concat();
    let reads_back = properties::parse(&with_line)?.last().is_some_and(|last| last.key == DYNAMIC_FILE);
    let was_static = !all.iter().any(|property| property.key.trim() == DYNAMIC_FILE);
    // The last line ends in a backslash, which an empty line ends.
    let gap: &[u8] = if reads_back { b"" } else { b"\n" };
    let mut client = String::new();
    if let Some(kept) = kept {
        client = format!("clientPort={}\n", kept.port);
        if let Some(host) = &kept.host {
            client += &format!("clientPortAddress={}\n", properties::escaped(host));
        }
    }
    Ok(([&out, gap, client.as_bytes(), line.as_bytes()].concat(), was_static))
}

/// Keeps the files up to date, on a thread of its own.
#[derive(Debug)]
pub struct DynamicWriter {
    files: DynamicFiles,
    /// What the files hold at the start: the version of the configuration that was read from them.
    version: i64,
    changes: Option<Sender<Change>>,
}

/// The active configuration, and the proposed one.
type Change = (Ensemble, Option<Ensemble>);

impl DynamicWriter {
    /// Of files that hold `version`.
    pub fn new(files: DynamicFiles, version: i64) -> Self {
        Self { files, version, changes: None }
    }

    /// Has the files written where they differ, and returns at once.
    pub fn configure(&mut self, active: &Ensemble, next: Option<&Ensemble>) {
        let mut change = (active.clone(), next.cloned());
        if let Some(changes) = &self.changes {
            match changes.send(change) {
                Ok(()) => return,
                // Its thread has ended, which only a panic does.
                Err(mpsc::SendError(back)) => change = back,
            }
        }
        let (sender, changes) = mpsc::channel();
        let written = Written { files: self.files.clone(), version: self.version, next: None };
        match helper::spawn("zkfast-config", move || written.follow(&changes)) {
            Ok(_) => {
                // Its receiver is the thread just started.
                let _ = sender.send(change);
                self.changes = Some(sender);
            }
            Err(error) => warn(&self.files.zoo_cfg, &error),
        }
    }
}

/// What the files hold.
struct Written {
    files: DynamicFiles,
    version: i64,
    next: Option<i64>,
}

impl Written {
    fn follow(mut self, changes: &Receiver<Change>) {
        while let Ok((active, next)) = changes.recv() {
            if let Err(FileError { path, error }) = self.write(&active, next.as_ref()) {
                warn(&path, &error);
            }
        }
    }

    fn write(&mut self, active: &Ensemble, next: Option<&Ensemble>) -> Result<(), FileError> {
        if active.version != self.version {
            self.files.activate(active)?;
            self.version = active.version;
        }
        match next {
            None => self.files.forget()?,
            Some(next) if self.next == Some(next.version) => {}
            Some(next) => self.files.propose(next)?,
        }
        self.next = next.map(|next| next.version);
        Ok(())
    }
}

fn warn(path: &Path, error: &io::Error) {
    log::warn!(target: "config", "configuration not written: file={} error={} then={}", Text(path.display()), Text(error),
        Text("this server goes on with the record in its data directory; scripts and ZooKeeper read files that are older"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Role;
    use std::os::unix::fs::PermissionsExt;

    const ZOO_CFG: &str = "# my comment\ntickTime=2000\ndataDir=/d\nclientPort=22181\nclientPortListenBacklog=77\n\
        reconfigEnabled=true\npeerType=participant\n\n! another\nversion=0\nserver.1=127.0.0.1:22888:22889;127.0.0.1:22181\n\
        server.10=b:1:\\\n  2\ngroup.1=1:10\nweight.1=1\nskipACL=yes";

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("zkfast-dynamic-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(fs::canonicalize(path).expect("a folder"))
        }

        fn files(&self) -> DynamicFiles {
            fs::write(self.0.join("zoo.cfg"), ZOO_CFG).expect("a file");
            DynamicFiles::new(self.0.join("zoo.cfg"), 1)
        }

        fn read(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.0.join(name)).ok()
        }

        fn names(&self) -> Vec<String> {
            let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
            let names = fs::read_dir(&self.0).expect("a folder").map(name);
            let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn ensemble(text: &str) -> Ensemble {
        Ensemble::parse(text).expect("a configuration")
    }

    /// A proposal and its commit leave the files that ZooKeeper leaves, apart from what it loses of zoo.cfg; the proposal is
    /// read back with its version.
    #[test]
    fn files_of_a_reconfiguration() {
        let folder = Folder::new("files");
        let files = folder.files();
        fs::set_permissions(folder.0.join("zoo.cfg"), Permissions::from_mode(0o640)).expect("its owner");
        let text = "server.10=b:1:2:observer\nserver.2=c:1:2\nserver.1=127.0.0.1:22888:22889;127.0.0.1:22181\nversion=100000000";
        let first = ensemble(text);
        assert!(files.pending().expect("readable").is_none());
        files.propose(&first).expect("written");
        assert_eq!(files.pending().expect("readable"), Some(first.clone()));
        let dynamic = "server.10=b:1:2:observer\nserver.1=127.0.0.1:22888:22889:participant;127.0.0.1:22181\nserver.2=c:1:2:participant";
        // As text, '0' stands before '='.
        assert_eq!(folder.read("zoo.cfg.dynamic.next"), Some(format!("{dynamic}\nversion=100000000")));
        files.activate(&first).expect("written");
        files.forget().expect("removed");
        assert_eq!(folder.names(), ["zoo.cfg", "zoo.cfg.bak", "zoo.cfg.dynamic.100000000"]);
        assert_eq!(folder.read("zoo.cfg.dynamic.100000000").as_deref(), Some(dynamic));
        assert_eq!(folder.read("zoo.cfg.bak").as_deref(), Some(ZOO_CFG));
        let edited = |version: &str| {
            format!(
                "# my comment\ntickTime=2000\ndataDir=/d\nclientPortListenBacklog=77\nreconfigEnabled=true\n\n! another\n\
                 skipACL=yes\ndynamicConfigFile={}/zoo.cfg.dynamic.{version}\n",
                folder.0.display()
            )
        };
        assert_eq!(folder.read("zoo.cfg"), Some(edited("100000000")));
        for name in folder.names() {
            let mode = fs::metadata(folder.0.join(&name)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o640, "{name}");
        }
        // The second one changes the pointer, and no copy.
        files.activate(&Ensemble { version: 0x1_0000_0002, ..first }).expect("written");
        assert_eq!(folder.read("zoo.cfg"), Some(edited("100000002")));
        assert_eq!(folder.read("zoo.cfg.bak").as_deref(), Some(ZOO_CFG));
        files.forget().expect("nothing to remove");
    }

    /// zoo.cfg keeps the port for clients of a server whose own line does not have it, or that has no line.
    #[test]
    fn client_ports_stay() {
        let folder = Folder::new("client");
        let files = folder.files();
        for text in ["server.1=a:1:2\nversion=1", "server.2=a:1:2;2181\nversion=2"] {
            files.activate(&ensemble(text)).expect("written");
            assert!(folder.read("zoo.cfg").expect("a file").contains("\nclientPort=22181\n"), "{text}");
        }
    }

    /// A server that is in no line any more keeps the address for clients of the line that it had, in zoo.cfg or beside it.
    #[test]
    fn client_ports_of_removed_servers() {
        let folder = Folder::new("removed");
        let files = folder.files();
        for (named, version) in [(false, 1), (true, 2), (false, 3)] {
            let own = if named { "server.1=a:1:2;b:4\n" } else { "" };
            let text = format!("{own}server.2=a:1:3\nversion={version}");
            files.activate(&ensemble(&text)).expect("written");
            let zoo_cfg = folder.read("zoo.cfg").expect("a file");
            let all = properties::parse(zoo_cfg.as_bytes()).expect("readable");
            let found: Vec<_> = all
                .iter()
                .filter(|property| {
                    property.key.starts_with("clientPort") && !property.key.contains("Backlog")
                })
                .map(|property| property.value.as_str())
                .collect();
            let expected: &[&str] = match version {
                1 => &["22181"],
                2 => &[],
                _ => &["4", "b"],
            };
            assert_eq!(found, expected, "{zoo_cfg}");
        }
    }

    /// Whatever zoo.cfg ends with, the pointer is read as its last line, and the other lines as before.
    #[test]
    fn ends_of_files() {
        for end in ["", "\n", "\r\n", "\\", "\\\n", "\\\\", "# c\\", "# c", "  "] {
            let text = format!("server.1=a:1:2\nskipACL=yes{end}");
            let (edited, was_static) = edited(text.as_bytes(), "/a b\\c", false, None).expect("readable");
            let read = properties::parse(&edited).expect("readable");
            let before = properties::parse(text.as_bytes()).expect("readable");
            assert_eq!(read[0].value, before[1].value, "{end:?}");
            assert_eq!((read.len(), read[1].value.as_str(), was_static), (2, "/a b\\c", true), "{end:?}");
        }
        let (_, was_static) = super::edited(b"dynamicConfigFile=/x\n", "/y", false, None).expect("readable");
        assert!(!was_static);
    }

    /// A folder that cannot be written is an error with the file's name, and leaves zoo.cfg as it was.
    #[test]
    fn folders_that_are_not_writable() {
        let folder = Folder::new("refused");
        let files = folder.files();
        // Also root cannot replace a folder by a file.
        fs::create_dir(folder.0.join("zoo.cfg.dynamic.1")).expect("a folder");
        let refused = files.activate(&ensemble("server.1=a:1:2\nversion=1")).expect_err("in the way");
        assert!(refused.to_string().contains("zoo.cfg.dynamic.1: "), "{refused}");
        assert_eq!(folder.read("zoo.cfg").as_deref(), Some(ZOO_CFG));
        assert_eq!(folder.names(), ["zoo.cfg", "zoo.cfg.dynamic.1"]);
        fs::write(folder.0.join("zoo.cfg.dynamic.next"), "server.1=nothing\n").expect("a file");
        assert!(files.pending().is_err());
    }

    /// The files follow each change, and one that was refused is written with the next one.
    #[test]
    fn changes_in_order() {
        let folder = Folder::new("changes");
        let mut written = Written { files: folder.files(), version: 0, next: None };
        let active = |version| Ensemble { version, ..ensemble("server.1=a:1:2:observer\nserver.2=a:1:3") };
        written.write(&active(0), None).expect("nothing to do");
        assert_eq!(folder.names(), ["zoo.cfg"]);
        written.write(&active(1), Some(&active(2))).expect("written");
        let role = |ensemble: &Ensemble| ensemble.servers[&1].role;
        let pending = written.files.pending().expect("readable").expect("proposed");
        assert_eq!((pending.version, role(&pending)), (2, Role::Observer));
        fs::create_dir(folder.0.join("zoo.cfg.dynamic.2")).expect("a folder");
        written.write(&active(2), None).expect_err("in the way");
        fs::remove_dir(folder.0.join("zoo.cfg.dynamic.2")).expect("a folder");
        written.write(&active(2), None).expect("written");
        assert_eq!(folder.names(), ["zoo.cfg", "zoo.cfg.bak", "zoo.cfg.dynamic.1", "zoo.cfg.dynamic.2"]);
    }

    /// The writer does not make its caller wait, and has written what it was told when its thread is through with it.
    #[test]
    fn writes_beside() {
        let folder = Folder::new("writer");
        let mut writer = DynamicWriter::new(folder.files(), 0);
        let active = ensemble("server.1=a:1:2\nversion=1");
        writer.configure(&active, Some(&Ensemble { version: 2, ..active.clone() }));
        writer.configure(&Ensemble { version: 2, ..active }, None);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let is_done = || {
            let points = folder.read("zoo.cfg").is_some_and(|text| text.contains("zoo.cfg.dynamic.2"));
            points && !folder.names().contains(&"zoo.cfg.dynamic.next".to_owned())
        };
        while !is_done() {
            assert!(std::time::Instant::now() < until, "{:?}", folder.names());
            std::thread::yield_now();
        }
        assert!(folder.names().contains(&"zoo.cfg.dynamic.1".to_owned()));
    }
}
