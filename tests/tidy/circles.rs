//! Arrows between modules of `src`, and that they lead round no circle: what stands below knows nothing of what stands
//! above, so that a reader can begin at the bottom.
//!
//! An arrow is a path that begins with `crate`, `super`, `self` or a module within, in code that is not a test's. A name
//! that the module on the way has imported leads on to where it comes from, so that `super::View` is an arrow to the file
//! that has `View` and not to the `mod.rs` that shows it. Names that come by `*` and macros by name are not followed.

use crate::debts::{self, Counts};
use crate::repository::{read, rust_files};
use crate::rust::{before_tests, code_of, is_test_file, is_word, words};
use std::collections::{BTreeMap, BTreeSet};

/// Top-level modules do not know each other in a circle.
#[test]
fn folders_form_no_circle() {
    let found: Counts = circles(&folder_arrows(&arrows(&modules_of_src())))
        .iter()
        .map(|circle| (circle.iter().cloned().collect::<Vec<_>>().join(","), circle.len()))
        .collect();
    debts::hold("folder-circle", &found, "turn an arrow round, or move what both need below them");
}

/// Files do not know each other in a circle. Counted are the files of a folder that stand in one.
#[test]
fn files_form_no_circle() {
    let mut found = Counts::new();
    for file in circles(&arrows(&modules_of_src())).iter().flatten() {
        *found.entry(file.rsplit_once('/').unwrap().0.to_owned()).or_insert(0) += 1;
    }
    debts::hold(
        "file-circle",
        &found,
        "see the circles with `ZKFAST_TIDY=circles cargo test --test tidy -- --nocapture`",
    );
}

/// Arrows from a node to others.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// A file of the library.
struct Module {
    file: String,
    code: String,
    uses: Vec<Import>,
}

/// One name that a `use` brings in.
#[derive(Clone, Debug, PartialEq)]
struct Import {
    /// As written, from `crate`, `super`, `self` or a name.
    path: Vec<String>,
    /// What it is called here.
    name: String,
    /// `pub use`: shown to others, which is no use of it.
    is_shown: bool,
}

/// The library's modules by path from its root (`["zab", "leader"]`), without tests.
type Modules = BTreeMap<Vec<String>, Module>;

fn modules_of_src() -> Modules {
    let files = rust_files("src");
    let files = files.iter().filter(|file| !["src/main.rs", "src/build.rs"].contains(&file.as_str()));
    let files = files.filter(|file| !is_test_file(file, &read));
    let modules: Modules = files.map(|file| module(file, &read(file))).collect();
    assert!(modules.len() > 100, "the modules are not found: {}", modules.len());
    modules
}

fn module(file: &str, text: &str) -> (Vec<String>, Module) {
    let inside = file.strip_prefix("src/").unwrap().trim_end_matches(".rs").trim_end_matches("/mod");
    let path = if inside == "lib" { Vec::new() } else { inside.split('/').map(str::to_owned).collect() };
    let code = code_of(before_tests(text));
    (path, Module { file: file.to_owned(), uses: imports(&code), code })
}

/// Which file uses which.
fn arrows(modules: &Modules) -> Arrows {
    let mut arrows = Arrows::new();
    for (at, module) in modules {
        let mut targets = BTreeSet::new();
        let uses = module.uses.iter().filter(|import| !import.is_shown).map(|import| import.path.clone());
        for path in uses.chain(paths(&module.code, at, modules)) {
            targets.extend(target(modules, at, &path, 8));
        }
        targets.remove(&module.file);
        arrows.insert(module.file.clone(), targets);
    }
    arrows
}

/// The file that a path written in module `at` leads to; `None` if out of the library.
fn target(modules: &Modules, at: &[String], path: &[String], hops_max: usize) -> Option<String> {
    let (first, mut rest) = path.split_first()?;
    let mut here = match first.as_str() {
        "crate" => Vec::new(),
        "self" => at.to_vec(),
        "super" => at.split_last()?.1.to_vec(),
        name => {
            let within = [at, &[name.to_owned()]].concat();
            modules.contains_key(&within).then_some(within)?
        }
    };
    while let Some((name, after)) = rest.split_first() {
        let within = [&here[..], std::slice::from_ref(name)].concat();
        if name == "super" {
            here.pop()?;
        } else if modules.contains_key(&within) {
            here = within;
        } else {
            let import = modules.get(&here)?.uses.iter().find(|import| import.name == *name);
            let onward = import
                .filter(|_| hops_max > 0)
                .and_then(|import| target(modules, &here, &[&import.path[..], after].concat(), hops_max - 1));
            return onward.or(Some(modules.get(&here)?.file.clone()));
        }
        rest = after;
    }
    Some(modules.get(&here)?.file.clone())
}

