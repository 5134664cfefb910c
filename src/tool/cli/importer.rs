//! Writes the znodes of an export, with many requests in flight.

use super::ask::NewNode;
use super::error::CliError;
use super::link::Link;
use super::output::{Output, note};
use super::pipe::{Pipe, WRITE_BYTES_MAX};
use super::record::Record;
use super::target::moved;
use super::words::Words;
use crate::client::{Reply, Request};
use crate::proto::ErrorCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What to do with a znode that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Leave it.
    Skip,
    /// Give it the data and the access list of the export.
    Overwrite,
    /// End with `NodeExists`.
    Fail,
}

/// How to import.
#[derive(Clone, Debug)]
pub struct Plan {
    conflict: Conflict,
    is_dry_run: bool,
    makes_parents: bool,
    /// True to make ephemerals persistent, not to leave them out.
    keeps_ephemerals: bool,
    /// Znodes a second.
    rate: Option<u32>,
}

impl Plan {
    /// Reads the flags that `import` and `copy` share. With `--resume` the znodes exist that came after the last one
    /// noted, so that they are left as they are unless `--conflict` says otherwise.
    ///
    /// # Errors
    /// [`CliError::Usage`] where a value cannot be used.
    pub fn read(words: &Words) -> Result<Self, CliError> {
        let conflict = match words.value("conflict") {
            None if words.has("resume") => Conflict::Skip,
            Some("fail") if words.has("resume") => {
                return Err(CliError::Usage("--resume goes with --conflict skip or overwrite".to_owned()));
            }
            None | Some("fail") => Conflict::Fail,
            Some("skip") => Conflict::Skip,
            Some("overwrite") => Conflict::Overwrite,
            Some(_) => return Err(CliError::Usage("--conflict takes skip, overwrite or fail".to_owned())),
        };
        let keeps_ephemerals = match words.value("ephemerals") {
            None | Some("skip") => false,
            Some("persistent") => true,
            Some(_) => return Err(CliError::Usage("--ephemerals takes skip or persistent".to_owned())),
        };
        let rate = words.number("rate")?;
        if rate == Some(0) {
            return Err(CliError::Usage("--rate takes znodes a second, from 1".to_owned()));
        }
        let (is_dry_run, makes_parents) = (words.has("dry-run"), words.has("parents"));
        Ok(Self { conflict, is_dry_run, makes_parents, keeps_ephemerals, rate })
    }
}

/// What became of the znodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// New ones; in a dry run those that would be.
    pub created: u64,
    /// Those that were there and got the data and access list of the export.
    pub overwritten: u64,
    /// Those that were there and stayed as they were.
    pub skipped: u64,
    /// Ephemerals that were left out.
    pub ephemerals: u64,
}

/// What a reply is for; `mark` numbers the znodes.
#[derive(Debug)]
enum Step {
    Create { record: Record, mark: u64 },
    Look { path: String, mark: u64 },
    SetData { record: Record, mark: u64 },
    SetAcl { path: String, mark: u64 },
}

/// An import that runs.
pub struct Importer<'a> {
    pipe: Pipe<'a, Step>,
    plan: Plan,
    counts: Counts,
    /// Root of the export and its new path; known from the first znode on.
    roots: Option<(String, String)>,
    to: Option<String>,
    /// Znodes without all their answers.
    open: BTreeSet<u64>,
    marks: u64,
    begun: Instant,
    sent: u64,
}

impl<'a> Importer<'a> {
    /// An import by `link`. The first znode's path becomes `to`, and those below it follow; `None` keeps all paths.
    pub fn new(link: &'a mut Link, plan: Plan, to: Option<String>) -> Self {
        Self {
            pipe: Pipe::new(link, WRITE_BYTES_MAX),
            plan,
            counts: Counts::default(),
            roots: None,
            to,
            open: BTreeSet::new(),
            marks: 0,
            begun: Instant::now(),
            sent: 0,
        }
    }

    /// How many znodes from the first on have all their answers.
    pub fn done(&self) -> u64 {
        self.open.first().map_or(self.marks, |mark| mark - 1)
    }

    /// Counts a znode as done that was imported before. The first one is still needed: it says the root of the export.
    pub fn skip(&mut self, first: Option<&Record>) {
        if let Some(record) = first {
            self.root(&record.path);
        }
        self.marks += 1;
    }

    fn root(&mut self, path: &str) -> (String, String) {
        let to = self.to.clone();
        self.roots.get_or_insert_with(|| (path.to_owned(), to.unwrap_or_else(|| path.to_owned()))).clone()
    }

    /// Sends a znode, whose parent was sent before. Waits while enough requests are in flight, or the rate is reached.
    ///
    /// # Errors
    /// [`CliError::Refused`] for this or an earlier znode; [`CliError::Lost`].
    pub fn put(&mut self, record: Record) -> Result<(), CliError> {
        // Znodes that are left out send nothing.
        self.pipe.link().keep_alive()?;
        let is_first = self.roots.is_none();
        let (from, to) = self.root(&record.path);
        let record = Record { path: moved(&record.path, &from, &to)?, ..record };
        self.marks += 1;
        if is_first && self.plan.makes_parents && !self.plan.is_dry_run {
            self.make_parents(&record.path)?;
        }
        if record.is_ephemeral && !self.plan.keeps_ephemerals {
            self.counts.ephemerals += 1;
            return Ok(());
        }
        self.wait_for_rate()?;
        while self.pipe.is_full() {
            self.take()?;
        }
        let mark = self.marks;
        self.open.insert(mark);
        let full = self.full(&record.path);
        if self.plan.is_dry_run {
            let look = Request::Exists { path: full.into(), watch: false };
            return self.pipe.send(Step::Look { path: record.path, mark }, &look);
        }
        if full == "/" {
            // It is always there, and no server takes a request to create it.
            return self.is_there(record, mark);
        }
        let node = NewNode { acl: record.acl.clone(), ..NewNode::open(&full, record.data.clone()) };
        self.pipe.send(Step::Create { record, mark }, &node.request())
    }

