//! Projects' keys and tokens, as OpenTok's libraries write them and as others do.

use proptest::prelude::*;

use super::*;
use crate::auth::{ProjectGate, ProjectKeys, Projects, TOKEN_HEADER};

const KEY: &str = "47345601";
/// As long as OpenTok's are.
const FIRST: &str = "0123456789abcdef0123456789abcdef01234567";
const SECOND: &str = "76543210fedcba9876543210fedcba9876543210";

fn read(text: &str) -> Result<ProjectKeys, String> {
    ProjectKeys::read(text.as_bytes()).map_err(|why| why.to_string())
}

fn projects(text: &str) -> Arc<Projects> {
    Arc::new(Projects::new(read(text).unwrap(), Arc::new(Fixed(NOW))))
}

fn gate() -> ProjectGate {
    ProjectGate::Projects(projects(&format!("{KEY} {FIRST}\nother {SECOND}\n")))
}

/// What OpenTok's Node library says.
fn claims() -> Value {
    json!({ "iss": KEY, "ist": "project", "iat": NOW, "exp": NOW + 300 })
}

fn signed(claims: &Value, secret: &str) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn check(gate: &ProjectGate, tokens: &[&str]) -> Result<(), Refusal> {
    let value = |token: &&str| (TOKEN_HEADER.parse().unwrap(), HeaderValue::from_str(token).unwrap());
    gate.check(&tokens.iter().map(value).collect::<HeaderMap>(), KEY)
}

#[test]
fn tokens_as_opentoks_libraries_make_them_are_good() {
    let python = json!({ "ist": "project", "iss": KEY, "iat": NOW, "exp": NOW + 180, "jti": "0.5" });
    // Clocks may be off, and keys are numbers to some.
    let number = changed("iss", json!(47_345_601));
    let fast = changed("iat", json!(NOW + 30));
    let late = changed("exp", json!(NOW - 29));
    let early = changed("nbf", json!(NOW + 30));
    let in_parts = changed("iat", json!(NOW as f64 + 0.5));
    for claims in [claims(), python, number, fast, late, early, in_parts] {
        assert_eq!(check(&gate(), &[&signed(&claims, FIRST)]), Ok(()), "{claims}");
    }
}

#[test]
fn what_is_wrong_with_a_token_is_said_and_nothing_of_it_shown() {
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    for (claims, secret, reason, says) in [
        (claims(), SECOND, Reason::TokenInvalid, "signature"),
        (changed("iss", json!("other")), FIRST, Reason::TokenInvalid, "iss"),
        (changed("iss", json!(1)), FIRST, Reason::TokenInvalid, "iss"),
        (changed("iss", json!(["other"])), FIRST, Reason::TokenInvalid, "type"),
        (without("iss"), FIRST, Reason::TokenInvalid, "iss"),
        (changed("ist", json!("account")), FIRST, Reason::TokenInvalid, "ist"),
        (without("ist"), FIRST, Reason::TokenInvalid, "ist"),
        (without("exp"), FIRST, Reason::TokenInvalid, "exp"),
        (changed("exp", json!("soon")), FIRST, Reason::TokenInvalid, "type"),
        (changed("exp", json!(-1)), FIRST, Reason::TokenInvalid, "exp"),
        (changed("exp", json!(NOW - 30)), FIRST, Reason::TokenExpired, "30 s ago"),
        (changed("iat", json!(NOW + 31)), FIRST, Reason::TokenInvalid, "iat is more than the leeway of 30 s ahead"),
        (changed("nbf", json!(NOW + 31)), FIRST, Reason::TokenInvalid, "nbf is more than the leeway of 30 s ahead"),
        (json!([1]), FIRST, Reason::TokenInvalid, "type"),
    ] {
        let refusal = check(&gate(), &[&signed(&claims, secret)]).unwrap_err();
        assert_eq!(refusal.reason, reason, "{claims}: {refusal}");
        assert!(refusal.message.contains(says), "{claims}: {refusal}");
        assert!(!refusal.message.contains("other"), "{refusal}");
    }
}

