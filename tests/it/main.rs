//! The service and its rooms, from outside.

mod admin;
mod alive;
mod auth;
mod backend;
mod bad_input;
mod caps;
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
mod many_nodes;
mod once;
mod process;
mod rest;
mod resume;
mod sessions;
mod signals;
mod slow;
mod status;
mod support;
mod tls;
#[cfg(feature = "otlp")]
mod traces;
mod watching;
mod web;
mod workers;
