//! The commands `snapshot` and `restore`: whole trees over HTTP, for those who may do everything at the root.
//!
//! Source: `Commands.SnapshotCommand` and `RestoreCommand`, Apache ZooKeeper 3.9.4.

use super::super::mailbox::Deliver;
use super::super::orders::{Counted, Order, Orders};
use super::ask::Server;
use super::authorization::{Authorizer, Refused};
use super::export::{self, Export};
use super::import::{self, Digest, Import};
use crate::config::{AdminConfig, Restore};
use crate::database::FuzzyReport;
use crate::proto::Zxid;
use crate::proto::acl::{Acl, Perms};
use crate::server::logging::Text;
use crate::server::restores;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Body;
use hyper::header::HeaderMap;
use std::cell::Cell;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How long the first view may take to say who may do what.
const ACL_MAX: Duration = Duration::from_millis(500);

/// How long the first view may take to begin an image: it may be making one for a learner.
const IMAGE_MAX: Duration = Duration::from_secs(30);

/// Snapshots that are being made or sent. Each holds as many bytes of the disk as the tree has.
const EXPORTS_MAX: usize = 2;

/// How many times less than `admin.rateLimiterIntervalInMS` is the time between two snapshots: Java takes the number for
/// microseconds there, and scripts have come to rely on more than one in five minutes.
const SNAPSHOT_PART: u32 = 1000;

/// Why a member takes no tree.
const OF_MEMBER: &str = "this server belongs to an ensemble, and a tree that one member alone goes on with would split it: \
    restore it into a server alone with an empty dataDir (no server.N), stop that one and all members, and put its \
    zkfast-1 into the dataDir of each member in place of theirs";

/// Why a tree is not taken where everybody might bring one.
const OPEN_ROOT: &str = "everybody may do everything at /, and might replace all data: set an access list there (setAcl / \
    digest:USER:HASH:cdrwa), or allow it with admin.restore.enabled=true";

/// A request that is refused.
#[derive(Debug)]
pub struct Refusal {
    /// Of the answer.
    pub status: StatusCode,
    /// For people.
    pub why: String,
}

impl Refusal {
    fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    fn failed(error: &io::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

/// Lets one request through in each interval. Source: `RateLimiter`.
#[derive(Debug)]
struct RateLimiter {
    interval: Duration,
    began: Cell<Instant>,
    is_spent: Cell<bool>,
}

impl RateLimiter {
    fn new(interval: Duration) -> Self {
        Self { interval, began: Cell::new(Instant::now()), is_spent: Cell::new(false) }
    }

    fn allows(&self) -> bool {
        if self.began.get().elapsed() > self.interval {
            self.began.set(Instant::now());
            self.is_spent.set(false);
        }
        !self.is_spent.replace(true)
    }

    /// Refuses a request that comes too early.
    fn check(&self) -> Result<(), Refusal> {
        if self.allows() {
            return Ok(());
        }
        let ms = self.interval.as_millis();
        let why =
            format!("one in {ms} ms is let through, also of those that fail (admin.rateLimiterIntervalInMS)");
        Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, why))
    }
}

/// A snapshot that a client ordered.
#[derive(Debug)]
pub enum Snapshot {
    /// It is in the data directory.
    Stored(Zxid, u64),
    /// It is to be sent. The permit is to be held until it is.
    Made(Export, OwnedSemaphorePermit),
}

/// What is allowed, and what is under way.
#[derive(Debug)]
pub struct Transfers {
    snapshot_enabled: bool,
    restore: Restore,
    trusts_forwarded_for: bool,
    /// How long a client may send nothing.
    idle: Duration,
    snapshots: RateLimiter,
    restores: RateLimiter,
    exports: Arc<Semaphore>,
    is_restoring: Arc<AtomicBool>,
}

impl Transfers {
    /// As the configuration says.
    pub fn new(config: &AdminConfig) -> Self {
        let interval = Duration::from_millis(config.rate_limiter_interval_ms.into());
        let snapshot_interval = Duration::from_millis((interval / SNAPSHOT_PART).as_millis() as u64);
        Self {
            snapshot_enabled: config.snapshot_enabled,
            restore: config.restore,
            idle: Duration::from_millis(config.idle_timeout_ms.into()),
            restores: RateLimiter::new(interval),
            is_restoring: Arc::default(),
            trusts_forwarded_for: config.trusts_forwarded_for,
            snapshots: RateLimiter::new(snapshot_interval),
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
        }
    }

