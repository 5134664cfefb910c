//! Connect strings, and paths of znodes below their chroot.

use super::error::CliError;
use crate::proto::path;

/// Port of a host that names none.
const CLIENT_PORT: u16 = 2181;

/// A connect string: servers of one ensemble, and the znode that its clients see as `/`.
///
/// Source: `ConnectStringParser`, ZooKeeper 3.9.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host and port, in the order in which they are tried. A literal IPv6 address has no brackets.
    pub hosts: Vec<(String, u16)>,
    /// The chroot without a slash at its end; empty for none.
    pub chroot: String,
    /// The connect string as given.
    pub text: String,
}

impl Target {
    /// Reads `host[:port][,host[:port]...][/chroot]`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// [`CliError::Usage`] where a part cannot be used.
    pub fn parse(text: &str) -> Result<Self, CliError> {
        let (servers, chroot) = match text.find('/') {
            Some(slash) => text.split_at(slash),
            None => (text, ""),
        };
        let chroot = if chroot == "/" { "" } else { chroot };
        if !chroot.is_empty() {
            check_path(chroot)?;
        }
        let hosts: Vec<(String, u16)> = servers
            .split(',')
            .map(str::trim)
            .filter(|server| !server.is_empty())
            .map(host_and_port)
            .collect::<Result<_, _>>()?;
        if hosts.is_empty() {
            return Err(CliError::Usage(format!(
                "{text:?} names no server: HOST:PORT[,HOST:PORT...][/CHROOT]"
            )));
        }
        Ok(Self { hosts, chroot: chroot.to_owned(), text: text.to_owned() })
    }

    /// A connect string whose path is a znode to work on, and not a chroot: the servers, and the path or `/`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with_path(text: &str) -> Result<(Self, String), CliError> {
        let mut target = Self::parse(text)?;
        let path = std::mem::take(&mut target.chroot);
        Ok((target, if path.is_empty() { "/".to_owned() } else { path }))
    }

    /// The server's path of `path`, which begins at the chroot.
    pub fn full(&self, path: &str) -> String {
        match (self.chroot.as_str(), path) {
            ("", path) => path.to_owned(),
            (chroot, "/") => chroot.to_owned(),
            (chroot, path) => format!("{chroot}{path}"),
        }
    }

    /// The path below the chroot of a path as the server says it; as it is where it is elsewhere.
    pub fn within(&self, full: &[u8]) -> String {
        let full = String::from_utf8_lossy(full);
        match full.strip_prefix(self.chroot.as_str()) {
            Some("") if !self.chroot.is_empty() => "/".to_owned(),
            Some(rest) if rest.starts_with('/') => rest.to_owned(),
            _ => full.into_owned(),
        }
    }
}

fn host_and_port(server: &str) -> Result<(String, u16), CliError> {
    let bad =
        || CliError::Usage(format!("{server:?} is no server: HOST:PORT, with an IPv6 address in brackets"));
    let (host, port) = match server.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(bad)?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some("")).ok_or_else(bad)?)
        }
        None => server.rsplit_once(':').unwrap_or((server, "")),
    };
    if host.is_empty() || (host.contains(':') && !server.starts_with('[')) {
        return Err(bad());
    }
    let port = if port.is_empty() { CLIENT_PORT } else { port.parse().map_err(|_| bad())? };
    Ok((host.to_owned(), port))
}

/// Checks that `path` may name a znode.
///
/// # Errors
/// [`CliError::Usage`] with the rules.
pub fn check_path(path: &str) -> Result<(), CliError> {
    if path::is_valid(path.as_bytes()) {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "Invalid path string {path:?}: a path begins with /, does not end with one, and has no empty, . or .. name and \
         no control characters"
    )))
}

/// The path of the child `name` of `parent`.
pub fn child(parent: &str, name: &str) -> String {
    if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
}

/// The path of the znode above `path`; `None` for the root.
pub fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/') {
        _ if path == "/" => None,
        Some(("", _)) => Some("/"),
        Some((parent, _)) => Some(parent),
        None => None,
    }
}

/// The last name of `path`; `/` for the root.
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/")
}

/// True if `path` is `above` or below it.
pub fn is_within(above: &str, path: &str) -> bool {
    above == "/" || path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `path` with `from` replaced by `to`.
///
/// # Errors
/// [`CliError::Usage`] where `path` is neither `from` nor below it.
pub fn moved(path: &str, from: &str, to: &str) -> Result<String, CliError> {
    if !is_within(from, path) {
        return Err(CliError::Usage(format!("{path} is not below {from}, the root of the export")));
    }
    let rest = if from == "/" { path } else { &path[from.len()..] };
    Ok(match (to, rest) {
        (to, "" | "/") => to.to_owned(),
        ("/", rest) => rest.to_owned(),
        (to, rest) => format!("{to}{rest}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hosts, ports, IPv6 addresses and the chroot, and what is none of these.
    #[test]
    fn connect_strings() {
        let target = Target::parse("a:1,[::1]:2,b/app").expect("good");
        assert_eq!(target.hosts, [("a".into(), 1), ("::1".into(), 2), ("b".into(), 2181)]);
        assert_eq!((target.full("/"), target.full("/x")), ("/app".into(), "/app/x".into()));
        assert_eq!((target.within(b"/app"), target.within(b"/app/x")), ("/".into(), "/x".into()));
        assert_eq!(target.within(b"/apple"), "/apple", "another znode that begins alike");
        assert_eq!(Target::parse("a/").expect("good").full("/x"), "/x");
        assert_eq!(Target::parse("[::1]").expect("good").hosts, [("::1".into(), 2181)]);
        for bad in ["", ",", "/app", "a:b", "::1", "[::1", "[::1]2", "a/app/", "a:70000"] {
            assert!(matches!(Target::parse(bad), Err(CliError::Usage(_))), "{bad:?}");
        }
        let (target, path) = Target::parse_with_path("a:1/x/y").expect("good");
        assert_eq!((target.full("/z"), path), ("/z".into(), "/x/y".into()));
    }

    /// Paths are joined, taken apart and moved, the root included.
    #[test]
    fn paths() {
        assert_eq!((child("/", "a"), child("/a", "b")), ("/a".into(), "/a/b".into()));
        assert_eq!((parent("/"), parent("/a"), parent("/a/b")), (None, Some("/"), Some("/a")));
        assert_eq!((name("/"), name("/a/b")), ("/", "b"));
        for (path, from, to, moved_to) in [
            ("/a/b", "/a", "/x", "/x/b"),
            ("/a", "/a", "/x", "/x"),
            ("/a/b", "/a", "/", "/b"),
            ("/a", "/a", "/", "/"),
            ("/a/b", "/", "/x", "/x/a/b"),
            ("/", "/", "/x", "/x"),
            ("/a", "/", "/", "/a"),
        ] {
            assert_eq!(moved(path, from, to).expect("below"), moved_to, "{path} from {from} to {to}");
        }
        assert!(moved("/ab", "/a", "/x").is_err() && moved("/", "/a", "/x").is_err());
    }
}
