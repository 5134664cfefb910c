//! Events of the audit log, as ZooKeeper 3.9 writes them: fields in its order, between tabs.

use crate::proto::SessionId;
use core::fmt;

/// The target of the audit log's lines.
pub const AUDIT_TARGET: &str = "audit";

/// What became of what was asked. Source: `AuditEvent.Result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditResult {
    /// It was done.
    Success,
    /// It was refused.
    Failure,
    /// It has begun: of a server's stop.
    Invoked,
}

impl AuditResult {
    const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Invoked => "invoked",
        }
    }
}

/// One event. Fields that are `None` are left out. Its text has one `name=value` for each of the others, tabs between them.
///
/// Source: `AuditEvent`, `ZKAuditProvider.createLogEvent`, Apache ZooKeeper 3.9.4. Control characters, which a user's name
/// may hold and would end the field or the line, are shown as `?`; Java writes them as they are.
#[derive(Clone, Copy, Debug)]
pub struct AuditEvent<'a> {
    /// Session id.
    pub session: Option<SessionId>,
    /// Users that the client has proved to be, or the one that the server runs as.
    pub user: Option<&'a str>,
    /// The client's address.
    pub ip: Option<&'a str>,
    /// `create`, `setData`, ...
    pub operation: &'static str,
    /// A path.
    pub znode: Option<&'a [u8]>,
    /// The mode of a create, such as `ephemeral_sequential`.
    pub znode_type: Option<&'static str>,
    /// The access list of a setACL: `scheme:id:perms` of each entry, with nothing between them.
    pub acl: Option<&'a str>,
    /// What became of it.
    pub result: AuditResult,
}

impl<'a> AuditEvent<'a> {
    /// An event of the server itself, which runs as `user`.
    pub const fn of_server(user: &'a str, operation: &'static str, result: AuditResult) -> Self {
        let user = Some(user);
        Self { session: None, user, ip: None, operation, znode: None, znode_type: None, acl: None, result }
    }
}

impl fmt::Display for AuditEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(session) = self.session {
            write!(f, "session={session:#x}\t")?;
        }
        let mut field = |name: &str, value: Option<&str>| match value {
            Some(value) => {
                let value = value.replace(char::is_control, "?");
                write!(f, "{name}={value}\t")
            }
            None => Ok(()),
        };
        field("user", self.user)?;
        field("ip", self.ip)?;
        field("operation", Some(self.operation))?;
        field("znode", self.znode.map(String::from_utf8_lossy).as_deref())?;
        field("znode_type", self.znode_type)?;
        field("acl", self.acl)?;
        write!(f, "result={}", self.result.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields have ZooKeeper's order, absent ones are left out, and no value ends its field or the line.
    #[test]
    fn as_text() {
        let event = AuditEvent {
            session: Some(SessionId(0x1000_0000_0007)),
            user: Some("127.0.0.1,bo\tb\n"),
            ip: Some("127.0.0.1"),
            operation: "create",
            znode: Some("/a b/ü".as_bytes()),
            znode_type: Some("ephemeral"),
            acl: None,
            result: AuditResult::Failure,
        };
        assert_eq!(
            event.to_string(),
            "session=0x100000000007\tuser=127.0.0.1,bo?b?\tip=127.0.0.1\toperation=create\tznode=/a b/ü\t\
             znode_type=ephemeral\tresult=failure"
        );
        let stop = AuditEvent::of_server("zk", "serverStop", AuditResult::Invoked);
        assert_eq!(stop.to_string(), "user=zk\toperation=serverStop\tresult=invoked");
    }
}
