//! Numbers of sessions.

use std::fmt;

/// A session, by the number that the server gives it. On the wire a `long`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl SessionId {
    /// The wire's 0: a connection that has no session, and in a `ConnectRequest` a client that asks for a new one.
    pub const NONE: Self = Self(0);

    /// True if this is [`Self::NONE`].
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// True if this names a session.
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }
}

/// As ZooKeeper shows it: `0x` and hex digits.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::LowerHex for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids read as ZooKeeper writes them, also those of a server with a number above 127.
    #[test]
    fn texts() {
        let of_server_1 = SessionId(0x0100_0021_40e7_0000);
        assert_eq!(
            format!("{of_server_1} {of_server_1:#x} {of_server_1:x}"),
            "0x100002140e70000 0x100002140e70000 100002140e70000"
        );
        assert_eq!(format!("{}", SessionId(i64::MIN + 1)), "0x8000000000000001");
        assert_eq!(format!("{:#x}", SessionId::NONE), "0x0");
    }
}
