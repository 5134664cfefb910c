//! Questions to the server: how many at once, how long they may take, what was answered last.
//!
//! A question costs every view a moment, and a long list more than that. So questions are asked one after the other at a
//! bounded pace, and after a long one the next waits for ten times as long as the first took: whatever HTTP clients do,
//! they take a tenth of a view's time at most.

use super::super::about::About;
use super::super::browse::Browser;
use super::super::files::DataDir;
use super::super::hand_overs::HandOvers;
use super::super::orders::Orders;
use super::super::questions::{Question, Questions};
use super::super::restores::Restores;
use super::super::{Phase, Shared};
use crate::admin::{FourLetterWord, Status};
use crate::auth::Policy;
use crate::replica::browse::{Browse, Browsed, NotBrowsed};
use crate::tree;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep_until, timeout_at};

/// How long an answer may take where nothing long is listed, the wait for a turn included.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// The same for long lists.
const LONG_ANSWER_MAX: Duration = Duration::from_secs(10);

/// Questions that are under way, or whose answers are rendered.
const OPEN_MAX: usize = 4;

/// The pause between two questions.
const PACE: Duration = Duration::from_millis(1);

/// After a long list no other is asked for so many times as long as it took.
const LONG_PAUSES: u32 = 10;

/// The longest such pause.
const LONG_PAUSE_MAX: Duration = Duration::from_secs(5);

/// The age up to which the last answer stands for a new one where probes ask.
const FRESH: Duration = Duration::from_millis(100);

/// A server that has read its data.
#[derive(Debug)]
pub struct Server {
    /// The way to the commit thread.
    pub questions: Questions,
    /// The way to the first view.
    pub orders: Orders,
    /// The way to the first view, where there is a console.
    pub browser: Option<Browser>,
    /// What only the shell knows.
    pub about: Arc<About>,
    /// What all shards see.
    pub shared: Arc<Shared>,
    /// Who may do what.
    pub policy: Arc<Policy>,
    /// Its files.
    pub dir: DataDir,
    /// Where trees go that it is restored to; a member of an ensemble takes none.
    pub restores: Option<Restores>,
    /// The way to the commit thread of one that is to hand over its lead.
    pub hand_overs: HandOvers,
    /// How such a tree treats owners and digests.
    pub tree_settings: tree::Settings,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The data is not read yet.
    Starting,
    /// It takes too long, or too many ask.
    Late(Duration),
    /// The server stops.
    Stopped,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => write!(f, "the server starts"),
            Self::Late(limit) => {
                let ms = limit.as_millis();
                write!(f, "no answer within {ms} ms: a disk hangs, or many others ask as well; try again")
            }
            Self::Stopped => write!(f, "the server stops"),
        }
    }
}

/// The right to an answer; the next question may be asked once it is dropped.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

/// A row of questions.
#[derive(Debug)]
struct Gate {
    permits: Arc<Semaphore>,
    /// When the next question may be asked.
    free_at: Cell<Instant>,
}

impl Gate {
    fn new(permits: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(permits)), free_at: Cell::new(Instant::now()) }
    }

    /// Waits for a turn, until `end` at most.
    async fn enter(&self, end: Instant) -> Option<Turn> {
        let permit = timeout_at(end.into(), self.permits.clone().acquire_owned()).await.ok()?.ok()?;
        let at = self.free_at.get().max(Instant::now());
        if at >= end {
            return None;
        }
        self.free_at.set(at + PACE);
        sleep_until(at.into()).await;
        Some(Turn { _permit: permit })
    }
}

/// What the server said last.
#[derive(Clone, Debug)]
pub struct Said {
    at: Instant,
    /// Its role, and whether it serves.
    pub status: Rc<Status>,
}

impl Said {
    /// How long ago that was.
    pub fn age(&self) -> Duration {
        self.at.elapsed()
    }
}

/// Which questions wait for one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// Those of probes: they wait for no client's command.
    Probe,
    /// Commands that show a few numbers.
    Short,
    /// Commands that show long lists.
    Long,
}

