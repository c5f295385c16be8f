//! What a server wants of all its transports.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{engine::lock, hub::Bell};

/// Finishes, or cuts, transports.
#[derive(Default)]
pub struct Control {
    finishing: AtomicBool,
    cut: AtomicBool,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    next: u64,
    bells: HashMap<u64, Arc<Bell>>,
}

impl Control {
    /// Has all transports finish their streams, take no more of them, and go.
    pub fn finish(&self) {
        self.finishing.store(true, Ordering::Release);
        self.ring();
    }

    /// Has all transports go at once.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        lock(&self.inside).bells.values().for_each(|bell| bell.ring(Bell::ALL));
    }

    pub(in crate::grpc) fn enter(control: &Arc<Self>, bell: Arc<Bell>) -> Place {
        let mut inside = lock(&control.inside);
        inside.next += 1;
        let number = inside.next;
        inside.bells.insert(number, bell);
        Place { control: Arc::clone(control), number }
    }
}

/// One transport's place; dropping it gives the place back.
pub(in crate::grpc) struct Place {
    control: Arc<Control>,
    number: u64,
}

impl Place {
    pub(in crate::grpc) fn is_finishing(&self) -> bool {
        self.control.finishing.load(Ordering::Acquire)
    }

    pub(in crate::grpc) fn is_cut(&self) -> bool {
        self.control.cut.load(Ordering::Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = lock(&self.control.inside);
        inside.bells.remove(&self.number);
        // A crowd that has left leaves no memory behind.
        if inside.bells.len() * 4 < inside.bells.capacity() {
            inside.bells.shrink_to_fit();
        }
    }
}
