//! Promises about the source itself, as tests: what the core may touch, what may stand in the repository, that no
//! file is dead and no link dangles. Each rule is a function from text to findings, and is shown to find something.
//! Rules that the source does not keep everywhere yet stand in modules of their own, with what is left in `debts.txt`.

mod circles;
mod debts;
mod dialect;
mod pages;
mod repository;
mod rust;
mod sizes;

use repository::{beside, is_crate_root, is_in, read, root, rust_files, tracked_files};
use rust::{before_tests, code_of, declared_modules, is_word, line_of, words};
use std::collections::BTreeSet;
use std::fs;

/// The shell: the only places that may know files, sockets, threads, clocks and the environment.
const SHELL: [&str; 8] = [
    "src/server/",
    "src/kerberos/",
    "src/tls/",
    "src/tool/",
    "src/client/login.rs",
    "src/client/net.rs",
    "src/main.rs",
    "src/build.rs",
];

/// The only places that may name the runtime, so that another one can stand in where io_uring is forbidden.
const RUNTIME: [&str; 1] = ["src/server/rt/"];

/// The only places that may name what serves HTTP.
const HTTP: [&str; 1] = ["src/server/http/"];

/// The crates of these places.
const RUNTIME_CRATES: [&str; 1] = ["glommio"];
const HTTP_CRATES: [&str; 3] = ["hyper", "hyper_util", "tokio"];

/// First path segments under `std` that belong to the shell. `core::net::IpAddr` is data and stays allowed.
const WORLD_MODULES: [&str; 5] = ["fs", "net", "thread", "env", "process"];

/// Names that read a clock or draw a random number nobody seeded, however they were imported.
const WORLD_NAMES: [&str; 6] =
    ["Instant::now", "SystemTime::now", "UNIX_EPOCH.elapsed", "RandomState", "thread_rng", "getrandom"];

/// Strings that would tie the repository to one machine or to what lies beside it. Split, so that this file is clean.
const FOREIGN: [&str; 6] = [
    concat!("../", "shared"),
    concat!("/", "work/"),
    concat!("/tmp/", "w/"),
    concat!("/", "root/"),
    concat!("/", "home/"),
    concat!("/", "Users/"),
];

/// Only the runtime's own module names glommio, so that it can be replaced in one place.
#[test]
fn only_the_runtime_module_names_glommio() {
    let mut findings = Vec::new();
    for path in rust_files("src") {
        if !is_in(&path, &RUNTIME) {
            findings.extend(crate_findings(&path, &read(&path), &RUNTIME_CRATES));
        }
    }
    assert_none(&findings, "the runtime is named outside src/server/rt");
}

/// Only the HTTP server names hyper and tokio: no other thread runs on them.
#[test]
fn only_the_http_server_names_hyper_and_tokio() {
    let mut findings = Vec::new();
    for path in rust_files("src") {
        if !is_in(&path, &HTTP) {
            findings.extend(crate_findings(&path, &read(&path), &HTTP_CRATES));
        }
    }
    assert_none(&findings, "hyper or tokio is named outside src/server/http");
}

/// The core is a function of its inputs: no file, socket, thread, environment, clock or unseeded randomness in it.
#[test]
fn the_core_does_not_know_the_world() {
    let mut findings = Vec::new();
    for path in rust_files("src") {
        if !is_in(&path, &SHELL) {
            findings.extend(world_findings(&path, &read(&path)));
        }
    }
    assert_none(&findings, "the world is named in the core");
}

/// Each place that a rule lets through is there: a rule that guards what is gone guards nothing.
#[test]
fn the_places_of_rules_exist() {
    let places = SHELL.iter().chain(&RUNTIME).chain(&HTTP);
    let missing: Vec<String> =
        places.filter(|place| !root().join(place).exists()).map(|p| p.to_string()).collect();
    assert_none(&missing, "a rule names a place that does not exist");
}

/// A clone works alone: nothing in it names a folder of the machine on which it was written.
#[test]
fn no_file_names_a_machine() {
    let mut findings = Vec::new();
    for path in tracked_files() {
        if let Ok(text) = fs::read_to_string(root().join(&path)) {
            findings.extend(foreign_findings(&path, &text));
        }
    }
    assert_none(&findings, "a path of one machine stands in the repository");
}

/// Every relative link in the documentation leads to a file, and to a heading where it names one.
#[test]
fn links_in_markdown_resolve() {
    let mut findings = Vec::new();
    for path in tracked_files().iter().filter(|path| path.ends_with(".md")) {
        findings
            .extend(link_findings(path, &read(path), &|target| fs::read_to_string(root().join(target)).ok()));
    }
    assert_none(&findings, "a link leads nowhere");
}