    /// Checks that a request comes from someone who may do everything at the root, whose access list it gives.
    ///
    /// # Errors
    /// 401, 403; 503 where the server does not answer.
    pub async fn authorize(
        &self,
        server: &Server,
        headers: &HeaderMap,
        peer: IpAddr,
    ) -> Result<Vec<Acl>, Refusal> {
        let authorizer = self.authorizer(server);
        let refused = |why: Refused| Refusal::new(why.status(), why.to_string());
        let ids = authorizer.ids(headers, peer).map_err(refused)?;
        let (acl, ()) = ordered(&server.orders, ACL_MAX, (), Order::RootAcl).await?;
        authorizer.check(&acl, Perms::ALL, &ids).map_err(refused)?;
        Ok(acl)
    }

    fn authorizer<'a>(&self, server: &'a Server) -> Authorizer<'a> {
        Authorizer { policy: &server.policy, trusts_forwarded_for: self.trusts_forwarded_for }
    }

    /// Takes a snapshot, in the data directory or `streaming`.
    ///
    /// # Errors
    /// 429, 500, 503.
    pub async fn snapshot(&self, server: &Server, streaming: bool) -> Result<Snapshot, Refusal> {
        if !self.snapshot_enabled {
            let why = "snapshots by HTTP are switched off (admin.snapshot.enabled=false)";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
        }
        self.snapshots.check().inspect_err(|_| count(server, Counted::SnapshotLimited))?;
        let taken = self.take(server, streaming).await;
        if let Err(Refusal { status, why }) = &taken {
            // One in the data directory is counted by the view.
            if streaming {
                count(server, Counted::SnapshotFailed);
            }
            log::warn!(target: "snapshot", "none for a client: status={} why={}", status.as_u16(), Text(why));
        }
        taken
    }

    async fn take(&self, server: &Server, streaming: bool) -> Result<Snapshot, Refusal> {
        let permit = self.exports.clone().try_acquire_owned().map_err(|_| {
            let why = format!("{EXPORTS_MAX} snapshots are made or sent already");
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, why)
        })?;
        let failed = |error: io::Error| Refusal::failed(&error);
        if !streaming {
            // It may take as long as the disk does; the connection has a limit.
            let (taken, _) = ordered(&server.orders, Duration::MAX, permit, Order::Snapshot).await?;
            return taken.map(|(zxid, bytes)| Snapshot::Stored(zxid, bytes)).map_err(failed);
        }
        let began = Instant::now();
        let (image, permit) = ordered(&server.orders, IMAGE_MAX, permit, Order::Image).await?;
        let export = export::write(&server.dir, image).await.map_err(failed)?;
        log::info!(target: "snapshot", "made for a client: zxid={} bytes={} took_ms={}", export.zxid,
            export.bytes, began.elapsed().as_millis());
        Ok(Snapshot::Made(export, permit))
    }

    /// Checks that a restore may begin; the root's access list is `acl`.
    ///
    /// # Errors
    /// 403, 409, 429, 503.
    pub fn check_restore(&self, server: &Server, acl: &[Acl]) -> Result<Restoring, Refusal> {
        let refusal = |status, why: &str| Err(Refusal::new(status, why));
        if self.restore == Restore::Off {
            let why = "restore by HTTP is switched off (admin.restore.enabled=false)";
            return refusal(StatusCode::SERVICE_UNAVAILABLE, why);
        }
        if server.restores.is_none() {
            return refusal(StatusCode::CONFLICT, OF_MEMBER);
        }
        let is_open = self.authorizer(server).check(acl, Perms::ALL, &[]).is_ok();
        if is_open && self.restore == Restore::UnlessOpen {
            return refusal(StatusCode::FORBIDDEN, OPEN_ROOT);
        }
        if self.is_restoring.load(Ordering::Relaxed) {
            return refusal(StatusCode::TOO_MANY_REQUESTS, "another restore is under way");
        }
        self.restores.check().inspect_err(|_| count(server, Counted::RestoreLimited))?;
        self.is_restoring.store(true, Ordering::Relaxed);
        Ok(Restoring(self.is_restoring.clone()))
    }

    /// Has the server go on with the snapshot that `body` brings; gives the last zxid of that.
    ///
    /// # Errors
    /// 500 where it cannot be: then the server has what it had. 503 where it stops.
    pub async fn restore<B>(
        &self,
        server: &Server,
        own: Zxid,
        body: B,
        peer: SocketAddr,
        restoring: Restoring,
    ) -> Result<Zxid, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let began = Instant::now();
        let restored = self.restore_from(server, own, body, restoring).await;
        count(
            server,
            match &restored {
                Ok(_) => Counted::Restored(began.elapsed().as_micros() as u64),
                Err(_) => Counted::RestoreFailed,
            },
        );
        match &restored {
            Ok((zxid, now, report, digest)) => log::warn!(target: "snapshot",
                "restored: peer={peer} zxid={zxid} digest={} dead_ephemerals={} goes_on_at={now} took_ms={}", digest.name(),
                report.orphans, began.elapsed().as_millis()),
            Err(Refusal { status, why }) => log::warn!(target: "snapshot",
                "not restored: peer={peer} status={} why={}", status.as_u16(), Text(why)),
        }
        restored.map(|(zxid, ..)| zxid)
    }

    async fn restore_from<B>(
        &self,
        server: &Server,
        own: Zxid,
        body: B,
        restoring: Restoring,
    ) -> Result<(Zxid, Zxid, FuzzyReport, Digest), Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Display,
    {
        let failed = |error: io::Error| Refusal::failed(&error);
        let received = import::receive(&server.dir, body, self.idle).await.map_err(failed)?;
        // From here on what was begun goes on where the client is gone, and another restore waits for its end.
        let read = import::read(&server.dir, received, server.tree_settings, own, restoring).await;
        let (Import { tree, incoming, zxid, report, digest }, restoring) = read.map_err(failed)?;
        let goes_on_at = tree.zxid;
        let (sender, answered) = oneshot::channel();
        let answer: Deliver<io::Result<()>> = Box::new(move |restored| {
            drop(restoring);
            // The client may be gone.
            let _ = sender.send(restored);
        });
        let stops = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server stops");
        let restores = server.restores.as_ref().ok_or_else(stops)?;
        let busy = |_| Refusal::new(StatusCode::TOO_MANY_REQUESTS, "another restore is under way");
        restores.send(restores::Restore { tree, incoming, answer }).map_err(busy)?;
        answered.await.map_err(|_| stops())?.map_err(failed)?;
        Ok((zxid, goes_on_at, report, digest))
    }
}