#[test]
fn headers_that_have_no_token_are_refused() {
    let good = signed(&claims(), FIRST);
    let bearer = format!("Bearer {good}");
    for (headers, reason) in [
        (&[][..], Reason::TokenMissing),
        (&[&*good, &*good], Reason::TokenInvalid),
        (&[""], Reason::TokenInvalid),
        (&["a.b.c"], Reason::TokenInvalid),
        (&[&bearer], Reason::TokenInvalid),
        (&[&good[..good.len() - 2]], Reason::TokenInvalid),
    ] {
        let refusal = check(&gate(), headers).unwrap_err();
        assert_eq!(refusal.reason, reason, "{headers:?}: {refusal}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(TOKEN_HEADER, HeaderValue::from_bytes(&[0xe9]).unwrap());
    assert_eq!(gate().check(&headers, KEY).unwrap_err().reason, Reason::TokenInvalid);
    // Not looked at.
    for headers in [&[][..], &["anything"]] {
        assert_eq!(check(&ProjectGate::Open, headers), Ok(()));
    }
}

#[test]
fn a_token_is_good_for_its_own_project_and_algorithm_only() {
    let other = signed(&changed("iss", json!("other")), SECOND);
    let refusal = check(&gate(), &[&other]).unwrap_err();
    assert!(refusal.message.contains("signature"), "{refusal}");
    let headers = HeaderMap::from_iter([(TOKEN_HEADER.parse().unwrap(), HeaderValue::from_str(&other).unwrap())]);
    assert_eq!(gate().check(&headers, "other"), Ok(()));
    assert!(gate().check(&headers, "nobody").unwrap_err().message.contains("no project with this key"));

    // By another algorithm, with the same secret; by none at all; by extensions.
    let key = EncodingKey::from_secret(FIRST.as_bytes());
    let longer = encode(&Header::new(Algorithm::HS512), &claims(), &key).unwrap();
    assert!(check(&gate(), &[&longer]).unwrap_err().message.contains("HS512"));
    let good = signed(&claims(), FIRST);
    let rest = good.split_once('.').unwrap().1;
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256","crit":["exp"]}"#, r#"{"alg":"RS256"}"#, "[]"] {
        let forged = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
        assert_eq!(check(&gate(), &[&forged]).unwrap_err().reason, Reason::TokenInvalid, "{header}");
    }
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), rest.split_once('.').unwrap().0);
    assert_eq!(check(&gate(), &[&unsigned]).unwrap_err().reason, Reason::TokenInvalid);
}

#[test]
fn any_of_a_projects_secrets_will_do_and_keys_can_be_replaced() {
    let projects = projects(&format!("{KEY} {FIRST}\n{KEY} {SECOND}\n"));
    let gate = ProjectGate::Projects(Arc::clone(&projects));
    let [first, second] = [FIRST, SECOND].map(|secret| signed(&claims(), secret));
    let good = |gate: &ProjectGate| [&first, &second].map(|token| check(gate, &[token]).is_ok());
    assert_eq!(good(&gate), [true, true]);
    // What is wrong besides is told whichever secret signed it.
    for secret in [FIRST, SECOND] {
        let account = signed(&changed("ist", json!("account")), secret);
        assert!(check(&gate, &[&account]).unwrap_err().message.contains("ist"));
    }
    projects.replace(read(&format!("{KEY} {SECOND}")).unwrap());
    assert_eq!(good(&gate), [false, true]);
}

#[test]
fn a_file_of_keys_may_have_comments_and_empty_lines() {
    let file = format!("# ours\r\n\r\n  {KEY}\t {FIRST}  \r\n#{KEY} old\n\nb {SECOND}");
    let shown = format!("{:?}", read(&file).unwrap());
    assert_eq!(shown, r#"ProjectKeys(["47345601", "b"])"#);
}

#[test]
fn a_wrong_file_of_keys_is_refused_by_its_line() {
    let long = "k".repeat(129);
    for (file, says) in [
        (String::new(), "no project"),
        ("# nothing\n\n".to_owned(), "no project"),
        (format!("a {FIRST}\n{KEY}\n"), "line 2: it is not of the form KEY SECRET"),
        (format!("\n# x\n{KEY} {FIRST} # mine\n"), "line 3: it is not of the form KEY SECRET"),
        (format!("{KEY}:{FIRST}"), "line 1: it is not of the form"),
        (format!("{KEY} short"), "line 1: a secret for HS256 has at least 32 bytes; this one has 5"),
        (format!("{long} {FIRST}"), "line 1: the key has 129 bytes; the limit is 128"),
        (format!("caf\u{e9} {FIRST}"), "line 1: the key has characters"),
    ] {
        let error = read(&file).unwrap_err();
        assert!(error.contains(says), "{file:?}: {error}");
        assert!(!error.contains(FIRST) && !error.contains("short"), "{error}");
    }
    assert!(ProjectKeys::read(b"k \xff").unwrap_err().to_string().contains("line 1: it is no UTF-8"));
}

proptest! {
    #[test]
    fn any_bytes_are_keys_or_refused_and_what_is_written_is_read(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        keys in proptest::collection::btree_map("[!-\"$-~]{1,128}", "[!-~]{32,60}", 1..5),
    ) {
        let _ = ProjectKeys::read(&bytes);
        let file: String = keys.iter().map(|(key, secret)| format!("{key} {secret}\n")).collect();
        let projects = projects(&file);
        for (key, secret) in &keys {
            let token = signed(&changed("iss", json!(key)), secret);
            prop_assert_eq!(projects.verify(key, &token), Ok(()));
        }
    }

    #[test]
    fn any_text_is_no_token(text in ".{0,200}", cut in 0_usize..200, with in "[A-Za-z0-9_.-]{1,3}") {
        let projects = projects(&format!("{KEY} {FIRST}"));
        prop_assert!(projects.verify(KEY, &text).is_err());
        // Nor is a token of which anything was changed.
        let good = signed(&claims(), FIRST);
        let at = cut % good.len();
        let forged = format!("{}{with}{}", &good[..at], &good[at + 1..]);
        prop_assert!(forged == good || projects.verify(KEY, &forged).is_err());
    }
}