/// Paths outside `use` that begin with `crate`, `super`, `self` or the name of a module within.
fn paths(code: &str, at: &[String], modules: &Modules) -> Vec<Vec<String>> {
    let within = modules.keys().filter(|path| path.len() == at.len() + 1 && path.starts_with(at));
    let names = within.map(|path| path[at.len()].as_str()).chain(["crate", "super", "self"]);
    let mut found = Vec::new();
    for name in names {
        for place in words(code, name) {
            let before = &code[..place];
            // The middle of a path; a `use`, which is read elsewhere; `pub(in path)`.
            if before.ends_with("::") || is_in_use(before) || before.ends_with("(in ") {
                continue;
            }
            let path = expand(&code[place..]);
            found.extend(path.into_iter().map(|(path, _)| path).filter(|path| path.len() > 1));
        }
    }
    found
}

/// Whether the statement that `before` ends within is a `use`.
fn is_in_use(before: &str) -> bool {
    let Some(at) = before.rfind("use ") else { return false };
    let is_whole = !before[..at].bytes().next_back().is_some_and(is_word);
    is_whole && !before[at..].contains(';')
}

/// The names that `use` statements bring in; not those of `*`.
fn imports(code: &str) -> Vec<Import> {
    let mut imports = Vec::new();
    for at in words(code, "use") {
        let line = code[..at].rsplit('\n').next().unwrap_or("").trim();
        if !(line.is_empty() || line.starts_with("pub") || line.ends_with('{') || line.ends_with(';')) {
            continue;
        }
        let statement = code[at + "use".len()..].split(';').next().unwrap_or("");
        for (path, name) in expand(statement.trim_start()) {
            let name = name.unwrap_or_else(|| path.last().unwrap().clone());
            imports.push(Import { path, name, is_shown: line.starts_with("pub") });
        }
    }
    imports
}

/// The paths of `a::{b, c::{self, d as e}}`, each with what it is renamed to.
fn expand(text: &str) -> Vec<(Vec<String>, Option<String>)> {
    let text = text.trim_start();
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let rest = text[name.len()..].trim_start();
    if name.is_empty() {
        return match text.strip_prefix('{') {
            Some(group) => top_level(group).iter().flat_map(|part| expand(part)).collect(),
            None => Vec::new(),
        };
    }
    let mut found = match rest.strip_prefix("::") {
        Some(rest) => expand(rest),
        None => {
            let renamed = rest
                .strip_prefix("as ")
                .map(|new| new.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            vec![(Vec::new(), renamed)]
        }
    };
    // `a::*`, and a turbofish.
    if found.is_empty() {
        found.push((Vec::new(), None));
    }
    for (path, _) in &mut found {
        // `{self}` in a group is the module before it.
        if path.first().is_some_and(|first| first == "self") {
            path.clear();
        }
        path.insert(0, name.clone());
    }
    found
}

/// The parts of a group after its opening brace, as far as its closing one.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            b'}' => {
                parts.push(&group[start..at]);
                break;
            }
            _ => {}
        }
    }
    parts
}

/// Arrows between the library's top-level modules. Its root, which only lists them, is none.
fn folder_arrows(files: &Arrows) -> Arrows {
    let top = |file: &str| {
        let inside = file.strip_prefix("src/").unwrap();
        inside.split('/').next().unwrap().trim_end_matches(".rs").to_owned()
    };
    let mut folders = Arrows::new();
    for (from, targets) in files {
        let from = top(from);
        let others = targets.iter().map(|to| top(to)).filter(|to| *to != from && to != "lib");
        folders.entry(from.clone()).or_default().extend(others);
    }
    folders.remove("lib");
    folders
}

/// Sets of nodes that reach each other; those of one node are left out.
fn circles(arrows: &Arrows) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        arrows.keys().map(|from| (from, reached_from(arrows, from))).collect();
    let mut circles: Vec<BTreeSet<String>> = Vec::new();
    for from in arrows.keys().filter(|from| reached[from].contains(from)) {
        if circles.iter().any(|circle| circle.contains(from)) {
            continue;
        }
        let back = reached[from].iter().filter(|to| reached.get(**to).is_some_and(|r| r.contains(from)));
        circles.push(back.map(|to| (*to).clone()).collect());
    }
    if std::env::var("ZKFAST_TIDY").is_ok_and(|what| what == "circles") {
        for circle in &circles {
            show(arrows, circle);
        }
    }
    circles
}

