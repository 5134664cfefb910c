//! Reads stores again when their files change, and tells before the server's certificate expires.

use crate::server::logging::Text;
use crate::tls::{Stamp, Stores, stamps};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(1);

const DAY_S: i64 = 24 * 60 * 60;

/// Days before a certificate expires from which on each day has a warning.
const WARN_DAYS: i64 = 30;

/// Starts the thread that reads the files of `stores` again when they change, where the configuration asks for it, and warns
/// each day while its certificate is about to expire.
///
/// # Errors
/// The thread does not start.
pub fn watch<S: Stores + 'static>(stores: &Arc<S>) -> std::io::Result<()> {
    tell(&**stores);
    let files = Files { seen: stores.first().to_vec(), read: stores.first().to_vec() };
    let stores = Arc::downgrade(stores);
    std::thread::Builder::new().name("zkfast-tls".into()).spawn(move || {
        let mut told = Instant::now();
        let mut files = files;
        while let Some(stores) = stores.upgrade() {
            let is_read = stores.config().reload && look(&*stores, &mut files);
            if is_read || told.elapsed().as_secs() >= DAY_S as u64 {
                tell(&*stores);
                told = Instant::now();
            }
            drop(stores);
            std::thread::sleep(PERIOD);
        }
    })?;
    Ok(())
}

/// The files as they were seen last, and as they were when they were read.
struct Files {
    seen: Vec<Stamp>,
    read: Vec<Stamp>,
}

/// Reads the files where they have changed, and stay as they are since the last call. True if they were read.
fn look(stores: &dyn Stores, files: &mut Files) -> bool {
    let now = stamps(stores.config());
    let is_steady = files.seen == now;
    files.seen.clone_from(&now);
    if !is_steady || files.read == now {
        return false;
    }
    files.read = now;
    match stores.reload() {
        Ok(()) => {
            log::info!(target: "tls", "certificates read again");
            true
        }
        Err(why) => {
            log::warn!(target: "tls", "certificates not read again: why={why:?} then={:?}",
                "connections are begun with those that were read before");
            false
        }
    }
}

/// Tells when the server's certificate expires: a warning where that is soon.
fn tell(stores: &dyn Stores) {
    let Some(certificate) = stores.certificate() else { return };
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let days = (certificate.expires_s - now_s).div_euclid(DAY_S);
    let (level, what) = match days {
        ..0 => (log::Level::Error, "has expired"),
        0..WARN_DAYS => (log::Level::Warn, "expires soon"),
        _ => (log::Level::Info, "is valid"),
    };
    log::log!(target: "tls", level, "certificate {what}: days={days} subject={} path={}",
        Text(&certificate.subject), Text(certificate.path.display()));
}