/// Asks the server, once there is one.
#[derive(Debug)]
pub struct Asker {
    server: Arc<OnceLock<Server>>,
    probes: Gate,
    short: Gate,
    long: Gate,
    browse: Gate,
    said: RefCell<Option<Said>>,
    has_served: Cell<bool>,
}

impl Asker {
    /// Asks the server that `server` will hold.
    pub fn new(server: Arc<OnceLock<Server>>) -> Self {
        Self {
            server,
            probes: Gate::new(1),
            short: Gate::new(OPEN_MAX),
            long: Gate::new(1),
            browse: Gate::new(1),
            said: RefCell::default(),
            has_served: Cell::new(false),
        }
    }

    /// The server, once it has read its data.
    pub fn server(&self) -> Option<&Server> {
        self.server.get()
    }

    /// The cell that holds the server, for a thread that renders an answer.
    pub fn cell(&self) -> Arc<OnceLock<Server>> {
        self.server.clone()
    }

    /// Asks. The turn is to be held until the answer is rendered, and that to a long question until it is sent.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(
        &self,
        word: FourLetterWord,
        mask: Option<i64>,
        row: Row,
    ) -> Result<(Box<Status>, Turn), NoAnswer> {
        let Some(server) = self.server.get() else { return Err(NoAnswer::Starting) };
        let (gate, limit) = match row {
            Row::Probe => (&self.probes, ANSWER_MAX),
            Row::Short => (&self.short, ANSWER_MAX),
            Row::Long => (&self.long, LONG_ANSWER_MAX),
        };
        let end = Instant::now() + limit;
        let late = NoAnswer::Late(limit);
        let turn = gate.enter(end).await.ok_or(late)?;
        let (sender, answer) = oneshot::channel();
        let asked = Instant::now();
        let tell = move |status: Box<Status>| {
            // The client may be gone.
            let _ = sender.send(status);
        };
        server.questions.send(Question { word, mask, answer: Box::new(tell) }).map_err(|_| late)?;
        let answered = timeout_at(end.into(), answer).await;
        if row == Row::Long {
            let pause = (asked.elapsed() * LONG_PAUSES).min(LONG_PAUSE_MAX);
            gate.free_at.set(Instant::now() + pause);
        }
        match answered {
            Ok(Ok(status)) => {
                self.has_served.set(self.has_served.get() || status.serving);
                Ok((status, turn))
            }
            Ok(Err(_)) => Err(NoAnswer::Stopped),
            Err(_) => Err(late),
        }
    }

    /// Asks `browser` about the tree, one question at a time. There is no pause after a long one: the view works for it for a
    /// turn each tick, which is a tenth of its time at most.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn browse(
        &self,
        browser: &Browser,
        browse: Browse,
    ) -> Result<Result<Browsed, NotBrowsed>, NoAnswer> {
        let late = NoAnswer::Late(LONG_ANSWER_MAX);
        let end = Instant::now() + LONG_ANSWER_MAX;
        let _turn = self.browse.enter(end).await.ok_or(late)?;
        let (sender, answer) = oneshot::channel();
        let tell = move |browsed| {
            // The client may be gone.
            let _ = sender.send(browsed);
        };
        browser.ask(browse, tell).map_err(|_| late)?;
        timeout_at(end.into(), answer).await.map_err(|_| late)?.map_err(|_| NoAnswer::Stopped)
    }

    /// What the server says of its role, or where it does not answer what it said last, if it ever did.
    pub async fn said(&self) -> Option<Said> {
        let said = self.said.borrow().clone();
        if said.as_ref().is_some_and(|said| said.age() < FRESH) {
            return said;
        }
        // The word whose answer is least.
        match self.ask(FourLetterWord::Gtmk, None, Row::Probe).await {
            Ok((status, _)) => {
                let said = Said { at: Instant::now(), status: Rc::new(*status) };
                *self.said.borrow_mut() = Some(said.clone());
                Some(said)
            }
            Err(_) => said,
        }
    }

    /// Whether the server has ever served clients, as far as it was asked.
    pub fn has_served(&self) -> bool {
        self.has_served.get()
    }

    /// Whether a signal has told the server to stop.
    pub fn is_stopping(&self) -> bool {
        self.server.get().is_some_and(|server| server.shared.phase() != Phase::Running)
    }
}
