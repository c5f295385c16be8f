//! Imports point down only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Which rooms each room may import. A room that isn't here fails the test.
const ALLOWED: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("domain", &[]),
    ("proto", &[]),
    ("fuzz", &[]),
    ("random", &[]),
    ("session", &["clock", "domain"]),
    ("engine", &["clock", "domain", "random", "session"]),
    ("auth", &["clock", "domain"]),
    ("telemetry", &["clock", "domain"]),
    ("hub", &["clock", "domain", "session", "engine", "telemetry"]),
    ("grpc", &["clock", "domain", "http2", "proto", "session", "engine", "auth", "telemetry", "hub", "random"]),
    ("rest", &["clock", "domain", "session", "engine", "auth", "telemetry", "hub"]),
    (
        "server",
        &["clock", "domain", "proto", "random", "session", "engine", "auth", "telemetry", "hub", "grpc", "rest"],
    ),
    ("client", &["clock", "domain", "proto"]),
    ("http2", &[]),
    ("bench", &["clock", "domain", "http2", "proto", "server", "telemetry"]),
    ("cli", &["auth", "bench", "clock", "domain", "proto", "client", "server", "telemetry"]),
];

/// What no room but these may name.
const RESERVED: &[(&str, &[&str])] =
    &[("tonic::Status", &["grpc", "client"]), ("SystemTime::now", &["clock"]), ("getrandom::", &["random"])];

/// The lines of code: no comments, no test modules.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn files(of: &Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(of).unwrap() {
        let path = entry.unwrap().path();
        // A room's tests may import and name what they like.
        if path.file_name().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The rooms that a text imports, by `crate::a` or `crate::{a::…, b}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut item) = (1, String::new());
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || (c == ',' && depth == 1) {
                found.insert(word(item.trim()));
                item.clear();
            } else {
                item.push(c);
            }
            if depth == 0 {
                break;
            }
        }
    }
    found.remove("");
    found
}

fn rooms() -> BTreeMap<String, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&source, &mut all);
    let mut rooms: BTreeMap<String, String> = BTreeMap::new();
    for file in all {
        let relative = file.strip_prefix(&source).unwrap();
        let room = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if room != "lib" && room != "main" {
            *rooms.entry(room).or_default() += &code(&file);
        }
    }
    rooms
}

#[test]
fn imports_point_down_only() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for (room, code) in rooms() {
        let may = allowed.get(room.as_str()).unwrap_or_else(|| panic!("{room} has no place in the house"));
        for import in imports(&code) {
            assert!(import == room || may.contains(&import.as_str()), "{room} must not import {import}");
        }
    }
}

#[test]
fn what_is_reserved_to_a_room_stays_there() {
    for (room, code) in rooms() {
        for (what, may) in RESERVED {
            assert!(may.contains(&room.as_str()) || !code.contains(what), "{room} must not name {what}");
        }
    }
}

#[test]
fn the_session_is_pure() {
    let rooms = rooms();
    for impure in ["tokio", "async ", ".await", "std::net", "std::fs", "std::thread", "Instant::now", "rand"] {
        assert!(!rooms["session"].contains(impure), "session/ must not name {impure}");
    }
}

#[test]
fn imports_are_found_however_they_are_written() {
    let code = "use crate::{a::{b, c::d}, e, f::g};\nuse crate::h::i;\n#[cfg(feature = \"x\")]\nuse crate::l;\nfn x() { crate::j::k() }";
    assert_eq!(imports(code), ["a", "e", "f", "h", "j", "l"].map(str::to_owned).into());
}
