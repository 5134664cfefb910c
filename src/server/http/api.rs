//! `/api`: what the console asks beside commands and metrics. The shapes are on the page on the
//! [console](crate::docs::console).

use super::router::{BadEncoding, Subject, parameter_or_error};
use crate::admin::json::{self, Object};
use crate::config::{self, Shown};
use crate::proto::{ErrorCode, Id, path};
use crate::replica::browse::{
    Browse, Browsed, Child, NameRange, NotBrowsed, PAGE_MAX, Page, Wanted, ZnodeFound,
};
use crate::tree::OwnerKind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use std::fmt::Display;

/// Children on a page where the query does not say how many.
const LIMIT_DEFAULT: usize = 200;

/// Bytes of a znode's data that are shown where the query does not say how many, and at most.
const DATA_BYTES_DEFAULT: usize = 64 << 10;
const DATA_BYTES_MAX: usize = 1 << 20;

/// Why a request gets no answer: the status, ZooKeeper's name for it if there is one, and a sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of HTTP.
    pub status: StatusCode,
    code: Option<ErrorCode>,
    why: String,
}

impl Refusal {
    /// No answer now, perhaps later.
    pub fn unavailable(why: impl Display) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code: None, why: why.to_string() }
    }

    fn bad(why: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code: Some(ErrorCode::BadArguments), why }
    }

    /// The client is not who its header says.
    pub fn not_authenticated(why: impl Display) -> Self {
        let why = why.to_string();
        Self { status: StatusCode::UNAUTHORIZED, code: Some(ErrorCode::AuthFailed), why }
    }

    fn of(why: NotBrowsed, path: &[u8]) -> Self {
        let path = String::from_utf8_lossy(path);
        match why {
            NotBrowsed::Refused(code @ ErrorCode::NoNode) => {
                let why = format!("there is no znode {path:?}");
                Self { status: StatusCode::NOT_FOUND, code: Some(code), why }
            }
            NotBrowsed::Refused(code) => {
                let why = format!("the access list of {path:?} does not let you read it");
                Self { status: StatusCode::FORBIDDEN, code: Some(code), why }
            }
            NotBrowsed::NotServing | NotBrowsed::Changing => Self::unavailable(why),
        }
    }

    /// The body of the answer.
    pub fn json(&self) -> Vec<u8> {
        json::object(|o| {
            o.set("error", &*self.why);
            o.set("code", self.code.map(|code| format!("{code:?}")));
        })
    }
}

/// A question about the tree, and how many bytes of data the answer shows.
#[derive(Debug)]
pub struct Asked {
    path: Vec<u8>,
    wanted: Wanted,
    data_bytes: usize,
}

impl Asked {
    /// Reads a query.
    ///
    /// # Errors
    /// 400: which parameter is wrong, its value, and what it may be.
    pub fn read(subject: Subject, query: &str) -> Result<Self, Refusal> {
        let path = text(query, "path")?.ok_or_else(|| Refusal::bad("path: is missing".to_owned()))?;
        if !path::is_valid(path.as_bytes()) {
            return Err(Refusal::bad(format!("path: {path:?} is not a path that a znode may have")));
        }
        let data_bytes = number(query, "bytes", DATA_BYTES_DEFAULT, 0, DATA_BYTES_MAX)?;
        let wanted = match subject {
            Subject::Children => Wanted::Children(NameRange {
                after: text(query, "after")?.unwrap_or_default().into_bytes().into(),
                prefix: text(query, "prefix")?.unwrap_or_default().into_bytes().into(),
                limit: number(query, "limit", LIMIT_DEFAULT, 1, PAGE_MAX)?,
            }),
            _ => Wanted::Znode,
        };
        Ok(Self { path: path.into_bytes(), wanted, data_bytes })
    }

    /// The question, of a client with these ids.
    pub fn browse(&self, ids: Vec<Id>) -> Browse {
        Browse { path: self.path.as_slice().into(), ids, wanted: self.wanted.clone() }
    }

    /// The body of the answer.
    ///
    /// # Errors
    /// What the tree does not show.
    pub fn answer(&self, browsed: Result<Browsed, NotBrowsed>) -> Result<Vec<u8>, Refusal> {
        match browsed.map_err(|why| Refusal::of(why, &self.path))? {
            Browsed::Znode(found) => Ok(self.znode(&found)),
            Browsed::Children(page) => Ok(self.page(&page)),
        }
    }

    fn znode(&self, found: &ZnodeFound) -> Vec<u8> {
        let stat = &found.stat;
        let shown = found.data().map(|data| &data[..data.len().min(self.data_bytes)]);
        json::object(|o| {
            o.set("path", &self.path[..]);
            o.set("zxid", hex(found.zxid.to_wire()));
            put_kind(o, found.kind);
            o.object("stat", |o| {
                o.set("czxid", hex(stat.czxid.to_wire()));
                o.set("mzxid", hex(stat.mzxid.to_wire()));
                o.set("pzxid", hex(stat.pzxid.to_wire()));
                o.set("ctime", stat.ctime_ms);
                o.set("mtime", stat.mtime_ms);
                o.set("version", stat.version);
                o.set("cversion", stat.cversion);
                o.set("aversion", stat.aversion);
                o.set("ephemeral_owner", hex(stat.ephemeral_owner.0));
                o.set("data_length", stat.data_bytes);
                o.set("num_children", stat.children);
            });
            o.list("acl", |l| {
                for entry in found.acl() {
                    l.object(|o| {
                        o.set("perms", entry.perms.to_string());
                        o.set("scheme", &*entry.id.scheme);
                        o.set("id", &*entry.id.id);
                    });
                }
            });
            o.set("data", shown.map(|bytes| STANDARD.encode(bytes)));
            o.set("data_shown", shown.map(<[u8]>::len));
        })
    }

