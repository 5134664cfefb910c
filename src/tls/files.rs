//! Whether the files of a configuration have changed.

use crate::config::{Password, StoreConfig, TlsConfig};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells that a file has changed: its number, size, and times. `None` while it cannot be seen.
pub type Stamp = Option<(u64, u64, i64, i64)>;

/// The stamps of all files of a configuration.
pub fn stamps(config: &TlsConfig) -> Vec<Stamp> {
    let stores = [&config.key_store, &config.trust_store];
    stores.into_iter().flatten().flat_map(files).map(stamp).collect()
}

fn files(store: &StoreConfig) -> impl Iterator<Item = &Path> {
    let password = match &store.password {
        Password::InFile(path) => Some(path.as_path()),
        Password::Given(_) => None,
    };
    let private_key = store.private_key.as_ref().map(|(_, path)| path.as_path());
    std::iter::once(store.path.as_path()).chain(password).chain(private_key)
}

fn stamp(path: &Path) -> Stamp {
    let of = |file: Metadata| (file.ino(), file.size(), file.mtime(), file.mtime_nsec());
    path.metadata().ok().map(of)
}
