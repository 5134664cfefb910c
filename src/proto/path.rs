//! Path syntax (`PathUtils.validatePath`).

/// Whether `path` may name a znode: it starts with `/`, ends without one, has no empty, `.` or `..`
/// component and none of the characters that ZooKeeper refuses.
///
/// Bytes that are not UTF-8, and characters beyond the basic plane, are refused as well: Java reads
/// them as U+FFFD or as surrogates, which are on its list.
pub fn is_valid(path: &[u8]) -> bool {
    if path == b"/" {
        return true;
    }
    let Some(rest) = path.strip_prefix(b"/") else { return false };
    if rest.is_empty() || !has_valid_characters(path) {
        return false;
    }
    rest.split(|&byte| byte == b'/').all(|name| !matches!(name, b"" | b"." | b".."))
}

fn has_valid_characters(path: &[u8]) -> bool {
    // Nearly every path is printable ASCII, and known to be fine without decoding.
    if path.iter().all(|byte| (0x20..0x7F).contains(byte)) {
        return true;
    }
    let Ok(text) = std::str::from_utf8(path) else { return false };
    text.chars()
        .all(|c| !matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..))
}

/// The parent of `path` and the name in it; the root's children have the parent `/`. `None` for a
/// path without a slash.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    let parent = if slash == 0 { &path[..1] } else { &path[..slash] };
    Some((parent, &path[slash + 1..]))
}

/// The path of the child `name` of `parent`.
pub fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let parent = parent.strip_suffix(b"/").unwrap_or(parent);
    [parent, b"/", name].concat()
}

/// The path itself and all above it up to `/`, nearest first.
pub fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut next = Some(path);
    std::iter::from_fn(move || {
        let current = next?;
        next = if current == b"/" { None } else { split(current).map(|(parent, _)| parent) };
        Some(current)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of `PathUtils.validatePath`, one path a rule.
    #[test]
    fn rules() {
        for good in ["/", "/a", "/a/b", "/...", "/a..", "/.a", "/a b", "/ä€", "/\u{d7ff}", "/\u{ffef}"] {
            assert!(is_valid(good.as_bytes()), "{good:?}");
        }
        for bad in
            ["", "a", "//", "/a/", "/a//b", "/.", "/..", "/a/./b", "/a/..", "/\0", "/\u{1f}", "/\u{7f}"]
        {
            assert!(!is_valid(bad.as_bytes()), "{bad:?}");
        }
        for bad in ["/\u{9f}", "/\u{e000}", "/\u{f8ff}", "/\u{fff0}", "/\u{ffff}", "/\u{10000}"] {
            assert!(!is_valid(bad.as_bytes()), "{bad:?}");
        }
        assert!(!is_valid(b"/\xff"));
    }

    /// What is joined is split again, also below the root.
    #[test]
    fn join_and_split() {
        for (parent, name, joined) in [("/", "a", "/a"), ("/a", "b", "/a/b")] {
            let path = join(parent.as_bytes(), name.as_bytes());
            assert_eq!(path, joined.as_bytes());
            assert_eq!(split(&path), Some((parent.as_bytes(), name.as_bytes())));
        }
    }

    /// A znode's ancestors end at the root, once.
    #[test]
    fn ancestors_end_at_the_root() {
        let all = |path: &'static str| ancestors(path.as_bytes()).collect::<Vec<_>>();
        assert_eq!(all("/a/b"), [&b"/a/b"[..], b"/a", b"/"]);
        assert_eq!(all("/"), [b"/"]);
    }
}