/// No file in a src folder is dead: the compiler reads every Rust file, rustdoc shows every page.
#[test]
fn every_source_file_is_reached() {
    let mut findings = Vec::new();
    for member in ["src", "loadgen/src", "tests/it", "tests/tidy", "tests/fuzz", "tests/loom"]
        .into_iter()
        .filter(|member| root().join(member).is_dir())
    {
        let files = rust_files(member);
        let roots = files.iter().filter(|path| is_crate_root(path, member)).cloned();
        findings.extend(dead_files(&files, roots.collect(), &|path| read(path)));
    }
    let sources: Vec<String> = rust_files("src").iter().map(|path| read(path)).collect();
    for page in tracked_files().iter().filter(|path| path.starts_with("src/") && path.ends_with(".md")) {
        let name = page.rsplit('/').next().unwrap();
        if !sources.iter().any(|text| text.contains("include_str!") && text.contains(name)) {
            findings.push(format!("{page}: no module shows it with include_str!"));
        }
    }
    assert_none(&findings, "a file that nothing reads");
}

/// All code of others comes from the registry, at a version and with a checksum.
#[test]
fn crates_come_from_the_registry() {
    assert_none(&source_findings(&read("Cargo.lock")), "a crate comes from elsewhere");
}

/// Every metric has code that records it: a number that stays 0 looks like a measurement.
#[test]
fn every_metric_is_recorded() {
    let declared = read("src/admin/metrics.rs");
    let sources: Vec<String> = rust_files("src")
        .iter()
        .filter(|path| !path.starts_with("src/admin/") && !path.ends_with("tests.rs"))
        .map(|path| read(path))
        .collect();
    assert!(metric_fields(&declared).len() > 60, "the fields are not found");
    assert_none(&unrecorded(&declared, &sources), "a metric that no code records");
}

// The rules.

/// The fields of the `group!`s of a file.
fn metric_fields(declared: &str) -> Vec<&str> {
    let groups = declared.split("\ngroup! {").skip(1);
    let bodies = groups.map(|group| group.split("\n}").next().unwrap_or(group));
    let lines = bodies.flat_map(str::lines);
    let names = lines.filter_map(|line| line.trim().split_once(": \"").map(|(name, _)| name));
    names.filter(|name| name.bytes().all(is_word)).collect()
}

/// Fields to which no source adds: `.name.record...`, `.name +=`, or `&mut a.name`, from which something else does.
fn unrecorded(declared: &str, sources: &[String]) -> Vec<String> {
    let code: Vec<String> = sources.iter().map(|text| code_of(before_tests(text))).collect();
    let is_recorded = |name: &str| {
        code.iter().any(|code| {
            words(code, name).any(|at| {
                let (before, after) = (&code[..at], code[at + name.len()..].trim_start());
                let Some(owner) = before.strip_suffix('.') else { return false };
                let owner = owner.trim_end_matches(|c: char| c.is_alphanumeric() || "_.()".contains(c));
                after.starts_with("+=") || after.starts_with(".record") || owner.ends_with("&mut ")
            })
        })
    };
    let silent = metric_fields(declared).into_iter().filter(|name| !is_recorded(name));
    silent.map(|name| format!("src/admin/metrics.rs: {name}")).collect()
}

/// Packages of a lock file that are neither of this workspace nor from the registry with a checksum.
fn source_findings(lock: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"'))
        };
        let name = field("name").expect("a package has a name");
        let is_ours = ["zkfast", "loadgen"].contains(&name) && field("source").is_none();
        let is_registered = field("source") == Some("registry+https://github.com/rust-lang/crates.io-index")
            && field("checksum").is_some();
        if !is_ours && !is_registered {
            findings.push(format!("Cargo.lock: {name} from {:?}", field("source")));
        }
    }
    findings
}

fn crate_findings(path: &str, text: &str, crates: &[&str]) -> Vec<String> {
    let code = code_of(text);
    let finding = |name: &str, at| format!("{path}:{}: {name}", line_of(&code, at));
    crates.iter().flat_map(|name| words(&code, name).map(move |at| finding(name, at))).collect()
}

fn world_findings(path: &str, text: &str) -> Vec<String> {
    let code = code_of(text);
    let mut findings = Vec::new();
    for at in words(&code, "std") {
        let Some(rest) = code[at + "std".len()..].trim_start().strip_prefix("::") else { continue };
        for module in first_segments(rest) {
            if WORLD_MODULES.contains(&module.as_str()) {
                findings.push(format!("{path}:{}: std::{module}", line_of(&code, at)));
            }
        }
    }
    for name in WORLD_NAMES {
        findings.extend(words(&code, name).map(|at| format!("{path}:{}: {name}", line_of(&code, at))));
    }
    findings
}

