//! The commands `snapshot` and `restore`: whole trees over HTTP, for those who may do everything at the root.
//!
//! Source: `Commands.SnapshotCommand` and `RestoreCommand`, Apache ZooKeeper 3.9.4.

use super::super::orders::{Deliver, Order, Orders};
use super::ask::Server;
use super::authorization::Authorizer;
use super::export::{self, Export};
use crate::config::AdminConfig;
use crate::proto::Zxid;
use crate::proto::acl::Perms;
use crate::server::logging::Text;
use hyper::StatusCode;
use hyper::header::HeaderMap;
use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
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
    trusts_forwarded_for: bool,
    snapshots: RateLimiter,
    exports: Arc<Semaphore>,
}

impl Transfers {
    /// As the configuration says.
    pub fn new(config: &AdminConfig) -> Self {
        let interval = Duration::from_millis(config.rate_limiter_interval_ms.into());
        let snapshot_interval = Duration::from_millis((interval / SNAPSHOT_PART).as_millis() as u64);
        Self {
            snapshot_enabled: config.snapshot_enabled,
            trusts_forwarded_for: config.trusts_forwarded_for,
            snapshots: RateLimiter::new(snapshot_interval),
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
        }
    }

    /// Checks that a request comes from someone who may do everything at the root.
    ///
    /// # Errors
    /// 401, 403; 503 where the server does not answer.
    pub async fn authorize(&self, server: &Server, headers: &HeaderMap, peer: IpAddr) -> Result<(), Refusal> {
        let authorizer =
            Authorizer { policy: &server.policy, trusts_forwarded_for: self.trusts_forwarded_for };
        let refused = |why: super::authorization::Refused| Refusal::new(why.status(), why.to_string());
        let ids = authorizer.ids(headers, peer).map_err(refused)?;
        let acl = ordered(&server.orders, ACL_MAX, Order::RootAcl).await?;
        authorizer.check(&acl, Perms::ALL, &ids).map_err(refused)
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
        self.snapshots.check()?;
        let taken = if streaming { self.export(server).await } else { stored(&server.orders).await };
        if let Err(Refusal { status, why }) = &taken {
            log::warn!(target: "snapshot", "none for a client: status={} why={}", status.as_u16(), Text(why));
        }
        taken
    }

    async fn export(&self, server: &Server) -> Result<Snapshot, Refusal> {
        let permit = self.exports.clone().try_acquire_owned().map_err(|_| {
            let why = format!("{EXPORTS_MAX} snapshots are on their way to clients already");
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, why)
        })?;
        let began = Instant::now();
        let image = ordered(&server.orders, IMAGE_MAX, Order::Image).await?;
        let export = export::write(&server.dir, image).await.map_err(|error| Refusal::failed(&error))?;
        log::info!(target: "snapshot", "made for a client: zxid={} bytes={} took_ms={}", export.zxid,
            export.bytes, began.elapsed().as_millis());
        Ok(Snapshot::Made(export, permit))
    }
}

/// Has the server write a snapshot of its own.
async fn stored(orders: &Orders) -> Result<Snapshot, Refusal> {
    // It may take as long as the disk does; the connection has a limit.
    let taken = ordered(orders, Duration::MAX, Order::Snapshot).await?;
    taken.map(|(zxid, bytes)| Snapshot::Stored(zxid, bytes)).map_err(|error| Refusal::failed(&error))
}

/// What the first view delivers within a limit.
async fn ordered<T: Send + 'static>(
    orders: &Orders,
    limit: Duration,
    order: impl FnOnce(Deliver<T>) -> Order,
) -> Result<T, Refusal> {
    let unavailable = |why: String| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why);
    let (sender, delivered) = oneshot::channel();
    let deliver = move |thing: T| {
        // The client may be gone.
        let _ = sender.send(thing);
    };
    orders.place(order(Box::new(deliver))).map_err(|busy| unavailable(busy.to_string()))?;
    match tokio::time::timeout(limit, delivered).await {
        Ok(Ok(thing)) => Ok(thing),
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
