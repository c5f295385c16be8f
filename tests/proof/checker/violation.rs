//! A promise broken: which, and a sentence for people.

use std::fmt;

use crate::history::{Evidence, Place, Record};

/// Which promise. What a lie is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// The records themselves can't be: a tag sent twice, events before a join.
    Impossible,
    /// A place of the order holds different things for different clients.
    TwoThings,
    /// A client saw a place after a later one.
    OutOfOrder,
    /// A client saw something twice.
    Repeated,
    /// A client that was there, and reported no gap, didn't see its due.
    Lost,
    /// A client saw what was for others.
    NotEntitled,
    /// Something happened that nobody did.
    NobodySent,
    /// A signal has another sender than the one who sent it.
    WrongSender,
    /// One send took two places.
    HappenedTwice,
    /// It was refused, or never sent, and it happened.
    HappenedAnyway,
    /// It was accepted at another place than where it is.
    AcceptedElsewhere,
    /// A send has no outcome.
    Undecided,
    /// A send has more than one.
    DecidedTwice,
    /// The recipients told as not connected aren't those that were named and
    /// not there.
    WrongNotConnected,
    /// The signals of one sender aren't in the order in which it sent them.
    SenderDisorder,
    /// Another epoch or another connection, with no gap reported.
    Silence,
    /// Somebody sees another membership than the order makes.
    Membership,
    /// A connection event that the membership before it doesn't allow.
    Absurd,
    /// It never came to rest, or not everyone did.
    Restless,
}

/// A promise broken.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    pub(crate) sentence: String,
    /// Whose histories show it, as positions in the evidence.
    pub(crate) clients: Vec<usize>,
    pub(crate) place: Option<Place>,
    pub(crate) tag: Option<String>,
}

impl Violation {
    pub(crate) fn new(kind: Kind, sentence: String) -> Self {
        Self { kind, sentence, clients: Vec::new(), place: None, tag: None }
    }

    pub(crate) fn of(mut self, client: usize) -> Self {
        self.clients.push(client);
        self
    }

    pub(crate) fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The histories around it.
    pub(crate) fn context(&self, evidence: &Evidence) -> String {
        const AROUND: usize = 6;
        let mut text = String::new();
        for &client in &self.clients {
            let history = &evidence.histories[client];
            let near = |record: &Record| match (record, self.place) {
                (Record::Saw { place, .. }, Some(at)) => place.epoch == at.epoch && place.sequence >= at.sequence,
                (Record::Decided { tag, .. } | Record::Sent { tag, .. }, None) => Some(tag) == self.tag.as_ref(),
                _ => false,
            };
            let middle = history.records.iter().position(near).unwrap_or(history.records.len());
            let (from, to) = (middle.saturating_sub(AROUND), (middle + AROUND).min(history.records.len()));
            text += &format!("  {}:\n", history.name);
            for (at, record) in history.records[from..to].iter().enumerate() {
                let mark = if from + at == middle { '>' } else { ' ' };
                text += &format!("  {mark} {} {record:?}\n", from + at);
            }
        }
        text
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.sentence)
    }
}
