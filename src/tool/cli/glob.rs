//! Patterns of names.

/// True if `pattern` matches all of `name`: `*` is any letters, `?` one, `[a-z]` one of a set, `[!a-z]` one that is in none.
/// A bracket without its end is itself.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut to) = (0, 0);
    // Where to go on if what follows the last star does not match: after the star, with one letter more taken by it.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            retry = Some((at + 1, to));
            at += 1;
            continue;
        }
        match (one(&pattern[at..], name.get(to)), name.get(to)) {
            (Some(length), Some(_)) => {
                at += length;
                to += 1;
            }
            (None, None) if at == pattern.len() => return true,
            _ => {
                let Some((after_star, taken)) = retry.filter(|(_, taken)| *taken < name.len()) else {
                    return false;
                };
                retry = Some((after_star, taken + 1));
                (at, to) = (after_star, taken + 1);
            }
        }
    }
}

/// Length of the part of `pattern` that matches `letter`; `None` if it does not, or there is no letter.
fn one(pattern: &[char], letter: Option<&char>) -> Option<usize> {
    let letter = letter?;
    match pattern.first()? {
        '?' => Some(1),
        '[' => match set_end(pattern) {
            Some(end) => is_in(&pattern[1..end], *letter).then_some(end + 1),
            None => (*letter == '[').then_some(1),
        },
        other => (other == letter).then_some(1),
    }
}

/// Where the bracket of a set is; one right after the beginning is a letter of the set.
fn set_end(pattern: &[char]) -> Option<usize> {
    let first = if pattern.get(1) == Some(&'!') { 2 } else { 1 };
    pattern.iter().skip(first + 1).position(|letter| *letter == ']').map(|at| at + first + 1)
}

fn is_in(set: &[char], letter: char) -> bool {
    let (is_negated, mut set) = match set {
        ['!', rest @ ..] => (true, rest),
        set => (false, set),
    };
    let mut is_found = false;
    while let [first, rest @ ..] = set {
        set = match rest {
            ['-', last, rest @ ..] => {
                is_found |= (*first..=*last).contains(&letter);
                rest
            }
            rest => {
                is_found |= *first == letter;
                rest
            }
        };
    }
    is_found != is_negated
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each form matches what it should and nothing else, and a star gives back what it took.
    #[test]
    fn patterns() {
        for (pattern, name) in [
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abcbc"),
            ("n_*[0-9]", "n_x7"),
            ("?", "ä"),
            ("[!a-c]x", "dx"),
            ("[]]", "]"),
            ("[-a]", "-"),
            ("[", "["),
            ("a[", "a["),
            ("*aab", "aaaaab"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("", "a"),
            ("a", ""),
            ("a", "ab"),
            ("a*c", "abcb"),
            ("?", ""),
            ("[a-c]", "d"),
            ("[!a]", "a"),
            ("a?", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
