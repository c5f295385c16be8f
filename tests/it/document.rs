//! `docs/contract-tests.md` names tests that are there.

use std::{fs, path::Path};

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
