//! What a path asks for.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::domain::{Reason, Refusal};

/// A segment of a path, decoded; or what is wrong with it.
type Segment = Result<String, Refusal>;

/// A call, as its path says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The project's key.
    pub(super) project: Segment,
    /// The session's id, not yet parsed.
    pub(super) session: Segment,
    pub(super) place: Place,
}

/// What of the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// All of it gets a signal.
    Session,
    /// This connection gets one.
    Connection(Segment),
    /// This connection ends.
    Disconnect(Segment),
}

impl Call {
    /// Reads a path; none when it leads to no call.
    ///
    /// Segments are divided before they are decoded: a session's id may have a
    /// `/` in it, as `%2F`.
    pub(super) fn read(path: &str) -> Option<Self> {
        let segments: Vec<_> = path.strip_prefix("/v2/project/")?.splitn(7, '/').collect();
        let (project, session, place) = match segments[..] {
            [project, "session", session, "signal"] => (project, session, Place::Session),
            [project, "session", session, "connection", id] => (project, session, Place::Disconnect(connection(id))),
            [project, "session", session, "connection", id, "signal"] => {
                (project, session, Place::Connection(connection(id)))
            }
            _ => return None,
        };
        let project = decode(project).map(Cow::into_owned).ok_or_else(|| {
            Refusal::new(Reason::TokenInvalid, "the project's key in the path is no UTF-8: there is none of that name")
        });
        let session = decode(session)
            .map(Cow::into_owned)
            .ok_or_else(|| Refusal::new(Reason::SessionIdInvalid, "the session id in the path is no UTF-8"));
        Some(Self { project, session, place })
    }
}

fn connection(id: &str) -> Segment {
    let refuse = |why| Err(Refusal::new(Reason::RecipientsInvalid, why));
    match decode(id) {
        None => refuse("the connection id in the path is no UTF-8"),
        Some(id) if id.is_empty() => refuse("the connection id in the path is empty"),
        Some(id) => Ok(id.into_owned()),
    }
}

/// None: what comes out is no text.
fn decode(segment: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(segment).decode_utf8().ok()
}
