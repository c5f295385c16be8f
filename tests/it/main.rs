//! The service and its rooms, from outside.

mod admin;
mod alive;
mod backend;
mod bad_input;
mod client;
mod command;
mod discovery;
mod document;
mod drain;
mod endpoints;
mod engine_contract;
mod examples;
mod full;
mod joining;
mod layering;
mod leaving;
mod limits;
mod once;
mod process;
mod resume;
mod sessions;
mod signals;
mod slow;
mod support;
mod watching;
mod workers;
