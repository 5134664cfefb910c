//! Tells the program when it was made and from which commit; both may be unknown.
//!
//! A release build names the commit of its checkout, with `+` after it where files differ from that. Other builds name
//! none: each commit would make them compile everything anew. The date is the commit's or, where there is none, that of
//! `Cargo.toml`, which an archive of a release has from the release. So the same source makes the same program.

#[path = "admin/date.rs"]
mod date;

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-changed=src/admin/date.rs");
    println!("cargo::rerun-if-changed=Cargo.toml");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let commit = if is_release { commit(&root) } else { None };
    let seconds = match &commit {
        Some((_, seconds)) => *seconds,
        None => source_date(&root),
    };
    let built_on = date(seconds);
    let version = env::var("CARGO_PKG_VERSION").expect("cargo says the version");
    let commit = commit.map_or_else(String::new, |(name, _)| format!("{name} "));
    // The day will do for people.
    println!("cargo::rustc-env=ZKFAST_VERSION={version} ({commit}{})", &built_on[..10]);
    println!("cargo::rustc-env=ZKFAST_BUILT_ON={built_on}");
}

/// Name and time of the commit that is checked out at `root`; `None` without git or outside of a repository.
fn commit(root: &str) -> Option<(String, i64)> {
    // An archive that was unpacked in another repository has that one's commits above it.
    if Path::new(&git(root, &["rev-parse", "--show-toplevel"])?).canonicalize().ok()
        != Path::new(root).canonicalize().ok()
    {
        return None;
    }
    for path in ["HEAD", "logs/HEAD"] {
        let path = git(root, &["rev-parse", "--path-format=absolute", "--git-path", path])?;
        // A path that does not exist would have this run at each build.
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for path in ["src", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let name = git(root, &["rev-parse", "--short=10", "HEAD"])?;
    let seconds = git(root, &["log", "-1", "--format=%ct"])?.parse().ok()?;
    let is_changed = git(root, &["status", "--porcelain", "--untracked-files=no"])
        .is_none_or(|changes| !changes.is_empty());
    Some((if is_changed { format!("{name}+") } else { name }, seconds))
}

fn git(root: &str, arguments: &[&str]) -> Option<String> {
    // It changes nothing, not even the index: what is watched would look new at the next build.
    let mut command = Command::new("git");
    let output = command.arg("--no-optional-locks").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Seconds since 1970 that stand for the source without a commit.
fn source_date(root: &str) -> i64 {
    if let Some(given) = env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()) {
        return given;
    }
    let manifest = Path::new(root).join("Cargo.toml");
    let changed = manifest.metadata().and_then(|metadata| metadata.modified()).unwrap_or(UNIX_EPOCH);
    changed.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

/// Seconds since 1970 as `2026-11-23 00:00 UTC`, the shape in which ZooKeeper tells its own.
fn date(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day_of_month) = date::date_of(days);
    format!("{year:04}-{month:02}-{day_of_month:02} {:02}:{:02} UTC", second / 3600, second / 60 % 60)
}
