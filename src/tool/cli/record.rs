//! A znode as a line of an export.

use super::error::CliError;
use super::target::check_path;
use super::text::{acl_json, base64, from_base64, parse_perms, stat_json};
use super::walk::Node;
use crate::proto::{Acl, Id};
use serde_json::{Value, json};

/// What an import needs of a znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// From the chroot on.
    pub path: String,
    /// `None` is null.
    pub data: Option<Vec<u8>>,
    /// Its access list.
    pub acl: Vec<Acl>,
    /// True if it was a session's.
    pub is_ephemeral: bool,
}

impl From<Node> for Record {
    fn from(node: Node) -> Self {
        let is_ephemeral = node.stat.ephemeral_owner.is_some();
        Self { path: node.path, data: node.data, acl: node.acl, is_ephemeral }
    }
}

/// A znode as one JSON object: `path`, `base64` (null for no data), `acl`, `ephemeral` and `stat`.
pub fn line(node: &Node) -> Value {
    json!({
        "path": node.path,
        "base64": node.data.as_deref().map(base64),
        "acl": acl_json(&node.acl),
        "ephemeral": node.stat.ephemeral_owner.is_some(),
        "stat": stat_json(&node.stat),
    })
}

impl Record {
    /// Reads a line. `stat` is not looked at: a server gives its own.
    ///
    /// # Errors
    /// [`CliError::Usage`] where the line is no znode of an export.
    pub fn parse(line: &str) -> Result<Self, CliError> {
        let bad = |why: String| CliError::Usage(format!("not a line of an export: {why}"));
        let value: Value = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        let path = value["path"].as_str().ok_or_else(|| bad("no path".to_owned()))?.to_owned();
        check_path(&path)?;
        let data = match &value["base64"] {
            Value::Null => None,
            Value::String(text) => Some(from_base64(text)?),
            _ => return Err(bad(format!("{path}: base64 is no string"))),
        };
        let entries = value["acl"].as_array().ok_or_else(|| bad(format!("{path}: no acl")))?;
        let entry = |entry: &Value| {
            let [scheme, id, perms] = ["scheme", "id", "perms"].map(|name| entry[name].as_str());
            let (Some(scheme), Some(id), Some(perms)) = (scheme, id, perms) else {
                return Err(bad(format!("{path}: an entry of acl lacks scheme, id or perms")));
            };
            Ok(Acl { perms: parse_perms(perms)?, id: Id::new(scheme, id) })
        };
        let acl = entries.iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Self { path, data, acl, is_ephemeral: value["ephemeral"] == true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{SessionId, Stat};

    /// A znode's line reads back, with data that is not text, null data and an owner.
    #[test]
    fn there_and_back() {
        for data in [Some(b"\xff\0".to_vec()), Some(Vec::new()), None] {
            let stat = Stat { ephemeral_owner: SessionId(7), ..Stat::default() };
            let node = Node { path: "/a".into(), data, acl: vec![Acl::open()], stat, depth: 3 };
            let read = Record::parse(&line(&node).to_string()).expect("a line of an export");
            assert_eq!(read, Record::from(node));
            assert!(read.is_ephemeral);
        }
    }

    /// What is no line of an export is refused, with the reason.
    #[test]
    fn other_lines() {
        for (line, why) in [
            ("", "EOF"),
            ("[]", "no path"),
            (r#"{"path":"a"}"#, "begins with /"),
            (r#"{"path":"/a"}"#, "no acl"),
            (r#"{"path":"/a","acl":[{}]}"#, "lacks scheme"),
            (r#"{"path":"/a","acl":[],"base64":1}"#, "no string"),
            (r#"{"path":"/a","acl":[],"base64":"?"}"#, "not base64"),
        ] {
            let error = Record::parse(line).expect_err(line).to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
