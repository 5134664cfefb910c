//! `--cores`: which CPUs the shards run on.

/// Most entries a list may have.
pub const CORES_MAX: usize = 1024;
/// Greatest CPU number a list may name: Linux' `CONFIG_NR_CPUS` on x86-64 ends at 8192.
pub const CORE_NUMBER_MAX: usize = 8191;

/// Why a `--cores` list was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoresError {
    /// Nothing between two commas, or no list at all.
    #[error("--cores {list:?}: an entry is empty; write CPU numbers and ranges, as in 0-3 or 0,2-3")]
    Empty {
        /// The whole list.
        list: String,
    },
    /// Not a number and not `a-b`.
    #[error("--cores {list:?}: {entry:?} is neither a CPU number nor a range a-b")]
    NotANumber {
        /// The whole list.
        list: String,
        /// The entry at fault.
        entry: String,
    },
    /// A range that ends before it starts.
    #[error("--cores {list:?}: range {entry:?} ends before it starts")]
    Backwards {
        /// The whole list.
        list: String,
        /// The entry at fault.
        entry: String,
    },
    /// A CPU number over [`CORE_NUMBER_MAX`].
    #[error("--cores {list:?}: CPU {cpu} is over the greatest possible one, {CORE_NUMBER_MAX}")]
    TooGreat {
        /// The whole list.
        list: String,
        /// The number at fault.
        cpu: usize,
    },
    /// More than [`CORES_MAX`] entries.
    #[error("--cores {list:?}: more than {CORES_MAX} entries")]
    TooMany {
        /// The whole list.
        list: String,
    },
}

/// Reads `0-7`, `0,2-3`, `0,0,1`: CPU numbers in the order given.
///
/// The order is the order of shards and a number may repeat: two shards then share that CPU. Whether
/// the machine has these CPUs, and may use them, is for the caller to find out.
///
/// # Errors
/// [`CoresError`] names the list and the entry.
pub fn parse_cores(list: &str) -> Result<Vec<usize>, CoresError> {
    let owned = || list.to_owned();
    let mut cores = Vec::new();
    for entry in list.split(',') {
        let entry = entry.trim();
        if entry.is_empty() {
            return Err(CoresError::Empty { list: owned() });
        }
        let number = |text: &str| {
            let text = text.trim();
            // `parse` alone would take a plus sign.
            if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
                return Err(CoresError::NotANumber { list: owned(), entry: entry.to_owned() });
            }
            let cpu = text.parse().unwrap_or(usize::MAX);
            if cpu > CORE_NUMBER_MAX { Err(CoresError::TooGreat { list: owned(), cpu }) } else { Ok(cpu) }
        };
        let (first, last) = match entry.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(entry)?, number(entry)?),
        };
        if first > last {
            return Err(CoresError::Backwards { list: owned(), entry: entry.to_owned() });
        }
        if cores.len() + (last - first) >= CORES_MAX {
            return Err(CoresError::TooMany { list: owned() });
        }
        cores.extend(first..=last);
    }
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers, ranges, repeats and blanks keep their order.
    #[test]
    fn lists() {
        assert_eq!(parse_cores("0"), Ok(vec![0]));
        assert_eq!(parse_cores("0-3"), Ok(vec![0, 1, 2, 3]));
        assert_eq!(parse_cores("0,2-3"), Ok(vec![0, 2, 3]));
        assert_eq!(parse_cores("3,0,0,1"), Ok(vec![3, 0, 0, 1]));
        assert_eq!(parse_cores(" 0 , 1 - 2 "), Ok(vec![0, 1, 2]));
        assert_eq!(parse_cores("5-5"), Ok(vec![5]));
        assert_eq!(parse_cores("0-1023").map(|c| c.len()), Ok(CORES_MAX));
    }

    /// Each kind of mistake is refused with the entry in the message.
    #[test]
    fn mistakes() {
        for (list, words) in [
            ("", "an entry is empty"),
            ("0,,1", "an entry is empty"),
            ("0,", "an entry is empty"),
            ("all", "\"all\" is neither"),
            ("0-", "\"0-\" is neither"),
            ("-1", "\"-1\" is neither"),
            ("1-2-3", "\"1-2-3\" is neither"),
            ("+1", "\"+1\" is neither"),
            ("0,3-1", "range \"3-1\" ends before"),
            ("8192", "CPU 8192 is over"),
            ("99999999999999999999999", "is over"),
            ("0-1024", "more than 1024"),
            ("0-1000,0-1000", "more than 1024"),
        ] {
            let message = parse_cores(list).unwrap_err().to_string();
            assert!(message.contains(words), "{list:?}: {message}");
        }
    }
}
