//! Verbs of quotas. They stand in znodes below `/zookeeper/quota`, from the server's root on also with a chroot.

use super::super::ask::{self, NewNode};
use super::super::error::CliError;
use super::super::link::Link;
use super::super::output::note;
use super::super::target::{child, parent};
use super::super::verb::Context;
use super::super::words::Words;
use crate::proto::ErrorCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where quotas are. Source: `Quotas`.
const QUOTAS: &str = "/zookeeper/quota";
const LIMIT_NODE: &str = "zookeeper_limits";
const STAT_NODE: &str = "zookeeper_stats";

/// Flag of `setquota` and `delquota`, name in the znode, smallest value.
///
/// Source: `SetQuotaCommand.checkOptionValue`, `StatsTrack`.
const LIMITS: [(&str, &str, i64); 4] =
    [("n", "count", 1), ("b", "bytes", 0), ("N", "countHardLimit", 1), ("B", "byteHardLimit", 0)];

/// Names that a track always has.
const COUNT: &str = "count";
const BYTES: &str = "bytes";

/// The content of a quota's znodes: numbers by name. -1 is no limit.
///
/// Source: `StatsTrack`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Track(BTreeMap<String, i64>);

impl Track {
    fn parse(data: Option<&[u8]>) -> Result<Self, CliError> {
        let text = String::from_utf8_lossy(data.unwrap_or_default()).into_owned();
        let bad = || CliError::Failed(format!("the quota's znode holds {text:?}"));
        let mut track = Self::default();
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let mut parts = pair.split('=');
            let (name, number) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let number = if number.is_empty() { -1 } else { number.parse().map_err(|_| bad())? };
            track.0.insert(name.to_owned(), number);
        }
        Ok(track)
    }

    fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(-1)
    }

    fn set(&mut self, name: &str, number: i64) {
        self.0.insert(name.to_owned(), number);
    }

    /// As ZooKeeper writes it: the two names of its first versions, and after another `=` those that came later, which
    /// old programs skip.
    fn text(&self) -> String {
        let others = self.0.iter().filter(|(name, _)| ![COUNT, BYTES].contains(&name.as_str()));
        let others: String = others.map(|(name, number)| format!(";{name}={number}")).collect();
        let equals = if others.is_empty() { "" } else { "=" };
        format!("{COUNT}={},{BYTES}={}{equals}{others}", self.get(COUNT), self.get(BYTES))
    }

    fn json(&self) -> Value {
        self.0
            .iter()
            .map(|(name, number)| (name.clone(), Value::from(*number)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// The znode below [`QUOTAS`] of a server's path.
fn quota_of(full: &str) -> String {
    format!("{QUOTAS}{full}")
}

/// The server's path of the argument.
fn quota_path(context: &Context<'_>, words: &Words) -> Result<String, CliError> {
    let full = context.full(words.argument(0))?;
    if full == "/" || full.starts_with(QUOTAS) {
        return Err(CliError::Usage(format!("{full} cannot have a quota")));
    }
    Ok(full)
}

/// `listquota`: limits and use of a subtree.
pub fn list(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let quota = quota_of(&quota_path(context, words)?);
    let (limit_path, stat_path) = (child(&quota, LIMIT_NODE), child(&quota, STAT_NODE));
    if !context.out.json {
        note(&format!("absolute path is {limit_path}"));
    }
    let mut track = |path: &str| match ask::data(context.link, path, false) {
        Ok((data, _)) => Track::parse(data.as_deref()).map(Some),
        Err(error) if error.is(ErrorCode::NoNode) => Ok(None),
        Err(error) => Err(error),
    };
    let limits = track(&limit_path)?;
    let used = if limits.is_some() { track(&stat_path)? } else { None };
    if context.out.json {
        let [quota, stat] = [&limits, &used].map(|track| track.as_ref().map(Track::json));
        return context.out.value(&json!({ "path": path, "quota": quota, "stat": stat }));
    }
    let (Some(limits), Some(used)) = (limits, used) else {
        note(&format!("quota for {path} does not exist."));
        return Ok(());
    };
    context.out.line(&format!("Output quota for {path} {}", limits.text()))?;
    context.out.line(&format!("Output stat for {path} {}", used.text()))
}

/// `setquota`: sets limits; those that are not named stay.
pub fn set(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let full = quota_path(context, words)?;
    let mut given = Vec::new();
    for (flag, name, least) in LIMITS {
        if let Some(number) = words.number::<i64>(flag)? {
            if number < least {
                return Err(CliError::Usage(format!("-{flag} takes a number from {least}")));
            }
            given.push((name, number));
        }
    }
    if given.is_empty() {
        return Err(CliError::Usage("a limit is missing: -n, -b, -N or -B".to_owned()));
    }
    if ask::exists(context.link, &full, false)?.is_none() {
        return Err(CliError::refused(ErrorCode::NoNode.to_wire(), path));
    }
    check_alone(context.link, &full)?;
    let quota = quota_of(&full);
    make_parents(context.link, &quota)?;
    let (limit_path, stat_path) = (child(&quota, LIMIT_NODE), child(&quota, STAT_NODE));
    let is_new = ask::exists(context.link, &limit_path, false)?.is_none();
    let mut limits = Track::default();
    if is_new {
        LIMITS.iter().for_each(|(_, name, _)| limits.set(name, -1));
    } else {
        limits = Track::parse(ask::data(context.link, &limit_path, false)?.0.as_deref())?;
    }
    given.iter().for_each(|(name, number)| limits.set(name, *number));
    if is_new {
        ask::create(context.link, NewNode::open(&limit_path, Some(limits.text().into_bytes())))?;
        let none = Track(BTreeMap::from([(COUNT.to_owned(), 0), (BYTES.to_owned(), 0)]));
        ask::create(context.link, NewNode::open(&stat_path, Some(none.text().into_bytes())))?;
    } else {
        ask::set_data(context.link, &limit_path, limits.text().into_bytes(), -1)?;
    }
    let used = Track::parse(ask::data(context.link, &stat_path, false)?.0.as_deref())?;
    warn(&limits, &used);
    if context.out.json {
        return context.out.value(&json!({ "path": path, "quota": limits.json(), "stat": used.json() }));
    }
    Ok(())
}

/// Says where a limit is below what is in use already.
fn warn(limits: &Track, used: &Track) {
    for (of, names) in [(COUNT, [COUNT, "countHardLimit"]), (BYTES, [BYTES, "byteHardLimit"])] {
        let have = used.get(of);
        if names.iter().map(|name| limits.get(name)).any(|limit| limit > -1 && limit < have) {
            note(&format!("[Warning]: the {of} quota you create is less than the existing {of}:{have}"));
        }
    }
}

/// An error if a znode above or below has a quota: ZooKeeper counts one on the way only.
///
/// Source: `SetQuotaCommand.checkIfChildQuota` and `checkIfParentQuota`.
fn check_alone(link: &mut Link, full: &str) -> Result<(), CliError> {
    let own = quota_of(full);
    let refuse = |what: &str, quota: &str| {
        let other = quota.strip_prefix(QUOTAS).unwrap_or(quota);
        Err(CliError::Failed(format!("{full} has a {what} {other} which has a quota")))
    };
    let mut open = vec![own.clone()];
    while let Some(path) = open.pop() {
        let children = match ask::children(link, &path, false) {
            Ok((children, _)) => children,
            Err(error) if error.is(ErrorCode::NoNode) => continue,
            Err(error) => return Err(error),
        };
        if path != own && children.iter().any(|name| name == LIMIT_NODE) {
            return refuse("child", &path);
        }
        open.extend(children.iter().map(|name| child(&path, name)));
    }
    let mut above = parent(&own);
    while let Some(path) = above.filter(|path| path.len() > QUOTAS.len()) {
        if ask::exists(link, &child(path, LIMIT_NODE), false)?.is_some() {
            return refuse("parent", path);
        }
        above = parent(path);
    }
    Ok(())
}

/// Creates the znodes from [`QUOTAS`] to `quota` that are not there.
fn make_parents(link: &mut Link, quota: &str) -> Result<(), CliError> {
    let ends = quota.match_indices('/').map(|(at, _)| at).skip(1).chain([quota.len()]);
    for end in ends {
        if ask::exists(link, &quota[..end], false)?.is_none() {
            ask::create_if_absent(link, &quota[..end], None)?;
        }
    }
    Ok(())
}

/// `delquota`: removes the limits that the flags name, or the whole quota.
pub fn delete(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let quota = quota_of(&quota_path(context, words)?);
    let limit_path = child(&quota, LIMIT_NODE);
    if ask::exists(context.link, &limit_path, false)?.is_none() {
        note(&format!("Quota does not exist for {path}"));
    } else if LIMITS.iter().any(|(flag, ..)| words.has(flag)) {
        let mut limits = Track::parse(ask::data(context.link, &limit_path, false)?.0.as_deref())?;
        for (flag, name, _) in LIMITS {
            // As in ZooKeeper: a limit of 0 bytes is removed as well, and one that is not set stays unset.
            if words.has(flag) {
                limits.set(name, -1);
            }
        }
        ask::set_data(context.link, &limit_path, limits.text().into_bytes(), -1)?;
    } else {
        delete_quota(context.link, &quota)?;
    }
    if context.out.json { context.out.value(&json!({ "path": path })) } else { Ok(()) }
}

/// Deletes a quota's znodes, and those above it that have no other child.
fn delete_quota(link: &mut Link, quota: &str) -> Result<(), CliError> {
    for name in ask::children(link, quota, false)?.0 {
        ask::delete(link, &child(quota, &name), -1)?;
    }
    let mut path = quota;
    while path != QUOTAS && ask::children(link, path, false)?.0.is_empty() {
        ask::delete(link, path, -1)?;
        path = parent(path).unwrap_or(QUOTAS);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of a track is ZooKeeper's, of old versions and of new ones.
    #[test]
    fn tracks() {
        for text in ["count=1,bytes=5", "count=20,bytes=100=;byteHardLimit=-1;countHardLimit=3"] {
            assert_eq!(Track::parse(Some(text.as_bytes())).expect("good").text(), text);
        }
        assert_eq!(Track::parse(None).expect("none").text(), "count=-1,bytes=-1");
        assert_eq!(Track::parse(Some(b"count=,bytes=7")).expect("good").get("count"), -1);
        assert!(Track::parse(Some(b"count=x")).is_err());
    }
}