/// A restore that is under way.
#[derive(Debug)]
pub struct Restoring(Arc<AtomicBool>);

impl Drop for Restoring {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Counts; where many orders wait, it is not counted.
fn count(server: &Server, counted: Counted) {
    let _ = server.orders.send(Order::Count(counted));
}

/// What the first view delivers within a limit, and `held`, which is let go once it has: also where the client is gone by
/// then, so that no more is ordered at once than there are permits.
async fn ordered<T: Send + 'static, H: Send + 'static>(
    orders: &Orders,
    limit: Duration,
    held: H,
    order: impl FnOnce(Deliver<T>) -> Order,
) -> Result<(T, H), Refusal> {
    let unavailable = |why: String| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why);
    let (sender, delivered) = oneshot::channel();
    let deliver = move |thing: T| {
        // The client may be gone.
        let _ = sender.send((thing, held));
    };
    orders.send(order(Box::new(deliver))).map_err(|busy| unavailable(busy.to_string()))?;
    match tokio::time::timeout(limit, delivered).await {
        Ok(Ok(delivered)) => Ok(delivered),
        Ok(Err(_)) => Err(unavailable("the server stops".to_owned())),
        Err(_) => Err(unavailable(format!("no answer within {} ms; try again", limit.as_millis()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One request is let through in each interval, also before the first is over.
    #[test]
    fn rate() {
        let limiter = RateLimiter::new(Duration::from_secs(1000));
        assert!(limiter.allows() && !limiter.allows() && limiter.check().is_err());
        limiter.began.set(Instant::now() - Duration::from_secs(1001));
        assert!(limiter.allows() && !limiter.allows());
        let none = RateLimiter::new(Duration::ZERO);
        assert!((0..10).all(|_| {
            std::thread::sleep(Duration::from_micros(10));
            none.allows()
        }));
    }
}
