//! Apache ZooKeeper's jars, fetched by package name with Maven and kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What Maven fetches: the tests use the same file.
const POM: &str = include_str!("../../../tests/setup/zookeeper.pom.xml");
/// The environment variable that names a directory of jars to use.
const GIVEN: &str = "ZKFAST_ZOOKEEPER_LIB";
/// Lines of Maven's output that an error shows.
const LINES_SHOWN: usize = 15;

/// The directory of ZooKeeper's jars of `version`; Maven fetches them if they are not there yet.
///
/// # Errors
/// The message says what is missing and how to get it.
pub fn directory(version: &str) -> Result<PathBuf, String> {
    if !is_version(version) {
        return Err(format!("{version:?} is no version of ZooKeeper; one is 3.9.4"));
    }
    if let Some(given) = env::var_os(GIVEN).filter(|given| !given.is_empty()) {
        let given = PathBuf::from(given);
        return match version_in(&given) {
            Some(found) if found == version => Ok(given),
            Some(found) => Err(format!("{GIVEN}={} holds {found}, not {version}", given.display())),
            None => Err(format!("{GIVEN}={} holds no zookeeper-3.*.jar", given.display())),
        };
    }
    let cache = cache()?;
    let target = cache.join(format!("zookeeper-{version}"));
    if version_in(&target).as_deref() == Some(version) {
        return Ok(target);
    }
    eprintln!("loadgen: fetching Apache ZooKeeper {version} by Maven into {}", target.display());
    fetch(version, &cache, &target)?;
    Ok(target)
}

/// Fetches into a directory beside `target` and renames it: another loadgen that fetches at the same time has the same
/// jars.
fn fetch(version: &str, cache: &Path, target: &Path) -> Result<(), String> {
    let part = cache.join(format!("zookeeper-{version}.{}", std::process::id()));
    let failed = |error: std::io::Error| format!("{}: {error}", part.display());
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part).map_err(failed)?;
    let (pom, jars) = (part.join("pom.xml"), part.join("jars"));
    fs::write(&pom, POM).map_err(failed)?;
    let done = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg(format!("-Dzookeeper.version={version}"))
        .arg("dependency:copy-dependencies")
        .arg(joined("-DoutputDirectory=", &jars))
        .output();
    let result = match done {
        Err(error) => Err(format!("mvn: {error}; on Debian: apt-get install maven")),
        Ok(done) if !done.status.success() => Err(format!(
            "Maven could not fetch ZooKeeper {version}:\n{}\nIs a Maven repository reachable? \
             'mvn help:effective-settings' shows which one is asked; {GIVEN} names a directory of jars.",
            last_lines(&[done.stdout, done.stderr].concat())
        )),
        Ok(_) if version_in(&jars).as_deref() != Some(version) => {
            Err(format!("Maven ended well, but {} holds no zookeeper-{version}.jar", jars.display()))
        }
        Ok(_) => match fs::rename(&jars, target) {
            Err(error) if version_in(target).is_none() => Err(format!("{}: {error}", target.display())),
            _ => Ok(()),
        },
    };
    let _ = fs::remove_dir_all(&part);
    result
}

/// `$XDG_CACHE_HOME/loadgen`, or `~/.cache/loadgen`.
fn cache() -> Result<PathBuf, String> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    let cache = cache.ok_or(format!("neither XDG_CACHE_HOME nor HOME is set: {GIVEN} names the jars"))?;
    Ok(cache.join("loadgen"))
}

fn joined(start: &str, path: &Path) -> OsString {
    let mut joined = OsString::from(start);
    joined.push(path);
    joined
}

/// The version of the server in a directory of jars.
fn version_in(jars: &Path) -> Option<String> {
    fs::read_dir(jars).ok()?.flatten().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix("zookeeper-")?.strip_suffix(".jar")?;
        is_version(version).then(|| version.to_owned())
    })
}

/// Whether a text is a version such as `3.9.4` or `3.5.0-beta`, safe on a command line and in a path.
fn is_version(text: &str) -> bool {
    text.starts_with("3.")
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || ".-".contains(letter))
}

fn last_lines(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that is no version is refused, because it would become part of a path and of a command.
    #[test]
    fn versions() {
        for version in ["3.9.4", "3.5.0-beta", "3.10.0"] {
            assert!(is_version(version), "{version}");
        }
        for wrong in ["", "4.0.0", "3.9/../..", "3.9.4 -X", "latest", "3.9.4\n"] {
            assert!(
                directory(wrong).is_err_and(|error| error.contains("no version of ZooKeeper")),
                "{wrong}"
            );
        }
    }

    /// The name of the server's jar has the version, those of other jars do not; a missing directory has none.
    #[test]
    fn version_of_jars() {
        let directory = env::temp_dir().join(format!("loadgen-jars-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        fs::write(directory.join("zookeeper-jute-3.9.4.jar"), "").expect("a file");
        assert_eq!(version_in(&directory), None);
        fs::write(directory.join("zookeeper-3.9.4.jar"), "").expect("a file");
        assert_eq!(version_in(&directory).as_deref(), Some("3.9.4"));
        fs::remove_dir_all(&directory).expect("ours");
        assert_eq!(version_in(&directory), None);
    }

    /// An error shows the last lines of Maven's output, not all.
    #[test]
    fn last_lines_are_shown() {
        let text: String = (0..40).map(|line| format!("{line}\n")).collect();
        assert!(
            last_lines(text.as_bytes()).starts_with("25\n") && last_lines(text.as_bytes()).ends_with("39")
        );
    }
}
