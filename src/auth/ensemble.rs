//! Scheme `ensemble`: a client says which ensemble it means to be connected to, and is turned away where that is another one.
//!
//! It proves nothing, and no list has entries of it.
//!
//! Source: `EnsembleAuthenticationProvider`, Apache ZooKeeper 3.9.4.

use std::collections::BTreeSet;

/// The scheme's name.
pub const SCHEME: &[u8] = b"ensemble";

/// The names that an ensemble answers to; `None` where it was given none, and so answers to all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnsembleNames(Option<BTreeSet<String>>);

/// What becomes of the name in an auth packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnsembleCheck {
    /// The packet has no name, or the ensemble was given none.
    Skipped,
    /// It is one of the ensemble's.
    Matched,
    /// It is another one's: the connection ends without an answer, so that the client tries another server. An error would
    /// end its session.
    Other,
}

impl EnsembleNames {
    /// The value of `ensembleAuthName`: names by commas, with blanks around them or not.
    pub fn parse(list: Option<&str>) -> Self {
        // `String.split` leaves empty parts at the end out, and `String.trim` takes all up to a blank for one.
        let names = |list: &str| {
            let parts: Vec<&str> = list.split(',').collect();
            let end = parts.iter().rposition(|part| !part.is_empty()).map_or(0, |last| last + 1);
            let kept = if list.is_empty() { &parts[..] } else { &parts[..end] };
            kept.iter().map(|part| part.trim_matches(|c| c <= ' ').to_owned()).collect()
        };
        Self(list.map(names))
    }

    /// Compares the bytes of an auth packet with the names.
    pub fn check(&self, auth: Option<&[u8]>) -> EnsembleCheck {
        match (&self.0, auth) {
            (None, _) | (_, None | Some([])) => EnsembleCheck::Skipped,
            (Some(names), Some(auth)) => match names.contains(&*String::from_utf8_lossy(auth)) {
                true => EnsembleCheck::Matched,
                false => EnsembleCheck::Other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names are taken apart as Java does it, and compared to the letter.
    #[test]
    fn names() {
        let names = EnsembleNames::parse(Some(" blue,green ,, red,"));
        for (auth, expected) in [
            (Some(&b"blue"[..]), EnsembleCheck::Matched),
            (Some(b"green"), EnsembleCheck::Matched),
            (Some(b"red"), EnsembleCheck::Matched),
            (Some(b"Blue"), EnsembleCheck::Other),
            (Some(b" blue"), EnsembleCheck::Other),
            (Some(b"\xFF"), EnsembleCheck::Other),
            (Some(b""), EnsembleCheck::Skipped),
            (None, EnsembleCheck::Skipped),
        ] {
            assert_eq!(names.check(auth), expected, "{auth:?}");
        }
        assert_eq!(EnsembleNames::parse(None).check(Some(b"any")), EnsembleCheck::Skipped);
        for no_name in ["", ","] {
            assert_eq!(EnsembleNames::parse(Some(no_name)).check(Some(b"any")), EnsembleCheck::Other);
        }
    }
}
