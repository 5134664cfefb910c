//! Quotas: limits and usage as text in the tree itself.
//!
//! The limits of `P` are in `/zookeeper/quota/P/zookeeper_limits`, its usage beside them in
//! `zookeeper_stats`. Usage follows the txns as a side effect: it has no zxid and no version of its
//! own. Source: `Quotas`, `StatsTrack`, `DataTree.updateQuotaStat`.

use crate::proto::path;
use crate::tree::Tree;
use hashbrown::HashSet;
use std::collections::BTreeMap;
use std::fmt::Write;

const QUOTA_ROOT: &[u8] = b"/zookeeper/quota";
const LIMITS: &[u8] = b"zookeeper_limits";
const STATS: &[u8] = b"zookeeper_stats";

/// A `zookeeper_limits` or `zookeeper_stats` text, `count=N,bytes=N=;byteHardLimit=N;...`; -1 is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Znodes: the soft limit, or how many there are.
    pub count: i64,
    /// Bytes of data: the soft limit, or how many there are.
    pub bytes: i64,
    /// `countHardLimit`, `byteHardLimit` and whatever else was there.
    others: BTreeMap<String, i64>,
}

impl Limits {
    /// Reads the text; what is not a number reads as -1, so that a broken node limits nothing.
    pub fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut limits = Self { count: -1, bytes: -1, others: BTreeMap::new() };
        for pair in text.split([',', ';']) {
            let mut fields = pair.split('=');
            let (Some(key), Some(value)) = (fields.next(), fields.next()) else { continue };
            let value = value.parse().unwrap_or(-1);
            match key {
                "count" => limits.count = value,
                "bytes" => limits.bytes = value,
                _ => {
                    limits.others.insert(key.to_owned(), value);
                }
            }
        }
        limits
    }

    /// Reads the text as Java reads limits before it checks them; `None` where Java's parser throws, which fails the
    /// request. Source: `StatsTrack`.
    pub fn parse_strictly(text: Option<&[u8]>) -> Option<Self> {
        let text = String::from_utf8_lossy(text?);
        let mut limits = Self { count: -1, bytes: -1, others: BTreeMap::new() };
        if text.is_empty() {
            return Some(limits);
        }
        // Separators that follow each other are one; Java's split leaves out what is empty at the end.
        let trimmed = text.trim_end_matches([',', ';']);
        let is_separator = |letter: char| letter == ',' || letter == ';';
        let leading = trimmed.starts_with(is_separator).then_some("");
        let pairs = trimmed.split(is_separator).filter(|pair| !pair.is_empty());
        for pair in leading.into_iter().chain(pairs) {
            let fields: Vec<&str> = pair.trim_end_matches('=').split('=').collect();
            let (key, value) = (*fields.first()?, *fields.get(1)?);
            let value = if value.is_empty() { -1 } else { value.parse().ok()? };
            match key {
                "count" => limits.count = value,
                "bytes" => limits.bytes = value,
                _ => _ = limits.others.insert(key.to_owned(), value),
            }
        }
        Some(limits)
    }

    /// The hard limit on znodes, -1 for none.
    pub fn count_hard(&self) -> i64 {
        self.others.get("countHardLimit").copied().unwrap_or(-1)
    }

    /// The hard limit on bytes, -1 for none.
    pub fn bytes_hard(&self) -> i64 {
        self.others.get("byteHardLimit").copied().unwrap_or(-1)
    }

    /// The text. The odd `=` makes parsers before 3.7 overlook what follows.
    pub fn text(&self) -> Vec<u8> {
        let mut text = format!("count={},bytes={}", self.count, self.bytes);
        if !self.others.is_empty() {
            text.push('=');
        }
        for (key, value) in &self.others {
            write!(text, ";{key}={value}").expect("writing to a string");
        }
        text.into_bytes()
    }
}

/// Whether a change of the tree is one of quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaKind<'a> {
    /// Limits of this path.
    Limits(&'a [u8]),
    /// Usage of this path.
    Stats(&'a [u8]),
}

/// What the znode at `node` is to quotas; `None` for nearly all.
pub(super) fn kind(node: &[u8]) -> Option<QuotaKind<'_>> {
    let rest = node.strip_prefix(QUOTA_ROOT)?;
    let (_, name) = path::split(rest)?;
    // The quota of the root is not kept, as in Java.
    let limited = &rest[..rest.len() - name.len() - 1];
    match name {
        _ if limited.is_empty() => None,
        LIMITS => Some(QuotaKind::Limits(limited)),
        STATS => Some(QuotaKind::Stats(limited)),
        _ => None,
    }
}

