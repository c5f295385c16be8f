//! The service and its rooms, from outside.

mod alive;
mod bad_input;
mod document;
mod engine_contract;
mod full;
mod joining;
mod layering;
mod leaving;
mod limits;
mod once;
mod resume;
mod signals;
mod slow;
mod support;
