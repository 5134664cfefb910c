//! `zkfast dev`: a server for tests, in memory, on a port that is free, of which nothing remains.

use crate::config::{Config, Loader, Overrides, Sources};
use crate::server::logging::Text;
use crate::server::{self, EXIT_DATA, EXIT_USAGE, exit};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// Folders of servers begin so.
const PREFIX: &str = "zkfast-dev-";

/// Where files are memory on Linux.
const MEMORY: &str = "/dev/shm";

/// How often a folder is made before its start gives up.
const MAKE_TRIES: u32 = 5;

/// How often a server looks whether its parent is alive.
const PARENT_CHECK: Duration = Duration::from_millis(200);

/// Arguments of `zkfast dev`.
#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// Port for clients on 127.0.0.1; 0 lets the system choose.
    #[arg(short = 'p', long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Prints one JSON object in place of the address.
    #[arg(long)]
    json: bool,
    /// Ends when the process that started it has ended.
    #[arg(long)]
    with_parent: bool,
    /// Any key of zoo.cfg.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Serves until a signal, and takes its folder away.
pub fn run(args: DevArgs, loader: &impl Loader) {
    let folder = Folder::create().unwrap_or_else(|error| exit(EXIT_DATA, error));
    let overrides = Overrides {
        client_port: Some(args.port),
        client_port_address: Some("127.0.0.1".to_owned()),
        data_dir: Some(folder.path.display().to_string()),
        four_letter_words: Some("*".to_owned()),
        set: [vec!["admin.enableServer=false".to_owned()], args.set].concat(),
        ..Overrides::default()
    };
    let config = load(&overrides, loader).unwrap_or_else(|why| {
        folder.remove();
        exit(EXIT_USAGE, why)
    });
    if args.with_parent {
        end_with_parent();
    }
    server::run(&config, |port| announce(port, args.json));
    folder.remove();
}

/// The configuration, or what is wrong with the flags.
fn load(overrides: &Overrides, loader: &impl Loader) -> Result<Config, String> {
    let sources = Sources { file: None, jvm_flags: &[], overrides: Some(overrides) };
    let loaded = crate::config::load(&sources, loader);
    if loaded.is_ok() {
        return Ok(loaded.config);
    }
    let findings: Vec<String> = loaded.findings.iter().map(ToString::to_string).collect();
    Err(findings.join("; "))
}

/// Prints where the server is, as one line that a test can wait for.
fn announce(port: Option<u16>, as_json: bool) {
    let port = port.unwrap_or_default();
    let line = match as_json {
        true => {
            format!("{{\"address\":\"127.0.0.1:{port}\",\"port\":{port},\"pid\":{}}}", std::process::id())
        }
        false => format!("127.0.0.1:{port}"),
    };
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        log::warn!(target: "dev", "the address could not be printed: error={}", Text(&error));
    }
}

/// Ends this process as TERM does, once another process has become its parent.
fn end_with_parent() {
    let parent = rustix::process::getppid();
    let watch = move || {
        while rustix::process::getppid() == parent {
            thread::sleep(PARENT_CHECK);
        }
        // The signal's own handler stops the server in order; without it the process just ends.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    };
    if let Err(error) = thread::Builder::new().name("zkfast-parent".to_owned()).spawn(watch) {
        log::warn!(target: "dev", "the parent is not watched: error={}", Text(&error));
    }
}

/// The folder of a server's files, locked for as long as the process lives.
struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes a folder of this process's own in memory, where the system has such a place, and removes those of processes
    /// that were killed.
    ///
    /// # Errors
    /// There is no room, or no permission.
    fn create() -> Result<Self, String> {
        let base = if Path::new(MEMORY).is_dir() { PathBuf::from(MEMORY) } else { std::env::temp_dir() };
        remove_left(&base);
        let path = base.join(format!("{PREFIX}{}", std::process::id()));
        let mut made = Self::make(&path);
        // Another start may have taken the folder away before it was locked.
        for _ in 1..MAKE_TRIES {
            made = made.or_else(|_| Self::make(&path));
        }
        made.map_err(|error| format!("{}: {error}", path.display()))
    }

    fn make(path: &Path) -> io::Result<Self> {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let _lock = lock(path)?;
        // What was locked may have been taken away before.
        fs::metadata(path)?;
        Ok(Self { path: path.to_owned(), _lock })
    }

    fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            let path = self.path.display();
            log::warn!(target: "dev", "not removed: dir={} error={}", Text(path), Text(&error));
        }
    }
}

/// Locks a folder for this process.
fn lock(path: &Path) -> io::Result<File> {
    let folder = File::open(path)?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    Ok(folder)
}

/// Removes the folders that no process has locked: their servers were killed.
fn remove_left(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_ours && let Ok(_lock) = lock(&entry.path()) {
            // Another user's cannot be removed, and are none of this one's business.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
