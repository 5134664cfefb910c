//! Scheme `key`: ZooKeeper's example of a scheme that reads znodes. A client sends a number, and is let in if it is a multiple of
//! the number in `/key`, as 0 always is; where there is no such znode, everybody is let in.
//!
//! Source: `KeyAuthenticationProvider`, Apache ZooKeeper 3.9.4.

use super::AuthFailed;
use crate::proto::acl::Id;

/// The scheme's name.
pub const SCHEME: &[u8] = b"key";
/// The znode with the number.
pub const PATH: &[u8] = b"/key";

/// The id that an auth packet earns, which has no name. `key` is the data of [`PATH`]; `None` if it has none, or is not there.
///
/// # Errors
/// [`AuthFailed`] where either is no number of 32 bits, or the packet's is no multiple.
pub fn id(key: Option<&[u8]>, auth: Option<&[u8]>) -> Result<Id, AuthFailed> {
    let auth = auth.ok_or(AuthFailed)?;
    let nameless = Id::new("key", "");
    let Some(key) = key else { return Ok(nameless) };
    let number = |bytes| std::str::from_utf8(bytes).ok()?.parse::<i32>().ok();
    let (divisor, given) = (number(key).ok_or(AuthFailed)?, number(auth).ok_or(AuthFailed)?);
    if divisor != 0 && given.wrapping_rem(divisor) != 0 {
        return Err(AuthFailed);
    }
    Ok(nameless)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multiples are let in, and everybody without a key.
    #[test]
    fn multiples() {
        let taken = |key: &str, auth: &str| id(Some(key.as_bytes()), Some(auth.as_bytes()));
        assert_eq!(taken("25", "50"), Ok(Id::new("key", "")));
        for auth in ["0", "-25", "+75", "2500"] {
            assert!(taken("25", auth).is_ok(), "{auth}");
        }
        for auth in ["26", "", "x", " 25", "99999999999", "25.0"] {
            assert_eq!(taken("25", auth), Err(AuthFailed), "{auth}");
        }
        assert!(taken("0", "7").is_ok() && taken("-1", "-2147483648").is_ok());
        assert_eq!(taken("", "7"), Err(AuthFailed));
        assert_eq!(id(None, Some(b"anything")), Ok(Id::new("key", "")));
        assert_eq!(id(None, None), Err(AuthFailed));
    }
}
