//! What commands print: for people, with what strangers wrote made harmless.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    time::SystemTime,
};

use prost_types::Timestamp;

use crate::clock::{Clock as _, SystemClock};

/// Prints a line. An error of kind `BrokenPipe` means that nobody reads.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Text from strangers, fit for a terminal: control characters and those that
/// turn the reading direction are spelled out.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let turns =
            matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}');
        if c.is_control() || turns {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A time of day, in UTC; none: now.
pub(super) fn time_of_day(at: Option<SystemTime>) -> String {
    let at = Timestamp::from(at.unwrap_or_else(|| SystemClock::new().now().wall));
    let seconds = at.seconds.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}Z", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

/// A time, by RFC 3339.
pub(super) fn time(at: SystemTime) -> String {
    Timestamp::from(at).to_string()
}

/// The first eight characters of a connection's id: enough for people.
pub(super) fn short(id: &str) -> String {
    harmless(&id.chars().take(8).collect::<String>())
}

/// The last part of an enum's name on the wire: `DISCONNECT_REASON_NODE_LOST`
/// is `NODE_LOST`.
pub(super) fn bare(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_of_the_day() {
        let at = |seconds| time_of_day(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)));
        assert_eq!(at(0), "00:00:00Z");
        assert_eq!(at(86_400 * 20_000 + 3_661), "01:01:01Z");
    }

    #[test]
    fn escapes_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(harmless("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
        assert_eq!(harmless("caf\u{e9} \u{1f600}"), "caf\u{e9} \u{1f600}");
    }

    proptest! {
        #[test]
        fn nothing_harmful_is_left(text in ".*") {
            prop_assert!(!harmless(&text).chars().any(char::is_control));
        }
    }
}
