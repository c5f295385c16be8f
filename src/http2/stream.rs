//! The open streams of a connection.

use super::{
    StreamId,
    window::{Inbound, Outbound},
};

/// An open stream: one that neither a reset nor the ends of both sides took away.
#[derive(Debug)]
pub(super) struct Stream<S> {
    /// The user's.
    pub(super) state: Option<S>,
    /// How much of the content that was announced is yet to come.
    pub(super) length: Option<u64>,
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    /// The peer sends nothing more.
    pub(super) request_ended: bool,
    /// Headers were sent.
    pub(super) answered: bool,
    /// This side sends nothing more.
    pub(super) answer_ended: bool,
}

/// The streams by their ids, which come in rising order.
///
/// The newest lies in the connection itself: of most, it is the only one, and
/// whatever is done is done for it.
#[derive(Debug)]
pub(super) struct Streams<S> {
    newest: Option<(StreamId, Stream<S>)>,
    older: Vec<(StreamId, Box<Stream<S>>)>,
}

/// Fewer places than this are kept whatever happens.
const FEW: usize = 4;

impl<S> Streams<S> {
    pub(super) fn new() -> Self {
        Self { newest: None, older: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.older.len() + usize::from(self.newest.is_some())
    }

    fn place(&self, id: StreamId) -> Option<usize> {
        self.older.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    pub(super) fn get(&self, id: StreamId) -> Option<&Stream<S>> {
        match &self.newest {
            Some((newest, stream)) if *newest == id => Some(stream),
            _ => self.place(id).map(|place| &*self.older[place].1),
        }
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream<S>> {
        match &mut self.newest {
            Some((newest, stream)) if *newest == id => Some(stream),
            _ => {
                let place = self.older.binary_search_by_key(&id, |(id, _)| *id).ok()?;
                Some(&mut self.older[place].1)
            }
        }
    }

    /// The stream, where there is one.
    pub(super) fn only_mut(&mut self) -> Option<(StreamId, &mut Stream<S>)> {
        self.newest.as_mut().filter(|_| self.older.is_empty()).map(|(id, stream)| (*id, stream))
    }

    /// Adds a stream, whose id is higher than all before.
    pub(super) fn push(&mut self, id: StreamId, stream: Stream<S>) {
        debug_assert!(self.newest.as_ref().is_none_or(|(newest, _)| *newest < id));
        if let Some((id, older)) = self.newest.replace((id, stream)) {
            self.older.push((id, Box::new(older)));
        }
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<Stream<S>> {
        if self.newest.as_ref().is_some_and(|(newest, _)| *newest == id) {
            let next = self.older.pop().map(|(id, stream)| (id, *stream));
            self.shrink();
            return std::mem::replace(&mut self.newest, next).map(|(_, stream)| stream);
        }
        let (_, stream) = self.older.remove(self.place(id)?);
        self.shrink();
        Some(*stream)
    }

    /// Takes the newest away.
    pub(super) fn pop(&mut self) -> Option<Stream<S>> {
        let newest = self.newest.as_ref()?.0;
        self.remove(newest)
    }

    fn shrink(&mut self) {
        if self.older.capacity() > FEW && self.older.len() < self.older.capacity() / 4 {
            self.older.shrink_to(self.older.len() * 2);
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Stream<S>)> {
        let newest = self.newest.as_mut().map(|(id, stream)| (*id, stream));
        self.older.iter_mut().map(|(id, stream)| (*id, &mut **stream)).chain(newest)
    }

    #[cfg(test)]
    pub(super) fn footprint(&self) -> usize {
        self.older.capacity() * size_of::<(StreamId, Box<Stream<S>>)>() + self.older.len() * size_of::<Stream<S>>()
    }
}
