//! How a stream's reading side learns that something waits for it: one waker
//! for a whole transport, rung once per burst.
//!
//! A fan-out rings every receiver. That must neither lock nor allocate, and
//! must wake a transport once, however many of its streams have news.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    task::Context,
};

use futures_util::task::AtomicWaker;

/// The reading side is at work and looks again before it rests.
const AWAKE: u64 = 1 << 63;

/// Rung for many transports at once.
const CROWD: u64 = 1 << 62;

/// How many streams of a transport have a bit of their own; beyond, they share.
const BITS: u32 = 62;

/// One transport's bell.
#[derive(Debug, Default)]
pub struct Bell {
    /// Which streams have news, and [`AWAKE`].
    ready: AtomicU64,
    waker: AtomicWaker,
}

/// Which of a transport's streams: a set of bits.
pub type Bits = u64;

impl Bell {
    /// All streams.
    pub const ALL: Bits = CROWD - 1;
    /// Rung beside a stream's bit, where as many more are rung for the same.
    pub const CROWD: Bits = CROWD;

    /// The bit of the transport's stream with this number.
    #[must_use]
    pub fn bit(number: u32) -> Bits {
        1 << (number % BITS)
    }

    /// There is news for a stream. Wakes when nobody rang before.
    pub fn ring(&self, bit: Bits) {
        // Always a read-modify-write: a plain load could miss that the reading
        // side has just taken the bit, and the news would wait for ever.
        if self.ready.fetch_or(bit, Ordering::AcqRel) == 0 {
            self.waker.wake();
        }
    }

    /// Whether there is news that many transports have.
    pub fn is_for_a_crowd(&self) -> bool {
        self.ready.load(Ordering::Relaxed) & CROWD != 0
    }

    /// Which streams have news. Until [`Bell::rest`] nobody is woken.
    pub fn take(&self) -> Bits {
        self.ready.swap(AWAKE, Ordering::AcqRel) & Self::ALL
    }

    /// Which more have news since, while nobody is woken. May miss one that
    /// rings at this moment; [`Bell::rest`] doesn't.
    pub fn take_more(&self) -> Bits {
        if self.ready.load(Ordering::Acquire) == AWAKE { 0 } else { self.take() }
    }

    /// Waits for the next ring. False when there was one meanwhile: look again.
    #[must_use]
    pub fn rest(&self, context: &mut Context<'_>) -> bool {
        self.waker.register(context.waker());
        self.ready.compare_exchange(AWAKE, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicUsize};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_burst_wakes_once_and_none_is_missed() {
        let (bell, woken) = (Bell::default(), Arc::new(Woken::default()));
        let waker = Arc::clone(&woken).into();
        let mut context = Context::from_waker(&waker);
        assert_eq!(bell.take(), 0);
        assert!(bell.rest(&mut context));
        (0..100).for_each(|number| bell.ring(Bell::bit(number % 3)));
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert_eq!(bell.take(), 0b111);
        assert_eq!(bell.take_more(), 0);
        bell.ring(Bell::bit(5));
        assert_eq!((bell.take_more(), bell.take_more()), (1 << 5, 0));
        bell.ring(Bell::bit(63));
        assert!(!bell.rest(&mut context), "it rang meanwhile");
        assert_eq!(bell.take(), 0b10, "stream 63 shares the bit of stream 1");
        bell.ring(Bell::bit(0) | Bell::CROWD);
        assert!(bell.is_for_a_crowd() && bell.take() == 1 && !bell.is_for_a_crowd());
        assert!(bell.rest(&mut context));
        assert_eq!(woken.0.load(Ordering::SeqCst), 1, "who is awake is not woken");
    }
}
