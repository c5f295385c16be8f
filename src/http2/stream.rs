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
#[derive(Debug)]
pub(super) struct Streams<S>(Vec<(StreamId, Box<Stream<S>>)>);

/// Fewer places than this are kept whatever happens.
const FEW: usize = 4;

impl<S> Streams<S> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn place(&self, id: StreamId) -> Option<usize> {
        // Most often the newest, or the only one.
        match self.0.last() {
            Some((last, _)) if *last == id => Some(self.0.len() - 1),
            _ => self.0.binary_search_by_key(&id, |(id, _)| *id).ok(),
        }
    }

    pub(super) fn get(&self, id: StreamId) -> Option<&Stream<S>> {
        self.place(id).map(|place| &*self.0[place].1)
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream<S>> {
        self.place(id).map(|place| &mut *self.0[place].1)
    }

    /// Adds a stream, whose id is higher than all before.
    pub(super) fn push(&mut self, id: StreamId, stream: Stream<S>) {
        debug_assert!(self.0.last().is_none_or(|(last, _)| *last < id));
        if self.0.capacity() == 0 {
            self.0.reserve_exact(1);
        }
        self.0.push((id, Box::new(stream)));
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<Stream<S>> {
        let (_, stream) = self.0.remove(self.place(id)?);
        if self.0.capacity() > FEW && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
        Some(*stream)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Stream<S>)> {
        self.0.iter_mut().map(|(id, stream)| (*id, &mut **stream))
    }

    #[cfg(test)]
    pub(super) fn footprint(&self) -> usize {
        self.0.capacity() * size_of::<(StreamId, Box<Stream<S>>)>() + self.len() * size_of::<Stream<S>>()
    }
}
