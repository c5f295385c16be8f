//! The service and its rooms, from outside.

mod alive;
mod document;
mod engine_contract;
mod joining;
mod layering;
mod leaving;
mod once;
mod resume;
mod signals;
mod support;