    fn full(&mut self, path: &str) -> String {
        self.pipe.link().target().full(path)
    }

    /// Creates what is missing above `path`.
    fn make_parents(&mut self, path: &str) -> Result<(), CliError> {
        let ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).collect();
        for end in ends {
            let full = self.full(&path[..end]);
            super::ask::create_if_absent(self.pipe.link(), &full, None)?;
        }
        Ok(())
    }

    fn wait_for_rate(&mut self) -> Result<(), CliError> {
        let Some(rate) = self.plan.rate else { return Ok(()) };
        let due = self.begun + Duration::from_secs_f64(self.sent as f64 / f64::from(rate));
        self.sent += 1;
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            // What has been sent so far counts for the rate only if it leaves now.
            while !self.pipe.is_empty() {
                self.take()?;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.pipe.link().keep_alive()?;
        }
        Ok(())
    }

    /// Takes one reply.
    fn take(&mut self) -> Result<(), CliError> {
        let Some((step, reply)) = self.pipe.next()? else { return Ok(()) };
        let code = reply.header.err;
        let is = |wanted: ErrorCode| code == wanted.to_wire();
        match step {
            Step::Create { mark, .. } if is(ErrorCode::Ok) => {
                self.counts.created += 1;
                self.open.remove(&mark);
            }
            Step::Create { record, mark } if is(ErrorCode::NodeExists) => return self.is_there(record, mark),
            Step::Create { record, .. } => return Err(CliError::refused(code, &record.path)),
            Step::Look { path, mark } => self.looked(&path, mark, &reply)?,
            Step::SetData { record, mark } if is(ErrorCode::Ok) => {
                let path = self.full(&record.path).into_bytes();
                let request = Request::SetAcl { path, acl: record.acl, version: -1 };
                return self.pipe.send(Step::SetAcl { path: record.path, mark }, &request);
            }
            Step::SetData { record, .. } => return Err(CliError::refused(code, &record.path)),
            Step::SetAcl { mark, .. } if is(ErrorCode::Ok) => {
                self.counts.overwritten += 1;
                self.open.remove(&mark);
            }
            Step::SetAcl { path, .. } => return Err(CliError::refused(code, &path)),
        }
        Ok(())
    }

    /// A znode that was there before.
    fn is_there(&mut self, record: Record, mark: u64) -> Result<(), CliError> {
        let full = self.full(&record.path);
        match self.plan.conflict {
            Conflict::Overwrite => {
                let request = Request::SetData { path: full.into(), data: record.data.clone(), version: -1 };
                self.pipe.send(Step::SetData { record, mark }, &request)
            }
            Conflict::Fail if full != "/" => {
                Err(CliError::refused(ErrorCode::NodeExists.to_wire(), &record.path))
            }
            Conflict::Skip | Conflict::Fail => {
                self.counts.skipped += 1;
                self.open.remove(&mark);
                Ok(())
            }
        }
    }

    /// In a dry run: what would become of a znode.
    fn looked(&mut self, path: &str, mark: u64, reply: &Reply) -> Result<(), CliError> {
        self.open.remove(&mark);
        match ErrorCode::from_wire(reply.header.err) {
            Some(ErrorCode::NoNode) => self.counts.created += 1,
            Some(ErrorCode::Ok) => {
                note(&format!("exists: {path}"));
                match self.plan.conflict {
                    Conflict::Overwrite => self.counts.overwritten += 1,
                    Conflict::Skip | Conflict::Fail => self.counts.skipped += 1,
                }
            }
            _ => return Err(CliError::refused(reply.header.err, path)),
        }
        Ok(())
    }

    /// Sends what is queued and pings if due, while no znodes come.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn idle(&mut self) -> Result<(), CliError> {
        while !self.pipe.is_empty() {
            self.take()?;
        }
        self.pipe.link().keep_alive()
    }

    /// Waits for all answers.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`CliError::Failed`] where a dry run found a conflict that would end the import.
    pub fn finish(&mut self) -> Result<(), CliError> {
        while !self.pipe.is_empty() {
            self.take()?;
        }
        if self.plan.is_dry_run && self.plan.conflict == Conflict::Fail && self.counts.skipped > 0 {
            return Err(CliError::Failed(format!("{} znodes exist (NodeExists)", self.counts.skipped)));
        }
        Ok(())
    }

    /// Says what became of the znodes: on standard error, or with `--json` on standard output.
    ///
    /// # Errors
    /// As [`Output::value`].
    pub fn report(&self, out: &mut Output) -> Result<(), CliError> {
        let Counts { created, overwritten, skipped, ephemerals } = self.counts;
        if out.json {
            return out.value(&self.json());
        }
        let what = if self.plan.is_dry_run { "dry run: would be created" } else { "created" };
        note(&format!(
            "{what}: {created}, overwritten: {overwritten}, existed: {skipped}, ephemerals left out: {ephemerals}"
        ));
        Ok(())
    }

    fn json(&self) -> Value {
        let Counts { created, overwritten, skipped, ephemerals } = self.counts;
        json!({
            "created": created, "overwritten": overwritten, "existed": skipped, "ephemeralsLeftOut": ephemerals,
            "dryRun": self.plan.is_dry_run,
        })
    }
}
