//! The data directory of Apache ZooKeeper: import and export.
//!
//! An import never changes ZooKeeper's files. A result gets its name only when it is whole and flushed.
//!
//! | what | files |
//! |---|---|
//! | ZooKeeper's files | `source` (folders), `epochs`, `unpack` (compressed snapshots) |
//! | import | `import`; `read` (snapshot and log into a tree), `imported` (options and result) |
//! | export | `export` |
//! | both | `target` (folder of the result), `error` |

mod epochs;
mod error;
mod export;
mod import;
mod imported;
mod read;
mod source;
mod target;
mod unpack;

pub use epochs::Epochs;
pub use error::JavaDataError;
pub use export::{Exported, export};
pub use import::import;
pub use imported::{Imported, Options};
pub use source::{FOLDER, Source, only_java};
#[cfg(feature = "tool")]
pub(crate) use unpack::unpack;
