//! The service and its rooms, from outside.

mod engine_contract;
mod layering;
