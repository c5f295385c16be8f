//! Tokens with every field forged.

use std::panic::AssertUnwindSafe;

use proptest::prelude::*;

use super::*;

/// A token of these parts, its signature whatever it is told.
fn raw(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let [header, claims] = [header, claims].map(|value| part(value.to_string().as_bytes()));
    format!("{header}.{claims}.{}", part(signature))
}

fn good() -> Value {
    serde_json::to_value(claims()).unwrap()
}

/// One signed well, with claims as they come.
fn signed(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret().bytes())).unwrap()
}

#[test]
fn no_token_and_what_is_none() {
    let none = gate().join(&HeaderMap::new(), &session("s"));
    assert_eq!(refused(none), Reason::TokenMissing);
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        "bearertoken",
        "Bearer a.b",
        "Bearer a.b.c",
        "Bearer ..",
        "Bearer \u{a0}",
    ] {
        let Ok(value) = HeaderValue::from_bytes(wrong.as_bytes()) else { continue };
        let answer = gate().join(&HeaderMap::from_iter([(AUTHORIZATION, value)]), &session("s"));
        assert_eq!(refused(answer), Reason::TokenInvalid, "{wrong:?}");
    }
    let token = with(|_| {});
    assert!(gate().join(&metadata(&format!("bearer  {token}")), &session("s")).is_ok(), "the scheme has no case");
    let mut two = shown(&token);
    two.append(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    assert_eq!(refused(gate().join(&two, &session("s"))), Reason::TokenInvalid);
}

#[test]
fn unsigned_tokens_are_refused() {
    for alg in ["none", "None", "NONE", "", "HS1", "HS384", "HS512", "PS256", "ES384"] {
        for signature in [&b""[..], &[0; 32]] {
            let token = raw(&json!({ "alg": alg, "typ": "JWT" }), &good(), signature);
            assert_eq!(refused(join(&gate(), &token)), Reason::TokenInvalid, "{alg}");
        }
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let signer = Signer::new("k", Algorithm::RS256);
    let jwks = set(&[&signer]);
    // The old attack: HS256, keyed with what everyone knows.
    let gate = gate_of(Keys::new(None, Some(&jwks)).unwrap(), None);
    let public = serde_json::to_vec(&signer.jwk()).unwrap();
    for key in [&jwks, &public] {
        let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::HS256) };
        let token = encode(&header, &claims(), &EncodingKey::from_secret(key)).unwrap();
        assert_eq!(refused(join(&gate, &token)), Reason::TokenInvalid);
    }
}

#[test]
fn a_key_verifies_by_its_own_algorithm_only() {
    let signers = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256]
        .map(|algorithm| Signer::new(&format!("{algorithm:?}"), algorithm));
    let gate = gate_of(Keys::new(Some(&secret()), Some(&set(&signers.each_ref()))).unwrap(), None);
    for signer in &signers {
        for other in signers.iter().filter(|other| other.kid != signer.kid) {
            let header = Header { kid: Some(other.kid.clone()), ..Header::new(signer.algorithm) };
            let token = encode(&header, &claims(), &signer.key).unwrap();
            assert_eq!(refused(join(&gate, &token)), Reason::TokenInvalid, "{} as {}", signer.kid, other.kid);
        }
        let header = Header::new(signer.algorithm);
        let token = encode(&header, &claims(), &signer.key).unwrap();
        assert_eq!(refused(join(&gate, &token)), Reason::TokenInvalid, "{} without kid, of three", signer.kid);
    }
}

