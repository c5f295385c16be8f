//! What paths and bodies ask for, and what refusals become.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    answer::Wrong,
    body::{BODY_TIMEOUT, hear_out, idempotency_key, parse, signal},
    path::{Call, Place},
};
use crate::domain::{Reason, Refusal};

/// The project, the session and the connection of a path.
fn read(path: &str) -> Option<(String, String, Option<String>, Method)> {
    let call = Call::read(path)?;
    let method = call.method();
    let connection = match call.place {
        Place::Session => None,
        Place::Connection(id) | Place::Disconnect(id) => Some(id.unwrap()),
    };
    Some((call.project.unwrap(), call.session.unwrap(), connection, method))
}

#[test]
fn the_three_paths_lead_to_their_calls() {
    let call = |session: &str, connection: Option<&str>, method| {
        Some(("k".to_owned(), session.to_owned(), connection.map(str::to_owned), method))
    };
    assert_eq!(read("/v2/project/k/session/s/signal"), call("s", None, Method::POST));
    assert_eq!(read("/v2/project/k/session/s/connection/c/signal"), call("s", Some("c"), Method::POST));
    assert_eq!(read("/v2/project/k/session/s/connection/c"), call("s", Some("c"), Method::DELETE));
    // Divided before it is decoded; `+` is no space here.
    assert_eq!(read("/v2/project/k/session/a%2Fb%3f+/signal"), call("a/b?+", None, Method::POST));
    assert_eq!(read("/v2/project/k/session/signal/signal"), call("signal", None, Method::POST));
    assert_eq!(read("/v2/project/k/session/s/connection/signal"), call("s", Some("signal"), Method::DELETE));
    // What is no `%` and two digits stands for itself, as browsers have it.
    assert_eq!(read("/v2/project/k/session/100%/signal"), call("100%", None, Method::POST));
    assert_eq!(read("/v2/project/k/session//signal"), call("", None, Method::POST));
}

#[test]
fn other_paths_lead_nowhere() {
    for path in [
        "",
        "*",
        "/",
        "/v2/project/k",
        "/v2/project/k/session",
        "/v2/project/k/session/s",
        "/v2/project/k/session/s/",
        "/v2/project/k/session/s/signal/",
        "/v2/project/k/session/s/signal/x",
        "/v2/project/k/session/s/connection",
        "/v2/project/k/session/s/connection/c/",
        "/v2/project/k/session/s/connection/c/signal/",
        "/v2/project/k/session/s/connection/c/mute",
        "/v2/project/k/session/s/stream",
        "/v2/project/k/archive",
        "/v2/partner/k/session/s/signal",
        "/v1/project/k/session/s/signal",
        "/session/create",
        "v2/project/k/session/s/signal",
        "//v2/project/k/session/s/signal",
        "/V2/project/k/session/s/signal",
    ] {
        assert_eq!(Call::read(path), None, "{path}");
    }
}

#[test]
fn segments_that_are_no_names_say_which_they_are() {
    let call = Call::read("/v2/project/%ff/session/%c3/connection/%80").unwrap();
    assert_eq!(call.project.unwrap_err().reason, Reason::TokenInvalid);
    assert_eq!(call.session.unwrap_err().reason, Reason::SessionIdInvalid);
    let Place::Disconnect(Err(refusal)) = call.place else { panic!("{:?}", call.place) };
    assert_eq!(refusal.reason, Reason::RecipientsInvalid);
    let call = Call::read("/v2/project/k/session/s/connection//signal").unwrap();
    let Place::Connection(Err(refusal)) = call.place else { panic!("{:?}", call.place) };
    assert!(refusal.message.contains("empty"), "{refusal}");
}

proptest! {
    #[test]
    fn any_path_is_a_call_or_none(path in "(/|v2|project|session|connection|signal|%|[0-9a-f]|.){0,20}") {
        let _ = Call::read(&path);
        let _ = Call::read(&format!("/v2/project/{path}"));
    }

    #[test]
    fn any_name_comes_through_a_path(project in ".{1,20}", session in ".{0,20}", id in ".{1,20}") {
        // As `encodeURIComponent` and `urllib.parse.quote(safe="")` have it.
        let quote = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let path = format!("/v2/project/{}/session/{}/connection/{}", quote(&project), quote(&session), quote(&id));
        let expected = (project, session, Some(id), Method::DELETE);
        prop_assert_eq!(read(&path), Some(expected.clone()));
        let expected = (expected.0, expected.1, expected.2, Method::POST);
        prop_assert_eq!(read(&format!("{path}/signal")), Some(expected));
    }

    #[test]
    fn any_signal_comes_through_json(kind in "[A-Za-z0-9_~-]{0,128}", data in ".{0,200}") {
        let read = parse(&serde_json::to_vec(&json!({ "type": kind, "data": data })).unwrap()).unwrap();
        prop_assert_eq!((read.kind().as_str(), read.data()), (kind.as_str(), data.as_str()));
    }

    #[test]
    fn any_body_is_a_signal_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(wrong) = parse(&bytes) {
            prop_assert_eq!(wrong.refusal.reason, Reason::FrameInvalid);
        }
    }
}

