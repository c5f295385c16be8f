//! Panics: each is a bug of ours. They are counted and logged, wherever they are
//! caught; what a peer sent is not in the line.

use std::{
    panic::{PanicHookInfo, set_hook},
    sync::atomic::{AtomicU64, Ordering},
};

/// Of the whole process: so are panics.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// From now on, logs the process's panics, and counts them, instead of printing
/// them.
pub fn watch_panics() {
    set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::current();
        tracing::error!(
            location = panic.location().map(tracing::field::display),
            thread = thread.name(),
            "a panic, which is a bug: {}; what it happened to has ended",
            message(panic)
        );
    }));
}

/// How many there were since [`watch_panics`].
#[must_use]
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// What it says, when that was written here. What is put together when it happens
/// may hold what a peer sent: a text that was cut between its characters is shown
/// whole.
fn message(panic: &PanicHookInfo<'_>) -> &'static str {
    panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("its message is left out")
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{catch_unwind, take_hook},
        sync::{Arc, Mutex, PoisonError},
    };

    use super::*;

    #[test]
    fn they_are_counted_and_say_nothing_of_what_was_sent() {
        let usual = take_hook();
        watch_panics();
        let before = panics();
        let secret = "sécret".to_owned();
        let _ = catch_unwind(|| secret[..2].len());
        let _ = catch_unwind(|| panic!("a bug"));
        // Other tests may panic meanwhile.
        assert!(panics() >= before + 2);
        // Other tests' panics come here, too, and one in a hook would end them all.
        let (seen, here) = (Arc::new(Mutex::new(None)), std::thread::current().id());
        let told = Arc::clone(&seen);
        set_hook(Box::new(move |panic| {
            if std::thread::current().id() == here {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(message(panic));
            }
        }));
        let _ = catch_unwind(|| secret[..2].len());
        set_hook(usual);
        assert_eq!(*seen.lock().unwrap_or_else(PoisonError::into_inner), Some("its message is left out"));
    }
}
