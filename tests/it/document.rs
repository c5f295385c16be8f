//! Documents name what is there: tests, reasons, flags, metrics.

use std::{fs, path::Path, process::Command};

use signalbox::domain::Reason;

/// What stands between backticks and names a test: its file and its function.
fn named(document: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = document.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_once("::")).filter(|(file, _)| file.ends_with(".rs") || file.ends_with(".py"))
}

#[test]
fn every_test_that_the_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/contract-tests.md")).unwrap();
    let mut checked = 0;
    for (file, function) in named(&document) {
        let path = if file.starts_with("src/") { root.join(file) } else { root.join("tests").join(file) };
        let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let keyword = if file.ends_with(".py") { "def" } else { "fn" };
        assert!(source.contains(&format!("{keyword} {function}(")), "{file} has no {function}");
        checked += 1;
    }
    assert!(checked > 100, "only {checked} tests are named");
}

/// The words of a text that may be names.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == '-'))
}

#[test]
fn every_reason_has_its_entry_and_every_flag_that_is_named_there_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/TROUBLESHOOTING.md")).unwrap();
    for reason in Reason::ALL {
        let entry = format!("\n| `{}` | ", reason.name());
        assert!(document.contains(&entry), "{} has no entry", reason.name());
    }
    let help = Command::new(env!("CARGO_BIN_EXE_signalbox")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flags: Vec<_> = words(&document).filter(|word| word.starts_with("--") && word.len() > 3).collect();
    assert!(flags.len() >= 10, "{flags:?}");
    for flag in flags {
        assert!(words(&help).any(|word| word == flag) || flag == "--help", "{flag} is none");
    }
}
