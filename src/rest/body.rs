//! What a request says besides its path, read and parsed within bounds.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::{
    HeaderMap,
    header::{CONTENT_TYPE, EXPECT},
};
use http_body::Body;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::error::Category;

use crate::domain::{IdempotencyKey, MAX_FRAME_BYTES, Reason, Refusal, Signal};

use super::answer::Wrong;

/// How long a caller may take for a body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of a body that are read, and thrown away, for whoever sends too
/// many: most callers listen only once they have sent all of it.
const MAX_HEARD_OUT_BYTES: usize = 1_048_576;

/// The header that makes a call safe to repeat. Not one of OpenTok's.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The key that a call may be repeated by, if it has one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Refusal> {
    let wrong = |why| Refusal::new(Reason::IdempotencyKeyInvalid, why);
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(wrong("there is more than one Idempotency-Key"));
    }
    let text = value.to_str().map_err(|_| wrong("the Idempotency-Key has characters that are not visible ASCII"))?;
    IdempotencyKey::parse(text)
}

/// The signal in a body.
pub(super) async fn signal<B: Body<Data = Bytes>>(headers: &HeaderMap, body: B) -> Result<Signal, Wrong> {
    if !is_json(headers) {
        return Err(Wrong::no_json());
    }
    let expects = headers.contains_key(EXPECT);
    let read = tokio::time::timeout(BODY_TIMEOUT, read(body, expects)).await;
    parse(&read.map_err(|_| Wrong::too_slow(BODY_TIMEOUT))??)
}

/// Whether the body is said to be JSON. Without it a page of any site could have
/// a browser call, which asks nobody before it sends what forms can.
fn is_json(headers: &HeaderMap) -> bool {
    let said = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = said.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// Reads what there is to come of a body, and throws it away, so that an answer
/// finds a caller that listens. Whether its end came: not if it is far too large
/// or slow, nor if the caller waits to be told that it may send it.
pub(super) async fn hear_out<B: Body<Data = Bytes> + Unpin>(headers: &HeaderMap, mut body: B) -> bool {
    if body.is_end_stream() {
        return true;
    }
    if headers.contains_key(EXPECT) || body.size_hint().lower() > MAX_HEARD_OUT_BYTES as u64 {
        return false;
    }
    let hearing = async {
        let mut count = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            count += frame.data_ref().map_or(0, Bytes::len);
            if count > MAX_HEARD_OUT_BYTES {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(BODY_TIMEOUT, hearing).await.unwrap_or(false)
}

/// The bytes of a body. `expects`: the caller waits to be told that it may send.
async fn read<B: Body<Data = Bytes>>(body: B, expects: bool) -> Result<Bytes, Wrong> {
    let promised = body.size_hint().lower();
    let heard_out = if expects { MAX_FRAME_BYTES } else { MAX_HEARD_OUT_BYTES };
    if promised > heard_out as u64 {
        return Err(Wrong::body_too_large(promised));
    }
    let mut body = std::pin::pin!(body);
    let (mut bytes, mut count) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Wrong::broken())?.into_data() else { continue };
        count += data.remaining();
        if count > MAX_HEARD_OUT_BYTES {
            return Err(Wrong::body_too_large(count as u64));
        }
        if count <= MAX_FRAME_BYTES {
            bytes.extend_from_slice(&data);
        }
    }
    if count > MAX_FRAME_BYTES { Err(Wrong::heard_out(count as u64)) } else { Ok(bytes.freeze()) }
}

/// A signal as OpenTok's callers write it.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "type")]
    kind: Option<String>,
    data: Option<String>,
}

/// The signal that a text is. What the text says is in no error, which ends in
/// logs.
pub(super) fn parse(text: &[u8]) -> Result<Signal, Wrong> {
    let wrong = |why: String| Wrong::from(Refusal::new(Reason::FrameInvalid, why));
    // The library would take a list for one.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(wrong("the body is no JSON object, as {\"type\": \"chat\", \"data\": \"hello\"}".to_owned()));
    }
    let written: Written = serde_json::from_slice(text).map_err(|error| {
        let at = format!("at line {}, column {}", error.line(), error.column());
        wrong(match error.classify() {
            Category::Data => format!("`type` or `data` is no string, or there twice, {at} of the body"),
            _ => format!("the body is no JSON: it is wrong {at}"),
        })
    })?;
    let data = written.data.ok_or_else(|| wrong("the body has no `data`; it must be set, to a string".to_owned()))?;
    Ok(Signal::parse(written.kind.unwrap_or_default(), data)?)
}