/// The names that may follow `std::` in a path: one, or those at the top of a `{...}` group.
fn first_segments(rest: &str) -> Vec<String> {
    let rest = rest.trim_start();
    let name =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut start, mut segments) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                segments.push(name(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                segments.push(name(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    segments
}

fn foreign_findings(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for name in FOREIGN {
            if line.contains(name) {
                findings.push(format!("{path}:{}: {name}", number + 1));
            }
        }
    }
    findings
}

/// `open` gives the text of a file that is named from the repository's root; `None` where it has no text.
fn link_findings(path: &str, text: &str, open: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut findings = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in link_targets(line) {
            // rustdoc resolves paths of items; the doc step fails where one dangles.
            if target.contains("://") || target.starts_with("mailto:") || target.contains("::") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let found = match if file.is_empty() { Some(path.to_owned()) } else { beside(path, file) } {
                None => false,
                Some(file) => match open(&file) {
                    Some(text) => {
                        heading.is_empty() || !file.ends_with(".md") || anchors(&text).contains(heading)
                    }
                    // A folder, or a picture.
                    None => heading.is_empty() && root().join(&file).exists(),
                },
            };
            if !found {
                findings.push(format!("{path}:{}: {target}", number + 1));
            }
        }
    }
    findings
}

/// Targets of `[text](target)` and of `[name]: target` in one line outside a code block.
fn link_targets(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("](") {
        // What stands in backticks is code.
        let quoted = line[..line.len() - rest.len() + at].matches('`').count() % 2 == 1;
        rest = &rest[at + 2..];
        let target = &rest[..rest.find([')', ' ']).unwrap_or(rest.len())];
        if !quoted && !target.is_empty() {
            targets.push(target);
        }
    }
    if let Some((name, target)) = line.split_once("]: ")
        && name.starts_with('[')
    {
        targets.extend(target.split_whitespace().next());
    }
    targets
}

/// Names under which a page's headings can be linked: lower case, spaces as hyphens, punctuation dropped.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// Files that no `mod` declaration leads to, from `roots` on.
fn dead_files(files: &[String], roots: Vec<String>, open: &dyn Fn(&str) -> String) -> Vec<String> {
    let mut reached = BTreeSet::new();
    let mut queue = roots.clone();
    while let Some(path) = queue.pop() {
        if !files.contains(&path) || !reached.insert(path.clone()) {
            continue;
        }
        let (folder, file) = path.rsplit_once('/').unwrap();
        let owns_folder = file == "mod.rs" || roots.contains(&path);
        let children = if owns_folder { folder.to_owned() } else { path.trim_end_matches(".rs").to_owned() };
        for name in declared_modules(&code_of(&open(&path))) {
            queue.push(format!("{children}/{name}.rs"));
            queue.push(format!("{children}/{name}/mod.rs"));
        }
    }
    files
        .iter()
        .filter(|path| !reached.contains(*path))
        .map(|path| format!("{path}: no mod leads to it"))
        .collect()
}

fn assert_none(findings: &[String], what: &str) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}

mod rules_find_what_is_wrong {
    use super::*;

    /// The runtime is found in code and in imports, not in comments, strings or longer names.
    #[test]
    fn runtime() {
        let bad = "use glommio::timer;\nfn f() { ::glommio::spawn_local(x) }\n";
        assert_eq!(crate_findings("a.rs", bad, &RUNTIME_CRATES), ["a.rs:1: glommio", "a.rs:2: glommio"]);
        let good = "//! glommio runs this\nconst A: &str = \"glommio\"; /* glommio */ fn glommio_like() {}\n";
        assert_eq!(crate_findings("a.rs", good, &RUNTIME_CRATES), [""; 0]);
        let http = "use tokio::net;\nuse hyper_util::rt;\nmod my_tokio;\n";
        assert_eq!(crate_findings("a.rs", http, &HTTP_CRATES), ["a.rs:2: hyper_util", "a.rs:1: tokio"]);
    }

    /// Files, sockets, threads, clocks, the environment and unseeded randomness are found in every form of import.
    #[test]
    fn world() {
        let found = |text| world_findings("a.rs", text).iter().map(|f| f[7..].to_owned()).collect::<Vec<_>>();
        assert_eq!(found("use std::fs;"), [" std::fs"]);
        assert_eq!(found("use std::{rc::Rc, net::{IpAddr}, fmt, thread};"), [" std::net", " std::thread"]);
        assert_eq!(found("use std::{\n    collections::{BTreeMap},\n    env,\n};"), [" std::env"]);
        assert_eq!(found("let home = ::std :: env::var(\"HOME\");"), [" std::env"]);
        assert_eq!(found("use std::time::Instant; let t = Instant::now();"), [" Instant::now"]);
        assert_eq!(found("let t = std::time::SystemTime::now();"), [" SystemTime::now"]);
        assert_eq!(found("HashMap::with_hasher(RandomState::new())"), [" RandomState"]);
    }

