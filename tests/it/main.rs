//! The service and its rooms, from outside.

mod alive;
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
mod support;
