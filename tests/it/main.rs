//! The service and its rooms, from outside.

mod alive;
mod document;
mod engine_contract;
mod joining;
mod layering;
mod leaving;
mod resume;
mod signals;
mod support;
