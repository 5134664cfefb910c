//! The word that a user may have meant.

/// The word of `known` that `typed` differs from in the fewest letters, if these are few: a third of it at most.
pub fn suggestion<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    let length = typed.chars().count();
    let limit = (length / 3).min(3);
    // A difference in length is one in letters: most words need no comparison.
    let near = known.iter().filter(|word| word.chars().count().abs_diff(length) <= limit);
    let distances = near.map(|word| (distance(&typed, &word.to_lowercase()), *word));
    let (letters, word) = distances.min_by_key(|(letters, _)| *letters)?;
    (letters <= limit).then_some(word)
}

/// Letters to insert, delete, replace, or swap with their neighbours (Damerau and Levenshtein, each place touched once).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let (mut before, mut last) = (Vec::new(), (0..=b.len()).collect::<Vec<usize>>());
    for (i, letter) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(letter != other)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == b[j - 1] && a[i - 1] == *other {
                let swapped: &Vec<usize> = &before;
                least = least.min(swapped[j - 1] + 1);
            }
            row.push(least);
        }
        (before, last) = (last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A letter more, less, other or elsewhere is near; another word is not.
    #[test]
    fn suggestions() {
        let known = ["tickTime", "dataDir", "dataLogDir", "clientPort", "check", "import"];
        for (typed, meant) in [
            ("tickTme", Some("tickTime")),
            ("ticktimes", Some("tickTime")),
            ("dataDri", Some("dataDir")),
            ("DATADIR", Some("dataDir")),
            ("clientPrt", Some("clientPort")),
            ("chek", Some("check")),
            ("imprt", Some("import")),
            ("x", None),
            ("zoo.cfg", None),
            ("maxClientCnxns", None),
        ] {
            assert_eq!(suggestion(typed, &known), meant, "{typed}");
        }
        assert_eq!(suggestion("anything", &[]), None);
        assert_eq!((distance("", "abc"), distance("abc", "abc"), distance("ab", "ba")), (3, 0, 1));
    }
}
