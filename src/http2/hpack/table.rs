//! The dynamic table: what the peer has named before. Source: RFC 7541,
//! sections 2.3 and 4.

use std::collections::VecDeque;

use super::{super::field::Field, TABLE_BYTES};

/// What an entry counts for beyond its bytes.
const OVERHEAD_BYTES: usize = 32;

/// How the buffer grows: tables of idle connections are many.
const STEP_BYTES: usize = 64;

#[derive(Clone, Copy)]
struct Entry {
    start: u16,
    name: u16,
    value: u16,
    /// Judged once, when it came.
    field: Field,
}

impl Entry {
    fn size(self) -> usize {
        self.bytes() + OVERHEAD_BYTES
    }

    fn bytes(self) -> usize {
        usize::from(self.name) + usize::from(self.value)
    }
}

pub(super) struct Table {
    /// Names and values, the oldest first, after bytes of evicted entries.
    bytes: Vec<u8>,
    /// The oldest first.
    entries: VecDeque<Entry>,
    evicted: u16,
    size: u16,
    limit: u16,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), entries: VecDeque::new(), evicted: 0, size: 0, limit: TABLE_BYTES as u16 }
    }

    /// The `nth` entry, 0 being the newest.
    pub(super) fn get(&self, nth: usize) -> Option<(Field, &[u8], &[u8])> {
        let entry = self.entries.get(self.entries.len().checked_sub(nth + 1)?)?;
        let bytes = &self.bytes[usize::from(entry.start)..][..entry.bytes()];
        let (name, value) = bytes.split_at(usize::from(entry.name));
        Some((entry.field, name, value))
    }

    /// Sets the limit, which is [`TABLE_BYTES`] at most.
    pub(super) fn resize(&mut self, limit: u16) {
        self.limit = limit;
        self.make_room(0);
    }

    pub(super) fn insert(&mut self, field: Field, name: &[u8], value: &[u8]) {
        let bytes = name.len() + value.len();
        self.make_room(bytes + OVERHEAD_BYTES);
        if bytes + OVERHEAD_BYTES > usize::from(self.limit) {
            return;
        }
        if self.bytes.len() + bytes > self.bytes.capacity() {
            self.make_capacity(bytes);
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        let entry = Entry { start: start as u16, name: name.len() as u16, value: value.len() as u16, field };
        self.entries.push_back(entry);
        self.size += entry.size() as u16;
    }

    /// Evicts until `size` more fit, or nothing is left.
    fn make_room(&mut self, size: usize) {
        while usize::from(self.size) + size > usize::from(self.limit) {
            let Some(entry) = self.entries.pop_front() else { break };
            self.size -= entry.size() as u16;
            self.evicted += entry.bytes() as u16;
        }
        if self.entries.is_empty() {
            self.bytes.clear();
            self.evicted = 0;
        }
    }

    /// Makes the buffer take `more`: over the evicted where they are a good
    /// part, so that moving the others stays cheap and the buffer is never
    /// more than twice the table.
    fn make_capacity(&mut self, more: usize) {
        let evicted = usize::from(self.evicted);
        if evicted * 2 >= self.bytes.len() && evicted > 0 {
            self.bytes.drain(..evicted);
            for entry in &mut self.entries {
                entry.start -= self.evicted;
            }
            self.evicted = 0;
        }
        self.bytes.reserve_exact(more.next_multiple_of(STEP_BYTES));
    }

    #[cfg(test)]
    pub(super) fn footprint(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}
