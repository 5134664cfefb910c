//! What others cannot guess: bytes of the kernel's.

use super::{EXIT_HOST, exit};
use rustix::rand::{GetRandomFlags, getrandom};

/// A key for this life of the process, or ends it: a kernel that has no randomness serves no secrets.
pub fn key() -> [u8; 32] {
    let mut key = [0; 32];
    match getrandom(&mut key[..], GetRandomFlags::empty()) {
        Ok(bytes) if bytes == key.len() => key,
        Ok(bytes) => exit(EXIT_HOST, format_args!("getrandom gave {bytes} bytes of {}", key.len())),
        Err(error) => exit(EXIT_HOST, format_args!("getrandom: {error}")),
    }
}