/// Writes the arrows within a circle.
fn show(arrows: &Arrows, circle: &BTreeSet<String>) {
    for from in circle {
        let within: Vec<&String> = arrows[from].iter().filter(|to| circle.contains(*to)).collect();
        eprintln!("{from} -> {within:?}");
    }
    eprintln!();
}

/// Nodes that one or more arrows lead to.
fn reached_from<'a>(arrows: &'a Arrows, from: &'a String) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut queue = vec![from];
    while let Some(node) = queue.pop() {
        for to in arrows.get(node).into_iter().flatten() {
            if reached.insert(to) {
                queue.push(to);
            }
        }
    }
    reached
}

mod circles_are_found {
    use super::*;

    fn modules(files: &[(&str, &str)]) -> Modules {
        files.iter().map(|(file, text)| module(file, text)).collect()
    }

    fn targets(modules: &Modules, file: &str) -> Vec<String> {
        arrows(modules)[file].iter().cloned().collect()
    }

    /// Paths in groups, with new names, of parents and of modules within are arrows.
    #[test]
    fn forms() {
        let modules = modules(&[
            ("src/lib.rs", "pub mod a;\npub mod b;\npub mod c;\npub mod d;\n"),
            ("src/a.rs", "use crate::{b::{self, B}, c::C as D};\nfn f() { crate::d::g() }\n"),
            ("src/b/mod.rs", "mod inner;\npub mod other;\nfn f() { inner::g() }\n"),
            ("src/b/inner.rs", "use super::other::X;\nuse std::fs;\nfn h() { super::super::c::i() }\n"),
            ("src/b/other.rs", "pub struct X;\n// crate::a\n"),
            ("src/c.rs", "pub(in crate::a) fn i() {}\n#[cfg(test)]\nmod tests { use crate::a; }\n"),
            ("src/d.rs", ""),
        ]);
        assert_eq!(targets(&modules, "src/a.rs"), ["src/b/mod.rs", "src/c.rs", "src/d.rs"]);
        assert_eq!(targets(&modules, "src/b/mod.rs"), ["src/b/inner.rs"]);
        assert_eq!(targets(&modules, "src/b/inner.rs"), ["src/b/other.rs", "src/c.rs"]);
        assert_eq!(targets(&modules, "src/c.rs"), [""; 0]);
        assert_eq!(circles(&arrows(&modules)), []);
    }

    /// A name that a module shows leads to the file that has it, and showing it is no arrow.
    #[test]
    fn shown() {
        let modules = modules(&[
            ("src/a/mod.rs", "mod view;\nmod user;\npub use view::{View};\npub struct Own;\n"),
            ("src/a/view.rs", "pub struct View;\n"),
            ("src/a/user.rs", "use super::View;\n"),
            ("src/b.rs", "use crate::a::{Own, View};\n"),
        ]);
        assert_eq!(targets(&modules, "src/a/mod.rs"), [""; 0]);
        assert_eq!(targets(&modules, "src/a/user.rs"), ["src/a/view.rs"]);
        assert_eq!(targets(&modules, "src/b.rs"), ["src/a/mod.rs", "src/a/view.rs"]);
    }

    /// Circles of two and of more are found, also between folders where none is between files.
    #[test]
    fn circle() {
        let modules = modules(&[
            ("src/a/mod.rs", "mod x;\nmod y;\n"),
            ("src/a/x.rs", "use crate::b::B;\n"),
            ("src/a/y.rs", "pub struct Y;\n"),
            ("src/b.rs", "use crate::a::y::Y;\n"),
            ("src/c.rs", "use crate::d;\n"),
            ("src/d.rs", "fn f() { crate::e::f() }\n"),
            ("src/e.rs", "use super::c;\n"),
        ]);
        let arrows = arrows(&modules);
        let named = |circles: Vec<BTreeSet<String>>| -> Vec<String> {
            circles.iter().map(|c| c.iter().cloned().collect::<Vec<_>>().join(" ")).collect()
        };
        assert_eq!(named(circles(&arrows)), ["src/c.rs src/d.rs src/e.rs"]);
        assert_eq!(named(circles(&folder_arrows(&arrows))), ["a b", "c d e"]);
    }
}
