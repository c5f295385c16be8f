//! Tokens as friends and forgers make them.

mod forged;
mod projects;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm};
use serde_json::{Value, json};

use super::{Audience, Bearer, Claims, Denied, Expected, Gate, Keys, Secret, Verifier, sign};
use crate::{
    clock::{Clock, Now},
    domain::{Limits, Reason, Refusal, Role, SessionId},
};

const SECRET: &[u8] = b"a secret of more than thirty-two bytes\n";
const NOW: u64 = 1_800_000_000;

struct Fixed(u64);

impl Clock for Fixed {
    fn now(&self) -> Now {
        let since = Duration::from_secs(self.0);
        Now { monotonic: since, wall: UNIX_EPOCH + since }
    }
}

fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

/// One who signs with a key pair.
struct Signer {
    algorithm: Algorithm,
    kid: String,
    key: EncodingKey,
    public: Vec<u8>,
}

impl Signer {
    fn new(kid: &str, algorithm: Algorithm) -> Self {
        let kind: &'static SignatureAlgorithm = match algorithm {
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::EdDSA => &PKCS_ED25519,
            _ => &PKCS_RSA_SHA256,
        };
        let pair = KeyPair::generate_for(kind).unwrap();
        let public = pair.public_key_raw().to_vec();
        let pair = pair.serialize_der();
        let key = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_der(&pair),
            Algorithm::EdDSA => EncodingKey::from_ed_der(&pair),
            _ => EncodingKey::from_rsa_der(&rsa_of_pkcs8(&pair)),
        };
        Self { algorithm, kid: kid.to_owned(), key, public }
    }

    fn jwk(&self) -> Value {
        if self.algorithm == Algorithm::EdDSA {
            let x = URL_SAFE_NO_PAD.encode(&self.public);
            return json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid });
        }
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.clone());
        serde_json::to_value(jwk).unwrap()
    }

    fn sign(&self, claims: &Claims) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }
}

/// The PKCS #1 key in a PKCS #8 one: what is behind its fixed beginning.
fn rsa_of_pkcs8(der: &[u8]) -> Vec<u8> {
    let at = der.windows(2).skip(4).position(|two| two == [0x30, 0x82]).map(|at| at + 4);
    der[at.expect("a sequence within")..].to_vec()
}

fn set(signers: &[&Signer]) -> Vec<u8> {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    serde_json::to_vec(&json!({ "keys": keys })).unwrap()
}

fn claims() -> Claims {
    Claims {
        aud: Some(Audience::One("signalbox".to_owned())),
        exp: Some((NOW + 60).into()),
        session: Some("s".to_owned()),
        ..Claims::default()
    }
}

fn gate_of(keys: Keys, issuer: Option<&str>) -> Gate {
    let expected = Expected { issuer: issuer.map(str::to_owned), audience: "signalbox".to_owned() };
    Gate::Tokens(Arc::new(Verifier::new(keys, expected, Arc::new(Fixed(NOW)))))
}

/// A gate that knows the secret.
fn gate() -> Gate {
    gate_of(Keys::new(Some(&secret()), None).unwrap(), None)
}

fn metadata(authorization: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(authorization).unwrap())])
}

fn shown(token: &str) -> HeaderMap {
    metadata(&format!("Bearer {token}"))
}

fn session(name: &str) -> SessionId {
    SessionId::parse(name, &Limits::default(), "session_id").unwrap()
}

fn join(gate: &Gate, token: &str) -> Result<Arc<super::Grant>, Refusal> {
    gate.join(&shown(token), &session("s")).map_err(|denied| denied.refusal)
}

fn refused<T: std::fmt::Debug>(answer: Result<T, impl Into<Denied>>) -> Reason {
    answer.expect_err("a refusal").into().refusal.reason
}

fn with(change: impl FnOnce(&mut Claims)) -> String {
    let mut claims = claims();
    change(&mut claims);
    sign(&claims, &secret()).unwrap()
}

#[test]
fn a_token_grants_what_it_says() {
    let token = with(|claims| {
        claims.role = Some("moderator".to_owned());
        claims.sub = Some("alice".to_owned());
        claims.data = Some("her data".to_owned());
    });
    let grant = join(&gate(), &token).unwrap();
    assert_eq!(grant.bearer, Bearer::Member(Role::Moderator));
    assert_eq!(grant.subject.as_deref(), Some("alice"));
    assert_eq!(grant.data.as_deref(), Some("her data"));
    // The leeway is part of it: who joined with it stays as long as others may
    // still join with it.
    assert_eq!(grant.valid_for, Some(Duration::from_secs(90)));
}

#[test]
fn who_has_no_role_is_a_publisher() {
    assert_eq!(join(&gate(), &with(|_| {})).unwrap().bearer, Bearer::Member(Role::Publisher));
}

#[test]
fn every_algorithm_of_the_contract_opens_by_its_kid() {
    let signers = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256]
        .map(|algorithm| Signer::new(&format!("{algorithm:?}"), algorithm));
    let gate = gate_of(Keys::new(Some(&secret()), Some(&set(&signers.each_ref()))).unwrap(), None);
    for signer in &signers {
        assert!(join(&gate, &signer.sign(&claims())).is_ok(), "{:?}", signer.algorithm);
    }
    assert!(join(&gate, &with(|_| {})).is_ok(), "HS256, beside them");
}