    fn page(&self, page: &Page) -> Vec<u8> {
        let last = page.children.last().filter(|_| page.has_more);
        json::object(|o| {
            o.set("path", &self.path[..]);
            o.set("zxid", hex(page.zxid.to_wire()));
            o.set("num_children", page.children_all);
            o.list("children", |l| page.children.iter().for_each(|child| l.object(|o| put_child(o, child))));
            o.set("next", last.map(|child| &child.name[..]));
        })
    }
}

fn put_child(o: &mut Object<'_>, child: &Child) {
    o.set("name", &child.name[..]);
    o.set("readable", child.shown.is_some());
    if let Some(shown) = child.shown {
        put_kind(o, shown.kind);
        o.set("num_children", shown.children);
        o.set("data_length", shown.data_bytes);
    }
}

fn put_kind(o: &mut Object<'_>, kind: OwnerKind) {
    let name = match kind {
        OwnerKind::Persistent => "persistent",
        OwnerKind::Ephemeral { .. } => "ephemeral",
        OwnerKind::Container => "container",
        OwnerKind::Ttl { .. } => "ttl",
    };
    o.set("kind", name);
    if let OwnerKind::Ttl { ttl_ms } = kind {
        o.set("ttl", ttl_ms);
    }
}

/// Browsers hold no number of 64 bits.
fn hex(number: i64) -> String {
    format!("{number:#x}")
}

/// Where the commands are, what became of each setting, and what is in force of the keys that none names.
pub fn settings(command_url: &str, shown: &Shown) -> Vec<u8> {
    json::object(|o| {
        o.set("command_url", command_url);
        o.list("settings", |l| {
            for setting in &shown.settings {
                l.object(|o| {
                    o.set("key", &*setting.key);
                    o.set("value", &*setting.shown);
                    o.set("origin", setting.origin.to_string());
                    o.set("verdict", setting.verdict.name());
                    o.list("notes", |l| setting.notes.iter().for_each(|note| l.push(&**note)));
                });
            }
        });
        o.list("defaults", |l| {
            for (key, value, about) in config::defaults(&shown.settings, shown.file.is_some()) {
                l.object(|o| {
                    o.set("key", key);
                    o.set("value", value);
                    o.set("about", about);
                });
            }
        });
    })
}

fn text(query: &str, name: &str) -> Result<Option<String>, Refusal> {
    let bad = |BadEncoding| Refusal::bad(format!("{name}: is not encoded in UTF-8 and %XX"));
    parameter_or_error(query, name).map_err(bad)
}

fn number(query: &str, name: &str, default: usize, min: usize, max: usize) -> Result<usize, Refusal> {
    let Some(text) = text(query, name)? else { return Ok(default) };
    let number = text.parse().ok().filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| Refusal::bad(format!("{name}: {text:?} is not a number from {min} to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a query is said with the value and what is allowed; nothing is guessed.
    #[test]
    fn bad_queries() {
        for (query, why) in [
            ("", "path: is missing"),
            ("path=", "path: \"\" is not a path that a znode may have"),
            ("path=a", "path: \"a\" is not a path that a znode may have"),
            ("path=/a/../b", "path: \"/a/../b\" is not a path that a znode may have"),
            ("path=/%2e%2e", "path: \"/..\" is not a path that a znode may have"),
            ("path=/a%00", "path: \"/a\\0\" is not a path that a znode may have"),
            ("path=%ff", "path: is not encoded in UTF-8 and %XX"),
            ("path=/&after=%", "after: is not encoded in UTF-8 and %XX"),
            ("path=/&limit=0", "limit: \"0\" is not a number from 1 to 1000"),
            ("path=/&limit=1001", "limit: \"1001\" is not a number from 1 to 1000"),
            ("path=/&limit=-1", "limit: \"-1\" is not a number from 1 to 1000"),
            (
                "path=/&limit=99999999999999999999",
                "limit: \"99999999999999999999\" is not a number from 1 to 1000",
            ),
            ("path=/&bytes=1048577", "bytes: \"1048577\" is not a number from 0 to 1048576"),
        ] {
            let refusal = Asked::read(Subject::Children, query).expect_err(query);
            assert_eq!((refusal.status, &*refusal.why), (StatusCode::BAD_REQUEST, why), "{query}");
        }
        let asked = Asked::read(Subject::Children, "path=/a+b&after=x%2Fy&limit=1000").expect("a query");
        assert_eq!(asked.path, b"/a b");
        assert!(
            matches!(asked.wanted, Wanted::Children(NameRange { limit: 1000, ref after, .. }) if **after == *b"x/y")
        );
    }
}
