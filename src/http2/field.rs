//! What may stand in a request's fields. Source: RFC 9113, sections 8.2 and 8.3.

/// What is to be known of a field to judge the request that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Method,
    Scheme,
    Authority,
    Path,
    ContentLength,
    Te,
    Regular,
    /// In no request.
    Malformed,
}

/// Judges by the name alone.
pub(super) const fn classify(name: &[u8]) -> Field {
    match name {
        b":method" => Field::Method,
        b":scheme" => Field::Scheme,
        b":authority" => Field::Authority,
        b":path" => Field::Path,
        b"content-length" => Field::ContentLength,
        b"te" => Field::Te,
        b"" | b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding" | b"upgrade" => {
            Field::Malformed
        }
        _ => {
            let mut at = 0;
            while at < name.len() {
                if !is_name_byte(name[at]) {
                    return Field::Malformed;
                }
                at += 1;
            }
            Field::Regular
        }
    }
}

/// Judges the value too.
pub(super) fn judge(field: Field, value: &[u8]) -> Field {
    let sound = match field {
        Field::Malformed => false,
        Field::Method => !value.is_empty() && value.iter().all(|b| is_name_byte(b.to_ascii_lowercase())),
        Field::Scheme => !value.is_empty() && is_uri(value),
        Field::Path => (value.first() == Some(&b'/') || value == b"*") && is_uri(value),
        Field::Authority => is_uri(value),
        Field::Te => value.eq_ignore_ascii_case(b"trailers"),
        Field::ContentLength | Field::Regular => is_value(value),
    };
    if sound { field } else { Field::Malformed }
}

/// The bytes of tokens, without capitals. Source: RFC 9110, section 5.6.2.
const fn is_name_byte(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
        | b'+' | b'^' | b'`' | b'|' | b'~')
}

/// All that a URI has in it, and a little more.
fn is_uri(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_graphic)
}

/// Spaces at the ends are let through: clients send them, and they do no harm.
fn is_value(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}