#[test]
fn any_change_breaks_the_signature() {
    let token = with(|_| {});
    let [header, _, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let mut claims = good();
    claims["role"] = json!("moderator");
    let changed = URL_SAFE_NO_PAD.encode(claims.to_string());
    let refusal = join(&gate(), &format!("{header}.{changed}.{signature}")).unwrap_err();
    assert_eq!(refusal.message, "the token is not valid: its signature doesn't match");
}

#[test]
fn claims_of_the_wrong_type_or_value_are_refused() {
    for (name, values) in [
        ("exp", vec![Value::Null, json!("soon"), json!(-1), json!(1e300), json!([1]), json!(true)]),
        ("nbf", vec![json!("then"), json!(-1), json!(1e300)]),
        ("aud", vec![Value::Null, json!(1), json!({}), json!("Signalbox"), json!(["signalbox", 1])]),
        ("iss", vec![json!(1)]),
        ("sub", vec![json!(1)]),
        ("session", vec![Value::Null, json!(1), json!(["s"])]),
        ("role", vec![json!(1), json!("admin"), json!("Publisher"), json!("server"), json!(["moderator"])]),
        ("data", vec![json!(1), json!({})]),
    ] {
        for value in values {
            let mut claims = good();
            claims[name] = value.clone();
            assert_eq!(refused(join(&gate(), &signed(&claims))), Reason::TokenInvalid, "{name}: {value}");
        }
    }
    let mut without = good();
    without.as_object_mut().unwrap().remove("exp");
    assert_eq!(refused(join(&gate(), &signed(&without))), Reason::TokenInvalid, "no exp");
}

#[test]
fn extensions_that_must_be_understood_are_not() {
    let header = Header { crit: Some(vec!["exp".to_owned()]), ..Header::new(Algorithm::HS256) };
    let token = encode(&header, &claims(), &EncodingKey::from_secret(secret().bytes())).unwrap();
    assert_eq!(refused(join(&gate(), &token)), Reason::TokenInvalid);
}

#[test]
fn a_refusal_shows_nothing_of_the_token() {
    let token = with(|claims| {
        claims.data = Some("private".to_owned());
        claims.aud = Some(Audience::One("private".to_owned()));
    });
    let refusal = join(&gate(), &token).unwrap_err();
    assert!(!refusal.message.contains("private"), "{}", refusal.message);
}

proptest! {
    #[test]
    fn any_text_is_refused(text in ".{0,200}") {
        if let Ok(value) = HeaderValue::from_str(&format!("Bearer {text}")) {
            let answer = gate().join(&HeaderMap::from_iter([(AUTHORIZATION, value)]), &session("s"));
            prop_assert_eq!(refused(answer), Reason::TokenInvalid);
        }
    }

    #[test]
    fn any_parts_are_refused(header in "[ -~]{0,80}", claims in "[ -~]{0,80}", signature: [u8; 32]) {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let token = format!("{}.{}.{}", part(header.as_bytes()), part(claims.as_bytes()), part(&signature));
        prop_assert_eq!(refused(join(&gate(), &token)), Reason::TokenInvalid);
    }

    #[test]
    fn any_flipped_bit_is_refused(at: prop::sample::Index, bit in 0..8_u8) {
        let token = with(|_| {});
        let mut bytes = token.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", &bytes[..]].concat()) {
            let answer = gate().join(&HeaderMap::from_iter([(AUTHORIZATION, value)]), &session("s"));
            prop_assert_eq!(refused(answer), Reason::TokenInvalid);
        }
    }
}

/// Any text is refused, and so is what a good token becomes when anything of it is
/// changed.
#[test]
fn fuzz_tokens() {
    let (gate, good) = (AssertUnwindSafe(gate()), with(|_| {}));
    bolero::check!().for_each(|input: &[u8]| {
        let (how, rest) = crate::fuzz::split(input);
        let token = match how % 4 {
            0 => rest.to_vec(),
            1 => {
                let mut parts = rest.splitn(3, |byte| *byte == 0).map(|part| URL_SAFE_NO_PAD.encode(part));
                let [header, claims, signature] = std::array::from_fn(|_| parts.next().unwrap_or_default());
                format!("{header}.{claims}.{signature}").into_bytes()
            }
            2 => {
                // Another's claims, with a signature that is good for its own.
                let mut parts = good.split('.');
                let (header, signature) = (parts.next().unwrap(), parts.next_back().unwrap());
                format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(rest)).into_bytes()
            }
            _ => {
                let mut token = good.clone().into_bytes();
                for change in rest.chunks_exact(2) {
                    let at = usize::from(change[0]) % token.len();
                    token[at] = change[1];
                }
                token
            }
        };
        let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", &token[..]].concat()) else { return };
        let answer = gate.join(&HeaderMap::from_iter([(AUTHORIZATION, value)]), &session("s"));
        assert_eq!(answer.is_ok(), token == good.as_bytes(), "{:?}", String::from_utf8_lossy(&token));
    });
}

/// Any file of keys is read, or refused with a reason.
#[test]
fn fuzz_keys() {
    let good = json!({ "keys": [Signer::new("k", Algorithm::ES256).jwk()] }).to_string();
    bolero::check!().for_each(|input: &[u8]| {
        let (how, rest) = crate::fuzz::split(input);
        let mut file = if how % 2 == 0 { rest.to_vec() } else { good.clone().into_bytes() };
        if how % 2 == 1 {
            for change in rest.chunks_exact(3) {
                let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % file.len();
                file[at] = change[2];
            }
        }
        if let Err(wrong) = Keys::new(None, Some(&file)) {
            assert!(!wrong.to_string().is_empty());
        }
        let _ = Secret::new(rest);
    });
}