/// Paths that have limits.
#[derive(Clone, Debug, Default)]
pub struct Quotas {
    limited: HashSet<Box<[u8]>, foldhash::fast::FixedState>,
}

impl Quotas {
    /// Finds all limits of a restored tree.
    pub fn of(tree: &Tree) -> Self {
        let mut quotas = Self::default();
        let mut todo: Vec<Vec<u8>> = vec![QUOTA_ROOT.to_vec()];
        while let Some(node) = todo.pop() {
            if let Some(QuotaKind::Limits(limited)) = kind(&node) {
                quotas.add(limited);
            }
            let index = tree.find(&node);
            let names = index.into_iter().flat_map(|index| tree.children(index));
            todo.extend(names.map(|name| [&node, &b"/"[..], name].concat()));
        }
        quotas
    }

    pub(super) fn add(&mut self, limited: &[u8]) {
        self.limited.insert(limited.into());
    }

    pub(super) fn remove(&mut self, limited: &[u8]) {
        self.limited.remove(limited);
    }

    /// Paths that have limits, in no order.
    pub(crate) fn limited(&self) -> impl Iterator<Item = &[u8]> {
        self.limited.iter().map(|path| &**path)
    }

    /// The nearest path above `node`, or itself, that has limits.
    pub fn nearest<'a>(&self, node: &'a [u8]) -> Option<&'a [u8]> {
        if self.limited.is_empty() {
            return None;
        }
        path::ancestors(node).find(|path| self.limited.contains(*path))
    }
}

/// Path of the limits of `limited`.
pub(crate) fn limits_path(limited: &[u8]) -> Vec<u8> {
    [QUOTA_ROOT, limited, b"/", LIMITS].concat()
}

/// Path of the usage of `limited`.
pub(crate) fn stats_path(limited: &[u8]) -> Vec<u8> {
    [QUOTA_ROOT, limited, b"/", STATS].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text is read and written as `StatsTrack` does it, the odd `=` included.
    #[test]
    fn text_round_trip() {
        let limits = Limits::parse(b"count=4,bytes=5=;byteHardLimit=10;countHardLimit=9");
        assert_eq!((limits.count, limits.bytes, limits.count_hard(), limits.bytes_hard()), (4, 5, 9, 10));
        assert_eq!(limits.text(), b"count=4,bytes=5=;byteHardLimit=10;countHardLimit=9");
        assert_eq!(Limits::parse(b"").text(), b"count=-1,bytes=-1");
        assert_eq!(Limits::parse(b"count=x,bytes").text(), b"count=-1,bytes=-1");
    }

    /// Texts at which Java's parser throws differ from those that it reads.
    #[test]
    fn strict_texts() {
        let parse = |text: &str| Limits::parse_strictly(Some(text.as_bytes())).map(|limits| limits.text());
        for garbage in
            ["garbage", "count=x", "count", "count=", "=", ",count=1", "count=1,,bytes", "count=1 "]
        {
            assert_eq!(parse(garbage), None, "{garbage}");
        }
        assert_eq!(Limits::parse_strictly(None), None);
        for (text, read) in [
            ("", "count=-1,bytes=-1"),
            ("count=4,bytes=5=;byteHardLimit=10", "count=4,bytes=5=;byteHardLimit=10"),
            ("count==7", "count=-1,bytes=-1"),
            ("count=+1,;bytes=-2,,", "count=1,bytes=-2"),
        ] {
            assert_eq!(parse(text).as_deref(), Some(read.as_bytes()), "{text}");
        }
    }

    /// Only the two names below `/zookeeper/quota/P` are quotas.
    #[test]
    fn kinds() {
        assert_eq!(kind(b"/zookeeper/quota/a/b/zookeeper_limits"), Some(QuotaKind::Limits(b"/a/b")));
        assert_eq!(kind(b"/zookeeper/quota/a/zookeeper_stats"), Some(QuotaKind::Stats(b"/a")));
        assert_eq!(kind(b"/zookeeper/quota/zookeeper_limits"), None);
        assert_eq!(kind(b"/zookeeper/quota/a"), None);
        assert_eq!(kind(b"/a/zookeeper_limits"), None);
    }
}