#[test]
fn old_and_new_keys_open_side_by_side_and_a_key_taken_away_does_not() {
    let (old, new) = (Signer::new("old", Algorithm::ES256), Signer::new("new", Algorithm::ES256));
    let expected = Expected { issuer: None, audience: "signalbox".to_owned() };
    let keys = |signers: &[&Signer]| Keys::new(None, Some(&set(signers))).unwrap();
    let verifier = Arc::new(Verifier::new(keys(&[&old]), expected, Arc::new(Fixed(NOW))));
    let gate = Gate::Tokens(Arc::clone(&verifier));
    assert!(join(&gate, &old.sign(&claims())).is_ok());
    assert_eq!(refused(join(&gate, &new.sign(&claims()))), Reason::TokenInvalid);
    verifier.replace(keys(&[&old, &new]));
    assert!(join(&gate, &old.sign(&claims())).is_ok());
    assert!(join(&gate, &new.sign(&claims())).is_ok());
    verifier.replace(keys(&[&new]));
    assert_eq!(refused(join(&gate, &old.sign(&claims()))), Reason::TokenInvalid);
    assert!(join(&gate, &new.sign(&claims())).is_ok());
}

#[test]
fn times_are_checked_with_a_leeway_of_thirty_seconds() {
    for (exp, reason) in [
        (NOW + 1, None),
        (NOW, None),
        (NOW - 29, None),
        (NOW - 30, Some(Reason::TokenExpired)),
        (0, Some(Reason::TokenExpired)),
    ] {
        let token = with(|claims| claims.exp = Some(exp.into()));
        assert_eq!(join(&gate(), &token).err().map(|refusal| refusal.reason), reason, "exp {exp}");
    }
    for (nbf, reason) in [(NOW, None), (NOW + 30, None), (NOW + 31, Some(Reason::TokenInvalid))] {
        let token = with(|claims| claims.nbf = Some(nbf.into()));
        assert_eq!(join(&gate(), &token).err().map(|refusal| refusal.reason), reason, "nbf {nbf}");
    }
    let in_parts = serde_json::Number::from_f64(NOW as f64 + 0.5);
    assert!(join(&gate(), &with(|claims| claims.exp = in_parts)).is_ok(), "dates may have parts of seconds");
}

#[test]
fn the_issuer_is_checked_when_one_is_set() {
    let gate = gate_of(Keys::new(Some(&secret()), None).unwrap(), Some("us"));
    assert!(join(&gate, &with(|claims| claims.iss = Some("us".to_owned()))).is_ok());
    assert_eq!(refused(join(&gate, &with(|claims| claims.iss = Some("them".to_owned())))), Reason::TokenInvalid);
    assert_eq!(refused(join(&gate, &with(|_| {}))), Reason::TokenInvalid);
}

#[test]
fn the_audience_is_one_or_among_several() {
    let to = |aud| with(|claims| claims.aud = aud);
    let many = |names: &[&str]| Some(Audience::Many(names.iter().map(ToString::to_string).collect()));
    assert!(join(&gate(), &to(many(&["others", "signalbox"]))).is_ok());
    for aud in [None, Some(Audience::One("others".to_owned())), many(&["others"]), many(&[])] {
        assert_eq!(refused(join(&gate(), &to(aud.clone()))), Reason::TokenInvalid, "{aud:?}");
    }
}

#[test]
fn a_token_opens_its_session_only() {
    let token = with(|claims| claims.sub = Some("alice".to_owned()));
    let elsewhere = gate().join(&shown(&token), &session("other"));
    assert_eq!(elsewhere.as_ref().unwrap_err().subject.as_deref(), Some("alice"), "for the audit log");
    assert_eq!(refused(elsewhere), Reason::SessionForbidden);
}

#[test]
fn backends_and_members_are_kept_apart() {
    let server = with(|claims| {
        claims.role = Some("server".to_owned());
        claims.session = None;
    });
    assert_eq!(gate().serve(&shown(&server)).unwrap().bearer, Bearer::Server);
    assert_eq!(refused(join(&gate(), &server)), Reason::RoleForbids);
    for role in ["subscriber", "publisher", "moderator"] {
        let member = with(|claims| claims.role = Some(role.to_owned()));
        assert!(join(&gate(), &member).is_ok(), "{role}");
        assert_eq!(refused(gate().serve(&shown(&member))), Reason::RoleForbids, "{role}");
    }
}

#[test]
fn open_everyone_may_do_everything() {
    let nothing = HeaderMap::new();
    assert_eq!(Gate::Open.join(&nothing, &session("s")).unwrap().role(), Role::Moderator);
    assert!(Gate::Open.serve(&nothing).is_ok());
    assert_eq!(Gate::Open.join(&nothing, &session("s")).unwrap().valid_for, None);
}

#[test]
fn keys_that_cannot_be_say_why() {
    let wrong = |secret: &[u8]| Secret::new(secret).unwrap_err().to_string();
    assert_eq!(wrong(b"short\n"), "a secret for HS256 has at least 32 bytes; this one has 5");
    let wrong = |jwks: &str| Keys::new(None, Some(jwks.as_bytes())).unwrap_err().to_string();
    assert!(wrong("{").starts_with("not a JSON Web Key Set: "));
    assert!(wrong(r#"{"keys":[]}"#).starts_with("no key in the set is for ES256"));
    assert!(wrong(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#).contains("secrets have a file of their own"));
    let one = Signer::new("same", Algorithm::EdDSA);
    let twice = set(&[&one, &one]);
    assert_eq!(
        Keys::new(None, Some(&twice)).unwrap_err().to_string(),
        "the key \"same\" is there twice; each needs a kid of its own"
    );
}

#[test]
fn nothing_shows_a_secret() {
    let keys = Keys::new(Some(&secret()), None).unwrap();
    let shown = format!("{keys:?} {:?} {:?}", secret(), gate_of(keys.clone(), None));
    assert!(!shown.contains("thirty-two"), "{shown}");
    let bytes = format!("{:?}", &SECRET[..8]);
    assert!(!shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}

#[test]
fn a_fixed_clock_is_the_one_asked() {
    assert_eq!(Fixed(NOW).now().wall, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
}
