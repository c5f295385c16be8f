//! Tokens with every field forged.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde_json::json;

use signalbox::auth::{Claims, Secret, sign};

use crate::{
    bystanders,
    ground::Ground,
    raw::{END_HEADERS, JOIN, Peer, frame, headers, kind, quiet_join},
};

use super::FLOODERS;

/// The session that all of them want into.
const SESSION: &str = "bystanders-0";

fn part(value: &serde_json::Value) -> String {
    BASE64.encode(value.to_string())
}

/// One for each way to lie.
fn forgeries() -> Vec<String> {
    let good = bystanders::token(SESSION);
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{good}") };
    let mut forged = Vec::new();
    // Headers: no algorithm, others, others' keys, and what must be understood.
    for alg in ["none", "None", "NONE", "", "HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256"] {
        let header = part(&json!({ "alg": alg, "typ": "JWT" }));
        forged.push(format!("{header}.{claims}.{signature}"));
        forged.push(format!("{header}.{claims}."));
    }
    for extra in [
        json!({ "alg": "HS256", "kid": "../../etc/passwd" }),
        json!({ "alg": "HS256", "jku": "http://127.0.0.1/keys" }),
        json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "AAAA" } }),
        json!({ "alg": "HS256", "crit": ["exp"] }),
        json!({ "alg": 256 }),
        json!([]),
    ] {
        forged.push(format!("{}.{claims}.{signature}", part(&extra)));
    }
    // Claims that the signature isn't of.
    for claims in [
        json!({ "exp": 99_999_999_999_u64, "aud": "signalbox", "session": SESSION, "role": "moderator" }),
        json!({ "exp": 99_999_999_999_u64, "aud": "signalbox", "role": "server" }),
        json!({}),
        json!(null),
    ] {
        forged.push(format!("{header}.{}.{signature}", part(&claims)));
    }
    // Signed by another, and signed well but not for this.
    let stranger = Secret::new(&[b'x'; 40]).expect("a secret");
    let own = Secret::new(crate::server::SECRET.as_bytes()).expect("a secret");
    let good = bystanders::claims(SESSION);
    forged.push(sign(&good, &stranger).expect("a token"));
    let changes: [fn(&mut Claims); 7] = [
        |claims| claims.exp = Some(1_000_000_000.into()),
        |claims| claims.exp = None,
        |claims| claims.nbf = Some(99_999_999_999_u64.into()),
        |claims| claims.aud = Some(signalbox::auth::Audience::One("another service".to_owned())),
        |claims| claims.session = Some("another session".to_owned()),
        |claims| claims.session = None,
        |claims| claims.role = Some("owner".to_owned()),
    ];
    for change in changes {
        let mut claims = good.clone();
        change(&mut claims);
        forged.push(sign(&claims, &own).expect("a token"));
    }
    // Signatures: none, cut, of another, not in base64; parts too few and too many.
    forged.push(format!("{header}.{claims}."));
    forged.push(format!("{header}.{claims}.{}", &signature[..signature.len() - 2]));
    forged.push(format!("{header}.{claims}.{}", BASE64.encode([0; 32])));
    forged.push(format!("{header}.{claims}.!!!"));
    forged.extend([header, "", ".", "..", "...", "a.b.c.d"].map(str::to_owned));
    forged.push(format!("{header}.{claims}.{signature}.{signature}"));
    forged.push("A".repeat(8_000));
    forged
}

/// A good one is let in, and seen to be: else none of the others proves anything.
fn good(ground: &Ground) {
    let mut peer = Peer::greet(ground.address, &[]).expect("a connection");
    let stream = peer.stream();
    let block = headers(JOIN, Some(&bystanders::token(SESSION)));
    let bytes = [frame(kind::HEADERS, END_HEADERS, stream, &block), frame(kind::DATA, 0, stream, &quiet_join(SESSION))];
    peer.write(&bytes.concat()).expect("it is written");
    let deadline = Instant::now() + Duration::from_secs(10);
    while peer.joined == 0 {
        assert!(Instant::now() < deadline, "a good token was not let in");
        peer.read().expect("the connection stays");
        std::thread::yield_now();
    }
}

pub(super) fn forged(ground: &Ground) {
    good(ground);
    let forgeries = forgeries();
    let next = std::sync::atomic::AtomicUsize::new(0);
    ground.flood(FLOODERS, &[(4, 1 << 30)], |peer| {
        let mut bytes = frame(kind::WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes());
        for _ in 0..20 {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let stream = peer.stream();
            let block = headers(JOIN, Some(&forgeries[number % forgeries.len()]));
            bytes.extend(frame(kind::HEADERS, END_HEADERS, stream, &block));
            bytes.extend(frame(kind::DATA, 0, stream, &quiet_join(SESSION)));
        }
        (20, bytes)
    });
}
