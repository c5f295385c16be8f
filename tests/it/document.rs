//! Documents name what is there: tests, reasons, flags, metrics.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use signalbox::domain::Reason;

/// What stands between backticks and names a test: its file and its function.
fn named(document: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = document.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_once("::")).filter(|(file, _)| file.ends_with(".rs") || file.ends_with(".py"))
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (document, least) in [("docs/contract-tests.md", 100), ("docs/GUARANTEES.md", 20)] {
        let text = fs::read_to_string(root.join(document)).unwrap();
        let mut checked = 0;
        for (file, function) in named(&text) {
            let path = if file.starts_with("src/") { root.join(file) } else { root.join("tests").join(file) };
            let path = if path.exists() { path } else { root.join(file) };
            let source = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
            let keyword = if file.ends_with(".py") { "def" } else { "fn" };
            assert!(source.contains(&format!("{keyword} {function}(")), "{file} has no {function}");
            checked += 1;
        }
        assert!(checked > least, "{document} names only {checked} tests");
    }
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

/// What stands between backticks and begins so, a table's alternatives one by one.
fn quoted<'a>(text: &'a str, beginning: &'a str) -> impl Iterator<Item = &'a str> {
    text.split('`').skip(1).step_by(2).flat_map(words).filter(move |word| word.starts_with(beginning))
}

#[test]
fn every_flag_of_a_server_is_explained_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/CONFIGURATION.md")).unwrap();
    let help = Command::new(env!("CARGO_BIN_EXE_signalbox")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let begins = help.lines().map(str::trim_start).filter(|line| line.starts_with("--"));
    let mut flags: Vec<_> = begins.filter_map(|line| words(line).next()).collect();
    flags.sort_unstable();
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `--")?.split(" |").next());
    let mut explained: Vec<_> =
        rows.flat_map(|cell| cell.split("`, `--")).map(|flag| format!("--{}", flag.trim_end_matches('`'))).collect();
    explained.sort_unstable();
    assert!(flags.len() > 35, "{flags:?}");
    assert_eq!(explained, flags);
}

/// Names of metrics in what the server is made of.
fn metrics(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            metrics(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            // What tests name need not be one.
            let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let strings = code.split('"').filter(|text| text.starts_with("signalbox_"));
            found.extend(strings.filter(|text| words(text).eq([*text])).map(str::to_owned));
        }
    }
}

#[test]
fn every_metric_is_explained_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut there = BTreeSet::new();
    metrics(&root.join("src/telemetry"), &mut there);
    metrics(&root.join("src/engine"), &mut there);
    metrics(&root.join("src/server"), &mut there);
    assert!(there.len() > 25, "{there:?}");
    let operations = fs::read_to_string(root.join("docs/OPERATIONS.md")).unwrap();
    for name in quoted(&operations, "signalbox_") {
        assert!(there.contains(name), "{name} is no metric");
    }
    let pages = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let all: String = pages.filter_map(|path| fs::read_to_string(path).ok()).collect();
    for name in there.iter().filter(|name| !name.ends_with("_bucket")) {
        assert!(words(&all).any(|word| word == name), "{name} is in no document");
    }
}
