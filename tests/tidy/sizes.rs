//! What a reader can hold: the length of functions and files, and states that are passed over in silence.

use crate::debts::{self, Counts};
use crate::repository::{read, rust_files};
use crate::rust::{before_tests, code_of, is_test_file, line_of, words};

/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// Lines of a Rust file, its tests included.
const FILE_LINES_MAX: usize = 1_200;

/// Where a state that cannot be must not be passed over by `else { return }`.
const NOT_SILENT: [&str; 2] = ["src/zab", "src/replica"];

/// All folders with Rust in them.
const FOLDERS: [&str; 4] = ["src", "loadgen/src", "tests", "benches"];

/// No function has more lines than fit on a screen.
#[test]
fn functions_are_short() {
    let mut found = Counts::new();
    for path in FOLDERS.iter().flat_map(|folder| rust_files(folder)) {
        for (name, lines) in functions(&code_of(&read(&path))) {
            if lines > FUNCTION_LINES_MAX {
                let longest = found.entry(format!("{path}:{name}")).or_insert(0);
                *longest = lines.max(*longest);
            }
        }
    }
    debts::hold("long-function", &found, &format!("cut it into parts of at most {FUNCTION_LINES_MAX} lines"));
}

/// No file has more lines than one sitting takes.
#[test]
fn files_are_short() {
    let mut found = Counts::new();
    for path in FOLDERS.iter().flat_map(|folder| rust_files(folder)) {
        let lines = read(&path).lines().count();
        if lines > FILE_LINES_MAX {
            found.insert(path, lines);
        }
    }
    debts::hold("long-file", &found, &format!("split it by subject, at most {FILE_LINES_MAX} lines each"));
}

/// A state that cannot be is unrepresentable or asserted, not passed over.
#[test]
fn no_state_is_passed_over_in_silence() {
    let mut found = Counts::new();
    for folder in NOT_SILENT {
        for path in rust_files(folder).iter().filter(|path| !is_test_file(path, &read)) {
            let silent = silent_returns(&code_of(before_tests(&read(path)))).len();
            if silent > 0 {
                *found.entry(folder.to_owned()).or_insert(0) += silent;
            }
        }
    }
    debts::hold("silent-return", &found, "assert the state with its values, or make it unrepresentable");
}

/// Name and lines of each function with a body, in order. A function within another counts for both.
///
/// A brace in the signature (a constant in braces as a generic argument, `Foo<{ N }>`) is taken for the body.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut functions = Vec::new();
    for at in words(code, "fn") {
        let after = code[at + "fn".len()..].trim_start();
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // Without a name it is a type: `fn(u8) -> u8`.
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&code[at..]) {
            functions.push((name, code[at..at + end].matches('\n').count() + 1));
        }
    }
    functions
}

/// Where the body ends that begins with the first brace outside brackets; `None` if a semicolon comes before it.
fn body_end(code: &str) -> Option<usize> {
    let (mut brackets, mut braces) = (0, 0);
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b';' if brackets == 0 && braces == 0 => return None,
            b'{' if braces > 0 || brackets == 0 => braces += 1,
            b'}' if braces > 0 => {
                braces -= 1;
                if braces == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// Lines of `else { return }`, with or without a semicolon. One that returns a value says something.
fn silent_returns(code: &str) -> Vec<usize> {
    let is_silent = |at: &usize| {
        let rest = code[at + "else".len()..].trim_start().strip_prefix('{');
        let rest = rest.and_then(|rest| rest.trim_start().strip_prefix("return"));
        rest.is_some_and(|rest| rest.trim_start().trim_start_matches(';').trim_start().starts_with('}'))
    };
    words(code, "else").filter(is_silent).map(|at| line_of(code, at)).collect()
}

mod sizes_are_measured {
    use super::*;

    fn of(text: &str) -> Vec<(String, usize)> {
        functions(&code_of(text))
    }

    /// Functions of all forms are measured, from `fn` to the closing brace.
    #[test]
    fn bodies() {
        let one = |name: &str, lines| vec![(name.to_owned(), lines)];
        assert_eq!(of("fn a() {}\n"), one("a", 1));
        assert_eq!(
            of(
                "/// Docs.\n#[inline]\npub(crate) async fn b<T>(\n    x: [u8; 2],\n) -> u8\nwhere\n    T: A,\n{\n    2\n}\n"
            ),
            one("b", 8)
        );
        assert_eq!(of("impl A {\n    fn c(&self) {\n        if x { y(|| { z }) }\n    }\n}\n"), one("c", 3));
        // Braces in strings, characters and comments are not the code's.
        assert_eq!(of("fn d() {\n    f(\"}\", '{', r#\"}\"#, b'}'); // }\n    /* } */\n}\n"), one("d", 4));
        assert_eq!(of("fn e(f: fn(u8) -> [u8; { 3 }]) {\n}\n"), one("e", 2));
    }

    /// A declaration has no body, a type no name; one within another is seen as well.
    #[test]
    fn no_bodies() {
        assert_eq!(of("trait A {\n    fn a(&self, x: [u8; 3]);\n}\ntype B = fn(u8);\n"), []);
        assert_eq!(of("fn a() {\n    fn b() {\n    }\n}\n"), [("a".into(), 4), ("b".into(), 2)]);
    }

    /// The limit of a brace counter: a constant in braces in the signature ends the measure too early.
    #[test]
    fn braces_in_a_signature() {
        assert_eq!(of("fn a() -> B<{ 3 }> {\n    c()\n}\n"), [("a".into(), 1)]);
    }

    /// `else { return }` is found in every layout; one with a value, and one that logs before, is not.
    #[test]
    fn silence() {
        let found = |text| silent_returns(&code_of(text));
        assert_eq!(found("let Some(x) = y else { return };\nif a { b } else {\n    return;\n}\n"), [1, 2]);
        assert_eq!(found("let Some(x) = y else { return None };\nelse { log(); return }\n"), [0; 0]);
        assert_eq!(found("// else { return }\nlet a = \"else { return }\";\nelse { returned }\n"), [0; 0]);
    }
}
