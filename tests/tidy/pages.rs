//! What pages say of tests and of crates.

use super::repository::{exists, read};
use std::collections::{BTreeMap, BTreeSet};

/// The crates that `Cargo.toml` names for the sake of security.
const OF_SECURITY: [&str; 7] =
    ["libloading", "md-5", "p12-keystore", "rustls", "tokio-rustls", "x509-parser", "zeroize"];

/// A test that the page on threats names is there.
#[test]
fn tests_of_the_threat_model_exist() {
    let page = read("src/docs/threat-model.md");
    let named: Vec<&str> = code_spans(&page).filter(|span| span.contains("::")).collect();
    assert!(named.len() >= 40, "only {} tests are named", named.len());
    let absent: Vec<&str> = named.into_iter().filter(|span| !is_test(span)).collect();
    assert!(absent.is_empty(), "no such tests: {absent:?}");
}

/// The page on dependencies lists the crates that security brought, as Cargo.lock has them.
#[test]
fn crates_of_security_are_listed() {
    let page = read("src/docs/dependencies.md");
    let (direct, all) = page.split_once("\nAll that security brought").expect("two tables");
    let rows = |text: &str| {
        text.lines().filter(|line| line.starts_with("| ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let names = |line: &String| code_spans(line).map(str::to_owned).collect::<Vec<_>>();
    let direct: BTreeSet<String> =
        rows(direct).iter().filter_map(|row| names(row).into_iter().next()).collect();
    let all: BTreeSet<String> = rows(all).iter().flat_map(names).collect();
    let lock = Lock::parse(&read("Cargo.lock"));
    let named = OF_SECURITY.map(str::to_owned);
    let (security, others): (Vec<String>, Vec<String>) =
        lock.direct().into_iter().partition(|id| named.contains(&name_of(id)));
    assert_eq!(direct.iter().filter(|name| OF_SECURITY.contains(&name.as_str())).count(), OF_SECURITY.len());
    let others = lock.reached_from(others);
    let brought: BTreeSet<String> =
        lock.reached_from(security).difference(&others).map(|id| name_of(id)).collect();
    let (missing, spare) = (brought.difference(&all), all.difference(&brought));
    let (missing, spare): (Vec<_>, Vec<_>) = (missing.collect(), spare.collect());
    assert!(
        missing.is_empty() && spare.is_empty(),
        "not in the page: {missing:?}; not in Cargo.lock: {spare:?}"
    );
}

/// What stands between single backquotes.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// True if `span` is `FILE::NAME`, and the file has a function or a case of that name.
fn is_test(span: &str) -> bool {
    let Some((file, name)) = span.split_once("::") else { return false };
    if !exists(file) {
        return false;
    }
    let text = read(file);
    [format!("fn {name}("), format!("def {name}("), format!("\"{name}\":")]
        .iter()
        .any(|form| text.contains(form))
}

/// `NAME VERSION` of each package, and what it depends on.
struct Lock(BTreeMap<String, Vec<String>>);

fn name_of(id: &str) -> String {
    id.split(' ').next().unwrap_or_default().to_owned()
}

impl Lock {
    fn parse(text: &str) -> Self {
        let value = |package: &str, key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
            line.map(|rest| rest.trim_end_matches('"').to_owned())
        };
        let packages = text.split("[[package]]").skip(1);
        let packages: BTreeMap<String, Vec<String>> = packages
            .map(|package| {
                let id =
                    [value(package, "name"), value(package, "version")].map(|part| part.expect("a package"));
                let list = package.split_once("dependencies = [").map_or("", |(_, rest)| rest);
                let list = list.split(']').next().unwrap_or_default();
                (id.join(" "), list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
            })
            .collect();
        Self(packages)
    }

    /// The package that an entry of a list means: its name, and its version where there are several.
    fn find(&self, entry: &str) -> String {
        let mut words = entry.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let is_meant = |id: &&String| match version {
            Some(version) => **id == format!("{name} {version}"),
            None => name_of(id) == name,
        };
        self.0.keys().find(is_meant).unwrap_or_else(|| panic!("Cargo.lock has no {entry}")).clone()
    }

    /// What the two crates of the workspace name themselves.
    fn direct(&self) -> BTreeSet<String> {
        let members = ["zkfast", "loadgen"].map(|name| self.find(name));
        let entries = members.iter().flat_map(|id| &self.0[id]);
        entries.filter(|entry| name_of(entry) != "zkfast").map(|entry| self.find(entry)).collect()
    }

    fn reached_from(&self, mut open: Vec<String>) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        while let Some(id) = open.pop() {
            let further = self.0[&id].iter().map(|entry| self.find(entry));
            let further: Vec<String> = further.collect();
            if reached.insert(id) {
                open.extend(further);
            }
        }
        reached
    }
}

/// A span of another form, of a file that is not there, or of a name that it lacks, is found out.
#[test]
fn spans() {
    assert!(is_test("tests/tidy/pages.rs::spans") && is_test("tests/compat/auth.py::ensemble"));
    for wrong in ["tests/tidy/pages.rs::span", "tests/tidy/page.rs::spans", "spans"] {
        assert!(!is_test(wrong), "{wrong}");
    }
    assert_eq!(code_spans("a `b` c `d::e`").collect::<Vec<_>>(), ["b", "d::e"]);
}
