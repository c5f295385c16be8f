//! A signal and whom it is for.

use std::collections::HashSet;

use super::{ConnectionId, Limits, MAX_DATA_BYTES, MAX_TYPE_BYTES, Reason, Refusal};

/// What receivers filter on: at most 128 bytes of `A-Z a-z 0-9 - _ ~`, may be
/// empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalType(String);

impl SignalType {
    /// Parses a type.
    ///
    /// ```
    /// use signalbox::domain::{Reason, SignalType};
    ///
    /// assert_eq!(SignalType::parse("chat".into(), "signal.type")?.as_str(), "chat");
    /// let refusal = SignalType::parse("chat/1".into(), "signal.type").unwrap_err();
    /// assert_eq!(refusal.reason, Reason::SignalTypeInvalid);
    /// assert!(refusal.message.contains("'/' at byte 4"));
    /// # Ok::<(), signalbox::domain::Refusal>(())
    /// ```
    ///
    /// # Errors
    /// `SIGNAL_TYPE_TOO_LARGE` or `SIGNAL_TYPE_INVALID`, blaming `field`.
    pub fn parse(text: String, field: &'static str) -> Result<Self, Refusal> {
        if text.len() > MAX_TYPE_BYTES {
            let given = text.len();
            return Err(Refusal::new(
                Reason::SignalTypeTooLarge,
                format!("the signal type has {given} bytes; the limit is {MAX_TYPE_BYTES}"),
            )
            .field(field));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '~');
        if let Some((at, bad)) = text.char_indices().find(|(_, c)| !allowed(*c)) {
            return Err(Refusal::new(
                Reason::SignalTypeInvalid,
                format!("the signal type has the character {bad:?} at byte {at}; only A-Z a-z 0-9 - _ ~ are allowed"),
            )
            .field(field));
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A small message: a type and data, both valid.
#[derive(Clone, PartialEq, Eq)]
pub struct Signal {
    kind: SignalType,
    data: String,
}

impl Signal {
    /// Parses a signal; fields are blamed as `signal.type` and `signal.data`.
    ///
    /// ```
    /// use signalbox::domain::{MAX_DATA_BYTES, Reason, Signal};
    ///
    /// let signal = Signal::parse("chat".into(), "hello".into())?;
    /// assert_eq!((signal.kind().as_str(), signal.data()), ("chat", "hello"));
    /// let refusal = Signal::parse("chat".into(), "x".repeat(MAX_DATA_BYTES + 1)).unwrap_err();
    /// assert_eq!(refusal.reason, Reason::SignalDataTooLarge);
    /// # Ok::<(), signalbox::domain::Refusal>(())
    /// ```
    ///
    /// # Errors
    /// `SIGNAL_TYPE_TOO_LARGE`, `SIGNAL_TYPE_INVALID`, `SIGNAL_DATA_TOO_LARGE`.
    pub fn parse(kind: String, data: String) -> Result<Self, Refusal> {
        let kind = SignalType::parse(kind, "signal.type")?;
        if data.len() > MAX_DATA_BYTES {
            let given = data.len();
            return Err(Refusal::new(
                Reason::SignalDataTooLarge,
                format!("the signal data has {given} bytes of UTF-8; the limit is {MAX_DATA_BYTES}"),
            )
            .field("signal.data"));
        }
        Ok(Self { kind, data })
    }

    /// A signal that was one before, of its parts.
    #[cfg(feature = "server")]
    pub(crate) fn again(kind: &str, data: &str) -> Self {
        Self { kind: SignalType(kind.to_owned()), data: data.to_owned() }
    }

    /// The type.
    #[must_use]
    pub fn kind(&self) -> &SignalType {
        &self.kind
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.data
    }
}

/// Never shows the data: signals may carry secrets, and `Debug` ends in logs.
impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signal({:?}, {} bytes)", self.kind.0, self.data.len())
    }
}

/// The types that a connection wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalTypes(Vec<SignalType>);

impl SignalTypes {
    /// Parses a filter; an empty one admits all.
    ///
    /// ```
    /// use signalbox::domain::{Limits, SignalType, SignalTypes};
    ///
    /// let wanted = SignalTypes::parse(vec!["chat".into()], &Limits::default(), "join.signal_types")?;
    /// assert!(wanted.admit(&SignalType::parse("chat".into(), "type")?));
    /// assert!(!wanted.admit(&SignalType::parse("typing".into(), "type")?));
    /// # Ok::<(), signalbox::domain::Refusal>(())
    /// ```
    ///
    /// # Errors
    /// As [`SignalType::parse`], and `SIGNAL_TYPE_INVALID` when there are more
    /// than `limits.max_signal_types`.
    pub fn parse(types: Vec<String>, limits: &Limits, field: &'static str) -> Result<Self, Refusal> {
        if limits.exceeds(types.len(), limits.max_signal_types) {
            let (given, most) = (types.len(), limits.max_signal_types);
            return Err(Refusal::new(
                Reason::SignalTypeInvalid,
                format!("the filter names {given} signal types; the limit is {most}"),
            )
            .field(field));
        }
        types.into_iter().map(|kind| SignalType::parse(kind, field)).collect::<Result<_, _>>().map(Self)
    }

