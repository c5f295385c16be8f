//! Whose pages may call: origins, as browsers name them.

use std::{fmt, str::FromStr};

use http::HeaderValue;

/// What is no part of an origin's host.
const NO_HOST: [char; 8] = ['/', '?', '#', '@', '\\', '*', '"', ' '];

/// One, as a browser says it; or any, which is written `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "not an origin, as https://example.com or http://localhost:8080, without a path; nor `*`";
        if text == "*" {
            return Ok(Self(text.to_owned()));
        }
        let (scheme, host) = text.split_once("://").ok_or(WRONG)?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic() && !NO_HOST.contains(&c));
        if !is_scheme || !is_host {
            return Err(WRONG);
        }
        let origin = text.to_ascii_lowercase();
        // Browsers leave out what goes without saying.
        let plain = match scheme.to_ascii_lowercase().as_str() {
            "http" => origin.strip_suffix(":80"),
            "https" => origin.strip_suffix(":443"),
            _ => None,
        };
        Ok(Self(plain.map_or_else(|| origin.clone(), str::to_owned)))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Those that an operator names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

impl From<Vec<Origin>> for Origins {
    fn from(origins: Vec<Origin>) -> Self {
        Self(origins)
    }
}

impl Origins {
    /// Whether there are none: no page may call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every page may.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.0.iter().any(|one| one.0 == "*")
    }

    /// Whether pages of this one may.
    pub(super) fn admit(&self, origin: &HeaderValue) -> bool {
        self.are_all() || self.0.iter().any(|one| one.0.as_bytes() == origin.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(all: &[&str]) -> Origins {
        Origins(all.iter().map(|one| one.parse().unwrap()).collect())
    }

    #[test]
    fn an_origin_is_what_browsers_say() {
        let origins = origins(&["http://localhost:8080", "HTTPS://Example.com:443", "http://[::1]:80"]);
        for yes in ["http://localhost:8080", "https://example.com", "http://[::1]"] {
            assert!(origins.admit(&HeaderValue::from_static(yes)), "{yes}");
        }
        for no in ["http://localhost", "https://localhost:8080", "http://example.com", "https://a.example.com", "null"]
        {
            assert!(!origins.admit(&HeaderValue::from_static(no)), "{no}");
        }
        assert!(self::origins(&["http://a", "*"]).admit(&HeaderValue::from_static("null")));
        assert!(!Origins::default().admit(&HeaderValue::from_static("http://a")));
    }

    #[test]
    fn what_is_none_is_refused() {
        for wrong in [
            "",
            "localhost:8080",
            "http://",
            "http://a/",
            "http://a/path",
            "://a",
            "1x://a",
            "http://*.a",
            "http://a b",
        ] {
            assert!(wrong.parse::<Origin>().unwrap_err().contains("without a path"), "{wrong}");
        }
    }
}