    /// What only looks like it is let through: comments, strings, `core::net`, `std::time::Duration`.
    #[test]
    fn not_world() {
        let good = "// std::fs\n/* std::net /* std::env */ */\nuse core::net::IpAddr;\nuse std::time::Duration;\n\
                    const A: &str = \"std::fs \\\" std::net\";\nconst B: &str = r#\"std::env \"#;\n\
                    const C: char = '\"'; fn f<'a>(x: &'a u8, quote: char) -> bool { quote == '\\'' || mystd::fs() }\n";
        assert_eq!(world_findings("a.rs", good), [""; 0]);
        // The scanner is still awake behind all of these.
        assert_eq!(world_findings("a.rs", &format!("{good}use std::fs;")), ["a.rs:8: std::fs"]);
    }

    /// Paths of a machine are found in any kind of file.
    #[test]
    fn machine_paths() {
        let bad = format!("fine\nsee {}/design.md and {}cache\n", FOREIGN[0], FOREIGN[3]);
        assert_eq!(
            foreign_findings("a.md", &bad),
            [format!("a.md:2: {}", FOREIGN[0]), format!("a.md:2: {}", FOREIGN[3])]
        );
    }

    /// A crate from a folder, from a repository, or without a checksum is found.
    #[test]
    fn sources() {
        let registry = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
        let lock = format!(
            "version = 4\n\n[[package]]\nname = \"zkfast\"\n\n[[package]]\nname = \"a\"\n{registry}checksum = \"1\"\n\n\
             [[package]]\nname = \"b\"\n{registry}\n[[package]]\nname = \"c\"\n\n\
             [[package]]\nname = \"d\"\nsource = \"git+https://example.org/d\"\n"
        );
        let found = source_findings(&lock);
        let names: Vec<&str> = found.iter().map(|f| f.split(' ').nth(1).unwrap()).collect();
        assert_eq!(names, ["b", "c", "d"]);
    }

    /// A field that no code records is found, also where only a comment or a test names it.
    #[test]
    fn metrics() {
        let declared = "group! {\n    /// Some.\n    Counters of u64 {\n        a: \"A.\",\n        bc: \"B.\",\n        \
                        d: \"D.\",\n        e: \"E.\",\n    }\n}\nstruct F { g: u64 }\n";
        let declared = format!("\n{declared}");
        assert_eq!(metric_fields(&declared), ["a", "bc", "d", "e"]);
        let source = "m.a += 1;\n// m.bc += 1;\nx(m.bc);\nf(&mut self.m().d);\n#[cfg(test)]\nmod tests { m.e += 1; }\n";
        let silent = unrecorded(&declared, &[source.to_owned()]);
        assert_eq!(silent, ["src/admin/metrics.rs: bc", "src/admin/metrics.rs: e"]);
        assert!(
            unrecorded(&declared, &["m.a += 1; n.bc.record_n(1, 2); &mut d.d; &mut x.e".to_owned()])
                .is_empty()
        );
    }

    /// A missing file, a missing heading and a way out of the repository are found; code and addresses are not links.
    #[test]
    fn links() {
        let open = |path: &str| match path {
            "docs/a.md" | "docs/b.md" => Some("# The wire, in short\n".to_owned()),
            _ => None,
        };
        let bad = "[x](b.md) [y](c.md)\n[z](b.md#the-wire-in-short) [q](b.md#else) [r](#the-wire-in-short)\n\
                   `[code](nowhere)` [web](https://example.org/x) [item](crate::wal)\n[up](../../out.md)\n\
                   ```text\n[code](nowhere)\n```\n[ref]: gone.md\n";
        assert_eq!(
            link_findings("docs/a.md", bad, &open),
            [
                "docs/a.md:1: c.md",
                "docs/a.md:2: b.md#else",
                "docs/a.md:4: ../../out.md",
                "docs/a.md:8: gone.md"
            ]
        );
    }

    /// A file that no declaration leads to is found, also below a module that is reached.
    #[test]
    fn dead() {
        let files = ["lib.rs", "a.rs", "a/inner.rs", "a/lost.rs", "b/mod.rs", "b/c.rs", "d.rs"]
            .map(|f| format!("src/{f}"));
        let open = |path: &str| {
            match path {
                "src/lib.rs" => "pub mod a;\n#[cfg(test)]\nmod b;\n// mod d;\nmod inline { fn f() {} }",
                "src/a.rs" => "mod inner;",
                "src/b/mod.rs" => "pub(crate) mod c;",
                _ => "",
            }
            .to_owned()
        };
        assert_eq!(
            dead_files(&files, vec!["src/lib.rs".into()], &open),
            ["src/a/lost.rs: no mod leads to it", "src/d.rs: no mod leads to it"]
        );
    }
}
