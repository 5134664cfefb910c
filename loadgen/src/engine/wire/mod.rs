//! Bytes of requests and replies. Callers name the items of all files here by `wire::`.

mod frames;
mod op;
mod paths;
mod requests;
mod values;
mod wrong;

pub use frames::*;
pub use op::*;
pub use paths::*;
pub use requests::*;
pub use values::*;
pub use wrong::*;