    /// The types that are wanted; all, when there is none.
    #[cfg(feature = "redis")]
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(SignalType::as_str)
    }

    /// Whether any type is kept out.
    #[must_use]
    pub fn is_selective(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether signals of this type pass.
    #[must_use]
    pub fn admit(&self, kind: &SignalType) -> bool {
        self.0.is_empty() || self.0.contains(kind)
    }
}

/// A recipient as the sender named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Named {
    /// What could be a connection.
    Id(ConnectionId),
    /// What can't be one, so that it can be listed as not connected.
    Other(String),
}

impl Named {
    /// Reads a name.
    #[must_use]
    pub fn read(text: String) -> Self {
        ConnectionId::parse(&text).map_or(Self::Other(text), Self::Id)
    }

    /// How many bytes of memory it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        let text = match self {
            Self::Id(_) => 0,
            Self::Other(text) => text.capacity(),
        };
        std::mem::size_of::<Self>() + text
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => std::fmt::Display::fmt(id, f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// The most bytes of a recipient's name. Names that are no connection's are
/// listed in outcomes, which are kept; this bounds what a sender can make the
/// server keep.
const MAX_NAMED_BYTES: usize = 128;

/// Whom a signal is for: at least one recipient, each named once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipients(Vec<Named>);

impl Recipients {
    /// Parses a list of ids; those named twice count once from here on.
    ///
    /// ```
    /// use signalbox::domain::{Limits, Reason, Recipients};
    ///
    /// let id = String::from("006c501f-5dff-4162-af0f-5e2a8db25b3a");
    /// assert_eq!(Recipients::parse(vec![id.clone(), id], &Limits::default())?.named().len(), 1);
    /// // A filter that found nobody is no broadcast.
    /// let refusal = Recipients::parse(vec![], &Limits::default()).unwrap_err();
    /// assert_eq!(refusal.reason, Reason::RecipientsInvalid);
    /// # Ok::<(), signalbox::domain::Refusal>(())
    /// ```
    ///
    /// # Errors
    /// `RECIPIENTS_INVALID` for none, for more than `limits.max_recipients`, or
    /// for one over 128 bytes.
    pub fn parse(ids: Vec<String>, limits: &Limits) -> Result<Self, Refusal> {
        Self::new(ids.into_iter().map(Named::read).collect(), limits)
    }

    /// As [`Recipients::parse`], of names that were read.
    ///
    /// # Errors
    /// As [`Recipients::parse`].
    pub fn new(mut named: Vec<Named>, limits: &Limits) -> Result<Self, Refusal> {
        let refuse = |message| Err(Refusal::new(Reason::RecipientsInvalid, message).field("to.connection_ids"));
        let (given, most) = (named.len(), limits.max_recipients);
        if named.is_empty() {
            return refuse(format!(
                "`to` is present but names 0 recipients; it must name 1 to {most}, or be unset for a broadcast"
            ));
        }
        if limits.exceeds(given, most) {
            return refuse(format!("`to` names {given} recipients; the limit is {most}"));
        }
        let lengths = named.iter().map(|named| match named {
            Named::Id(_) => ConnectionId::TEXT_BYTES,
            Named::Other(text) => text.len(),
        });
        if let Some(long) = lengths.into_iter().find(|length| *length > MAX_NAMED_BYTES) {
            return refuse(format!(
                "`to` names a recipient by {long} bytes; a connection id has 36, the limit is {MAX_NAMED_BYTES}"
            ));
        }
        if given > 1 {
            let mut seen = HashSet::with_capacity(given);
            let first: Vec<_> = named.iter().map(|named| seen.insert(named)).collect();
            let mut first = first.into_iter();
            named.retain(|_| first.next() == Some(true));
        }
        Ok(Self(named))
    }

    /// The recipients, in the order they were named in.
    #[must_use]
    pub fn named(&self) -> &[Named] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(kind: &str, data: &str) -> Result<Signal, Refusal> {
        Signal::parse(kind.into(), data.into())
    }

    #[test]
    fn a_type_has_at_most_128_bytes_of_its_alphabet() {
        assert!(signal("", "").is_ok());
        assert!(signal(&"aZ0-_~".repeat(21), "").is_ok());
        assert!(signal(&"a".repeat(128), "").is_ok());
        let long = signal(&"a".repeat(129), "").unwrap_err();
        assert_eq!((long.reason, long.field), (Reason::SignalTypeTooLarge, Some("signal.type")));
        assert!(long.message.contains("129 bytes; the limit is 128"));
        for bad in ["a b", "a.b", "\u{e9}", "a\0"] {
            let refusal = signal(bad, "").unwrap_err();
            assert_eq!((refusal.reason, refusal.field), (Reason::SignalTypeInvalid, Some("signal.type")));
        }
    }

    #[test]
    fn data_is_counted_in_bytes_not_characters() {
        assert!(signal("", &"\u{e9}".repeat(4_096)).is_ok());
        let refusal = signal("", &"\u{e9}".repeat(4_097)).unwrap_err();
        assert_eq!((refusal.reason, refusal.field), (Reason::SignalDataTooLarge, Some("signal.data")));
        assert!(refusal.message.contains("8194 bytes of UTF-8; the limit is 8192"));
    }

    #[test]
    fn debug_never_shows_the_data() {
        assert!(!format!("{:?}", signal("t", "secret").unwrap()).contains("secret"));
    }

    #[test]
    fn recipients_are_1_to_100_and_each_once() {
        let limits = Limits::default();
        let ids = |n: usize| (0..n).map(|i| format!("id{i}")).collect::<Vec<_>>();
        for (given, says) in [(0, "names 0 recipients"), (101, "names 101 recipients; the limit is 100")] {
            let refusal = Recipients::parse(ids(given), &limits).unwrap_err();
            assert_eq!((refusal.reason, refusal.field), (Reason::RecipientsInvalid, Some("to.connection_ids")));
            assert!(refusal.message.contains(says));
        }
        let twice = Recipients::parse(vec!["a".into(), "b".into(), "a".into()], &limits).unwrap();
        assert_eq!(twice.named(), [Named::Other("a".into()), Named::Other("b".into())]);
        assert_eq!(Recipients::parse(ids(100), &limits).unwrap().named().len(), 100);
    }

    #[test]
    fn a_filter_has_at_most_32_types_and_empty_admits_all() {
        let limits = Limits::default();
        let kind = |text: &str| SignalType::parse(text.into(), "f").unwrap();
        assert!(SignalTypes::default().admit(&kind("x")));
        let some = SignalTypes::parse(vec!["x".into(), String::new()], &limits, "f").unwrap();
        assert!(some.admit(&kind("x")) && some.admit(&kind("")) && !some.admit(&kind("y")));
        let refusal = SignalTypes::parse(vec!["x".into(); 33], &limits, "join.signal_types").unwrap_err();
        assert_eq!((refusal.reason, refusal.field), (Reason::SignalTypeInvalid, Some("join.signal_types")));
        assert!(refusal.message.contains("33 signal types; the limit is 32"));
    }
}
