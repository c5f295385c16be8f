//! The proof, end to end, that nothing is lost, repeated or reordered.

mod checker;
mod good;
mod history;
mod lies;
