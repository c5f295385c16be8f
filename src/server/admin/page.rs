//! The status page: one file, which loads nothing but `status.json` from where it came,
//! and shows what it says as text, whoever chose the names in it.

use std::{fmt::Write as _, sync::LazyLock};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Response,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};
use http_body_util::Full;
use sha2::{Digest as _, Sha256};

const BODY: &str = include_str!("page/body.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPTS: [&str; 2] = [include_str!("page/plot.js"), include_str!("page/page.js")];

/// The page, and what a browser may do on it.
static PAGE: LazyLock<(Bytes, HeaderValue)> = LazyLock::new(|| {
    let source = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
    let mut page = String::from("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width\">\n<title>Signalbox</title>\n");
    let mut policy = format!(
        "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         style-src {}; script-src",
        source(STYLE)
    );
    let _ = write!(page, "<style>{STYLE}</style>\n{BODY}");
    for script in SCRIPTS {
        let _ = writeln!(page, "<script>{script}</script>");
        let _ = write!(policy, " {}", source(script));
    }
    let policy = HeaderValue::from_str(&policy).expect("hashes are ASCII");
    (page.into(), policy)
});

/// The answer to who asks for it.
pub(super) fn page() -> Response<Full<Bytes>> {
    let (page, policy) = PAGE.clone();
    let mut response = Response::new(Full::new(page));
    let said: [(HeaderName, HeaderValue); 6] = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ];
    response.headers_mut().extend(said);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_loads_nothing_from_elsewhere() {
        let (page, policy) = &*PAGE;
        let page = std::str::from_utf8(page).expect("a text");
        assert_eq!(page.matches("</script>").count(), SCRIPTS.len(), "a script has no end tag in it");
        assert_eq!(page.matches("</style>").count(), 1);
        for from_elsewhere in ["src=", "href=", "@import", "url(", "https:", "style=\"", "onclick", "innerHTML"] {
            assert!(!page.contains(from_elsewhere), "{from_elsewhere}");
        }
        let policy = policy.to_str().expect("ASCII");
        assert_eq!(policy.matches("'sha256-").count(), SCRIPTS.len() + 1);
        assert!(
            policy.starts_with("default-src 'none'; connect-src 'self';") && !policy.contains("unsafe"),
            "{policy}"
        );
    }
}