#[test]
fn bodies_are_objects_with_strings() {
    let good = [
        (r#"{"type":"chat","data":"hi"}"#, ("chat", "hi")),
        (r#" {"data":""}"#, ("", "")),
        (r#"{"type":null,"data":"x"}"#, ("", "x")),
        (r#"{"type":"","data":"\u00e9\ud83d\ude00","more":{"a":[1,{"b":null}]},"To":7}"#, ("", "\u{e9}\u{1f600}")),
    ];
    // What nobody reads may be as deep as it likes: it is passed over, not built.
    let deep = format!("{{\"data\":\"x\",\"y\":{}1{}}}", "[".repeat(30_000), "]".repeat(30_000));
    assert_eq!(parse(deep.as_bytes()).unwrap().data(), "x");
    for (body, (kind, data)) in good {
        let signal = parse(body.as_bytes()).unwrap();
        assert_eq!((signal.kind().as_str(), signal.data()), (kind, data), "{body}");
    }
    for (body, status, reason) in [
        ("", 400, Reason::FrameInvalid),
        ("null", 400, Reason::FrameInvalid),
        ("\"hi\"", 400, Reason::FrameInvalid),
        (r#"["chat","hi"]"#, 400, Reason::FrameInvalid),
        ("{}", 400, Reason::FrameInvalid),
        (r#"{"type":"chat"}"#, 400, Reason::FrameInvalid),
        (r#"{"data":null}"#, 400, Reason::FrameInvalid),
        (r#"{"data":{"secret":1}}"#, 400, Reason::FrameInvalid),
        (r#"{"data":"secret","data":"secret"}"#, 400, Reason::FrameInvalid),
        (r#"{"type":["secret"],"data":"secret"}"#, 400, Reason::FrameInvalid),
        (r#"{"data":"secret"#, 400, Reason::FrameInvalid),
        (r#"{"data":"secret"} x"#, 400, Reason::FrameInvalid),
        (r#"{"data":"\ud800"}"#, 400, Reason::FrameInvalid),
        ("type=chat&data=secret", 400, Reason::FrameInvalid),
        (r#"{"type":"a b","data":"secret"}"#, 400, Reason::SignalTypeInvalid),
        (&format!(r#"{{"type":"{}","data":"x"}}"#, "t".repeat(129)), 413, Reason::SignalTypeTooLarge),
        (&format!(r#"{{"data":"{}"}}"#, "d".repeat(8_193)), 413, Reason::SignalDataTooLarge),
    ] {
        let wrong = parse(body.as_bytes()).unwrap_err();
        assert_eq!((wrong.status.as_u16(), wrong.refusal.reason), (status, reason), "{body}: {wrong:?}");
        assert!(!wrong.refusal.message.contains("secret"), "what is said ends in logs: {wrong:?}");
    }
    assert!(parse(format!(r#"{{"type":"{}","data":"{}"}}"#, "t".repeat(128), "d".repeat(8_192)).as_bytes()).is_ok());
}

#[test]
fn a_key_to_repeat_by_is_one_header_of_ascii() {
    let headers = |values: &[&[u8]]| -> HeaderMap {
        values
            .iter()
            .map(|value| ("idempotency-key".parse().unwrap(), HeaderValue::from_bytes(value).unwrap()))
            .collect()
    };
    assert_eq!(idempotency_key(&headers(&[])), Ok(None));
    assert_eq!(idempotency_key(&headers(&[b""])), Ok(None));
    assert!(idempotency_key(&headers(&[b"once"])).unwrap().is_some());
    for bad in [&[b"a", b"a"][..], &[&[0xe9]]] {
        let bad: Vec<_> = bad.iter().map(|value| &value[..]).collect();
        assert_eq!(idempotency_key(&headers(&bad)).unwrap_err().reason, Reason::IdempotencyKeyInvalid);
    }
    let long = "k".repeat(129);
    assert_eq!(idempotency_key(&headers(&[long.as_bytes()])).unwrap_err().reason, Reason::IdempotencyKeyInvalid);
}

/// A body that never comes, or comes piece by piece without saying how much.
struct Pieces(Option<Vec<usize>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(pieces) = &mut self.0 else { return Poll::Pending };
        Poll::Ready(pieces.pop().map(|size| Ok(Frame::data(vec![b' '; size].into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

fn says_json() -> HeaderMap {
    HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"))])
}

fn closes(wrong: Wrong) -> bool {
    wrong.closes
}

#[tokio::test(start_paused = true)]
async fn bodies_are_bounded_in_time_and_size() {
    let begun = tokio::time::Instant::now();
    let wrong = signal(&says_json(), Pieces(None)).await.unwrap_err();
    assert_eq!((wrong.status, begun.elapsed()), (StatusCode::REQUEST_TIMEOUT, BODY_TIMEOUT));
    assert!(closes(wrong));

    let fits = || Full::from([&b"{\"data\":\"x\"}"[..], &vec![b' '; 65_536 - 12]].concat());
    assert!(signal(&says_json(), fits()).await.is_ok());
    // Heard out to its end, up to a mebibyte; beyond, the connection is given up.
    for (pieces, given, closing) in
        [(vec![65_537], "65537", false), (vec![1_048_576], "1048576", false), (vec![1_000_000; 9], "2000000", true)]
    {
        let wrong = signal(&says_json(), Pieces(Some(pieces))).await.unwrap_err();
        assert_eq!(wrong.status, StatusCode::PAYLOAD_TOO_LARGE);
        let message = &wrong.refusal.message;
        assert!(message.contains(given) && message.contains("65536"), "{message}");
        assert_eq!(closes(wrong), closing, "{given}");
    }
    // Told beforehand: not read at all, if it is far too much or waits for our word.
    let told = |bytes| Full::from(vec![b' '; bytes]);
    assert!(closes(signal(&says_json(), told(1_048_577)).await.unwrap_err()));
    assert!(!closes(signal(&says_json(), told(65_537)).await.unwrap_err()));
    let mut expects = says_json();
    expects.insert("expect", HeaderValue::from_static("100-continue"));
    assert!(closes(signal(&expects, told(65_537)).await.unwrap_err()));
    assert!(signal(&expects, fits()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_wants_is_heard_out_within_bounds() {
    let full = |bytes| Full::from(vec![b' '; bytes]);
    let none = HeaderMap::new();
    assert!(hear_out(&none, full(0)).await && hear_out(&none, full(1_048_576)).await);
    assert!(!hear_out(&none, full(1_048_577)).await);
    assert!(hear_out(&none, Pieces(Some(vec![1_048_576]))).await);
    assert!(!hear_out(&none, Pieces(Some(vec![1_000_000; 9]))).await);
    let expects = HeaderMap::from_iter([(http::header::EXPECT, HeaderValue::from_static("100-continue"))]);
    assert!(!hear_out(&expects, full(1)).await);
    let begun = tokio::time::Instant::now();
    assert!(!hear_out(&none, Pieces(None)).await);
    assert_eq!(begun.elapsed(), BODY_TIMEOUT);
}

#[tokio::test]
async fn only_json_is_taken() {
    for said in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")] {
        let headers = said.map(|said| (http::header::CONTENT_TYPE, HeaderValue::from_static(said)));
        let wrong = signal(&headers.into_iter().collect(), Full::from("{\"data\":\"x\"}")).await.unwrap_err();
        assert_eq!(wrong.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{said:?}");
    }
}

async fn told(wrong: Wrong) -> (StatusCode, HeaderMap, Value) {
    let response = Response::<Full<Bytes>>::from(wrong);
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn every_reason_has_a_status_and_is_told_as_opentok_tells() {
    for reason in Reason::ALL {
        let (status, headers, body) = told(Refusal::new(*reason, "why \"so\"").into()).await;
        assert!(status.is_client_error() || status == StatusCode::SERVICE_UNAVAILABLE, "{reason}: {status}");
        let expected = json!({
            "code": status.as_u16(), "message": "why \"so\"", "description": "why \"so\"", "reason": reason.name(),
        });
        assert_eq!(body, expected);
        assert_eq!(headers["content-type"], "application/json");
        // Where waiting helps it is said for how long.
        assert!(!reason.retry_helps() || matches!(status.as_u16(), 408 | 429 | 503), "{reason}: {status}");
        assert_eq!(headers.contains_key("retry-after"), matches!(status.as_u16(), 429 | 503), "{reason}");
    }
    for (after, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (30_000, "30")] {
        let refusal = Refusal::new(Reason::GoingAway, "").retry_after(Duration::from_millis(after));
        let (_, headers, _) = told(refusal.into()).await;
        assert_eq!(headers["retry-after"], seconds);
    }
    let (status, headers, body) = told(Wrong::method(Method::DELETE)).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(headers["allow"], "DELETE");
    assert_eq!(body["reason"], "FRAME_INVALID");
}
