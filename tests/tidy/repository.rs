//! The files of the repository.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn exists(path: &str) -> bool {
    root().join(path).is_file()
}

/// Paths from the root, with `/`, sorted: what git tracks or would track; all files in an export without git.
pub fn tracked_files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output();
    let mut files = match listed {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)
            .expect("paths are UTF-8")
            .split_terminator('\0')
            .filter(|path| root().join(path).is_file())
            .map(str::to_owned)
            .collect(),
        _ => walk(root()),
    };
    files.sort();
    assert!(files.iter().any(|path| path == "Cargo.toml"), "the listing lacks Cargo.toml: {files:?}");
    files
}

pub fn walk(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_file() {
            files.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        } else if path.is_dir() && ![".git", "target"].contains(&entry.file_name().to_str().unwrap()) {
            files.extend(walk(&path));
        }
    }
    files
}

pub fn rust_files(folder: &str) -> Vec<String> {
    let mut files = walk(&root().join(folder));
    files.retain(|path| path.ends_with(".rs"));
    files.sort();
    assert!(!files.is_empty(), "no Rust file in {folder}");
    files
}

pub fn is_in(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path == *place || (place.ends_with('/') && path.starts_with(place)))
}

/// What cargo compiles without a `mod`: lib.rs, main.rs, build.rs, bin/NAME.rs and bin/NAME/main.rs.
pub fn is_crate_root(path: &str, member: &str) -> bool {
    let inside = path.strip_prefix(member).unwrap().trim_start_matches('/');
    let parts: Vec<&str> = inside.split('/').collect();
    matches!(parts[..], ["lib.rs" | "main.rs" | "build.rs"] | ["bin", _] | ["bin", _, "main.rs"])
}

/// `target` as seen from the folder of `path`, both from the root; `None` if it leads out of the repository.
pub fn beside(path: &str, target: &str) -> Option<String> {
    let mut whole = PathBuf::new();
    for part in Path::new(path).parent()?.join(target).components() {
        match part {
            Component::ParentDir if !whole.pop() => return None,
            Component::ParentDir => {}
            Component::Normal(name) => whole.push(name),
            _ => {}
        }
    }
    whole.to_str().map(str::to_owned)
}
