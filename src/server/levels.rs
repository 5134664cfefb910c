//! Which log lines are written: a level for all, and levels for some targets.

use log::{LevelFilter, Metadata};

/// Targets of log lines: the parts of the server that write them.
pub const TARGETS: [&str; 16] = [
    "audit", "cli", "cnxn", "config", "dev", "http", "import", "listener", "log", "peers", "recovery",
    "server", "session", "slow", "snapshot", "zab",
];

/// What `--log-level` says: `info`, or `info,cnxn=debug,audit=off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Of targets that are not named.
    all: LevelFilter,
    by_target: Vec<(&'static str, LevelFilter)>,
}

impl Levels {
    /// The same level for every target.
    pub const fn all(level: LevelFilter) -> Self {
        Self { all: level, by_target: Vec::new() }
    }

    /// Reads a list separated by commas. One entry at most is a level for all targets; without it they have `default`.
    ///
    /// # Errors
    /// What is wrong, with what may stand there.
    pub fn parse(text: &str, default: LevelFilter) -> Result<Self, String> {
        let mut levels = Self::all(default);
        let mut is_given = false;
        for entry in text.split(',').map(str::trim) {
            let (target, level) = entry.split_once('=').map_or((None, entry), |(t, level)| (Some(t), level));
            let level = level.parse().map_err(|_| {
                format!(
                    "{level:?} is no level: off, error, warn, info, debug or trace, as in info,cnxn=debug"
                )
            })?;
            let Some(target) = target else {
                if std::mem::replace(&mut is_given, true) {
                    return Err(format!("{entry:?} is a second level for all targets"));
                }
                levels.all = level;
                continue;
            };
            let known = TARGETS.into_iter().find(|known| *known == target);
            let known = known.ok_or_else(|| format!("{target:?} is no target: {}", TARGETS.join(", ")))?;
            if levels.by_target.iter().any(|(named, _)| *named == known) {
                return Err(format!("{entry:?} is a second level for target {target}"));
            }
            levels.by_target.push((known, level));
        }
        Ok(levels)
    }

    /// The least severe level that any target writes.
    pub fn max(&self) -> LevelFilter {
        self.by_target.iter().fold(self.all, |max, (_, level)| max.max(*level))
    }

    /// True if a line is written.
    pub fn allows(&self, metadata: &Metadata<'_>) -> bool {
        let named = self.by_target.iter().find(|(target, _)| *target == metadata.target());
        metadata.level() <= named.map_or(self.all, |(_, level)| *level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    /// A target has the level that is named for it, others the one for all; what cannot be read is named.
    #[test]
    fn by_target() {
        let levels = Levels::parse("warn, cnxn=debug,audit=OFF", LevelFilter::Info).expect("levels");
        let allows = |target, level| levels.allows(&Metadata::builder().target(target).level(level).build());
        assert!(allows("cnxn", Level::Debug) && !allows("cnxn", Level::Trace));
        assert!(!allows("audit", Level::Error));
        assert!(allows("server", Level::Warn) && !allows("server", Level::Info));
        assert_eq!(levels.max(), LevelFilter::Debug);
        let default = Levels::parse("http=error", LevelFilter::Info).expect("levels");
        assert_eq!(default.max(), LevelFilter::Info);
        for (text, why) in [
            ("loud", "\"loud\" is no level: off, error, warn, info, debug or trace, as in info,cnxn=debug"),
            ("info,debug", "\"debug\" is a second level for all targets"),
            ("zab=info,zab=warn", "\"zab=warn\" is a second level for target zab"),
            ("info,", "\"\" is no level: off, error, warn, info, debug or trace, as in info,cnxn=debug"),
        ] {
            assert_eq!(Levels::parse(text, LevelFilter::Info), Err(why.to_owned()), "{text}");
        }
        let unknown = Levels::parse("cnxns=info", LevelFilter::Info).expect_err("no such target");
        assert!(unknown.starts_with("\"cnxns\" is no target: audit, cli, cnxn"), "{unknown}");
    }
}
