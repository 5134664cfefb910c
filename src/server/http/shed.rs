//! What the command `shed_connections` asks for.

use super::router::parameter;

/// How many connections are to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This share of them.
    Percent(u64),
    /// As many as leave so many.
    DownTo(u64),
}

/// What the query must have.
const USAGE: &str = "one of percent=0 to 100 and to=N, the connections that stay, is wanted";

impl Wanted {
    /// Reads a query.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn read(query: &str) -> Result<Self, String> {
        let wrong = |name: &str, value: &str| format!("{name}={value}: {USAGE}");
        let number = |name: &str| {
            let value = parameter(query, name)?;
            Some(value.parse::<u64>().map_err(|_| wrong(name, &value)))
        };
        match (number("percent").transpose()?, number("to").transpose()?) {
            (Some(percent @ 0..=100), None) => Ok(Self::Percent(percent)),
            (Some(percent), None) => Err(wrong("percent", &percent.to_string())),
            (None, Some(stay)) => Ok(Self::DownTo(stay)),
            (Some(_), Some(_)) | (None, None) => Err(USAGE.to_owned()),
        }
    }

    /// How many of so many.
    pub fn of(self, connections: u64) -> u64 {
        match self {
            Self::Percent(percent) => (connections * percent).div_ceil(100),
            Self::DownTo(stay) => connections.saturating_sub(stay),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query says how many go, rounded up, or how many stay; nothing else is taken for either.
    #[test]
    fn queries() {
        for (query, of_50) in [
            ("percent=0", Some(0)),
            ("percent=1", Some(1)),
            ("percent=50", Some(25)),
            ("percent=100", Some(50)),
            ("to=0", Some(50)),
            ("to=49", Some(1)),
            ("to=51", Some(0)),
            ("percent=101", None),
            ("percent=-1", None),
            ("percent=x", None),
            ("percent=1&to=1", None),
            ("to=", None),
            ("", None),
        ] {
            assert_eq!(Wanted::read(query).ok().map(|wanted| wanted.of(50)), of_50, "{query}");
        }
    }
}
