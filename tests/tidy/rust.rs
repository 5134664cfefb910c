//! Reading Rust well enough: without a parser, by words and brackets. What that misses is said at each function.

/// `text` with comments and the insides of strings blanked, line by line and byte by byte where they were.
pub fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let skipped = if rest.starts_with(b"//") {
            rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            block_comment_bytes(rest)
        } else if rest[0] == b'"' {
            string_bytes(rest)
        } else if rest[0] == b'r'
            && !at.checked_sub(1).is_some_and(|before| is_word(bytes[before]) && bytes[before] != b'b')
        {
            raw_string_bytes(rest)
        } else if rest[0] == b'\'' {
            char_bytes(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.push(rest[0]);
            at += 1;
        } else {
            code.extend(rest[..skipped].iter().map(|&b| if b == b'\n' { b'\n' } else { b' ' }));
            at += skipped;
        }
    }
    String::from_utf8(code).expect("only whole characters are blanked")
}

pub fn block_comment_bytes(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

pub fn string_bytes(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Length of `r"..."` or `r#"..."#` at the start of `rest`, 0 if there is none.
pub fn raw_string_bytes(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&b| b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let body = 2 + hashes;
    rest[body..]
        .windows(end.len())
        .position(|window| window == end)
        .map_or(rest.len(), |at| body + at + end.len())
}

/// Length of a character literal at the start of `rest`, 0 for a lifetime.
pub fn char_bytes(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return rest[3..].iter().position(|&b| b == b'\'').map_or(0, |at| 3 + at + 1);
    }
    // One character of at most four bytes, then the closing quote.
    match rest.iter().skip(2).take(4).position(|&b| b == b'\'') {
        Some(at) if at == 0 || rest[1] >= 0x80 => 2 + at + 1,
        _ => 0,
    }
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where `name` stands in `code` as a whole word.
pub fn words<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(name).map(|(at, _)| at).filter(move |&at| {
        let bytes = code.as_bytes();
        let before = at.checked_sub(1).is_some_and(|before| is_word(bytes[before]));
        let after = bytes.get(at + name.len()).is_some_and(|&b| is_word(b));
        !before && !after
    })
}

pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// A source without its tests, which stand at its end. `mod tests;` in a list of modules ends nothing.
pub fn before_tests(text: &str) -> &str {
    let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    text.split("\n#[cfg(all(test, not(loom)))]\nmod tests {").next().unwrap_or(text)
}

/// The names in `mod name;`.
pub fn declared_modules(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for at in words(code, "mod") {
        let rest = code[at + "mod".len()..].trim_start();
        if let Some((name, _)) = rest.split_once(';') {
            let name = name.trim();
            if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                names.push(name.to_owned());
            }
        }
    }
    names
}

/// Whether a file of `src` or the like is compiled for tests only: the module that declares it says `#[cfg(test)]`, or is
/// itself such a file. Declared means `mod name;` on the line after.
pub fn is_test_file(path: &str, open: &dyn Fn(&str) -> String) -> bool {
    let stem = path.trim_end_matches(".rs").trim_end_matches("/mod");
    let Some((folder, name)) = stem.rsplit_once('/') else { return false };
    let parents = [format!("{folder}.rs"), format!("{folder}/mod.rs"), format!("{folder}/lib.rs")];
    let Some(parent) = parents.iter().find(|file| *file != path && crate::repository::exists(file)) else {
        return false;
    };
    let text = open(parent);
    let lines: Vec<&str> = text.lines().collect();
    let declared =
        |line: &str| line.trim().trim_start_matches("pub ").strip_prefix("mod ") == Some(&format!("{name};"));
    let at = lines.iter().position(|line| declared(line));
    at.is_some_and(|at| at > 0 && lines[at - 1].trim() == "#[cfg(test)]") || is_test_file(parent, open)
}

mod reading_is_good_enough {
    use super::*;

    /// Files of tests are known by their declaration, those below them by theirs.
    #[test]
    fn test_files() {
        let open = |path: &str| crate::repository::read(path);
        for (path, expected) in [
            ("src/zab/leader.rs", false),
            ("src/zab/mod.rs", false),
            ("src/lib.rs", false),
            ("src/main.rs", false),
            ("src/zab/election/simulation.rs", true),
            ("src/zab/election/tests.rs", true),
        ] {
            assert_eq!(is_test_file(path, &open), expected, "{path}");
        }
    }
}
