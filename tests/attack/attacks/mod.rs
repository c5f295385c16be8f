//! The attacks.

mod crowds;
mod floods;
mod idlers;
mod readers;
mod streams;
mod tokens;

use crate::{ground::Ground, server::Kind};

/// One of them.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// The server it is for.
    pub(crate) kind: Kind,
    /// What is counted.
    pub(crate) unit: &'static str,
    /// How many connections it holds at once.
    pub(crate) held: fn(&Ground) -> usize,
    pub(crate) run: fn(&Ground),
}

const fn attack(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    held: fn(&Ground) -> usize,
    run: fn(&Ground),
) -> Attack {
    Attack { name, kind, unit, held, run }
}

/// Attackers that write as fast as they can.
pub(crate) const FLOODERS: usize = 4;

const fn few(_: &Ground) -> usize {
    16
}

pub(crate) const ALL: [Attack; 32] = [
    attack("rapid-reset", Kind::Open, "streams", few, floods::rapid_reset),
    attack("continuation-flood", Kind::Open, "frames", few, floods::continuation),
    attack("hpack-bomb", Kind::Open, "requests", few, floods::hpack_bomb),
    attack("ping-flood", Kind::Open, "frames", few, floods::ping),
    attack("ping-flood-deaf", Kind::Open, "frames", few, floods::deaf_ping),
    attack("settings-flood", Kind::Open, "frames", few, floods::settings),
    attack("empty-data-flood", Kind::Open, "frames", few, floods::empty_data),
    attack("window-update-flood", Kind::Open, "frames", few, floods::window_update),
    attack("priority-flood", Kind::Open, "frames", few, floods::priority),
    attack("no-preface", Kind::Open, "connections", idlers::held, idlers::no_preface),
    attack("half-preface", Kind::Open, "connections", idlers::held, idlers::half_preface),
    attack("half-tls-hello", Kind::Tls, "connections", idlers::held, idlers::half_hello),
    attack("slow-headers", Kind::Open, "connections", idlers::held, idlers::slow_headers),
    attack("no-join", Kind::Open, "connections", idlers::held, idlers::no_join),
    attack("connection-flood", Kind::FewFiles, "connections", idlers::over_files, idlers::connection_flood),
    attack("connection-cap", Kind::FewPlaces, "connections", idlers::over_places, idlers::connection_cap),
    attack("connect-and-close", Kind::Open, "connections", few, idlers::connect_and_close),
    attack("zero-window", Kind::Open, "signals", readers::held, readers::zero_window),
    attack("one-byte-window", Kind::Open, "signals", readers::held, readers::one_byte_window),
    attack("deaf-sockets", Kind::Open, "signals", readers::held, readers::deaf_sockets),
    attack("abandoned-streams", Kind::Open, "streams", few, streams::abandoned),
    attack("giant-messages", Kind::Open, "streams", few, streams::giant),
    attack("endless-messages", Kind::Open, "bytes", few, streams::endless),
    attack("endless-bodies", Kind::Open, "bytes", few, streams::endless_bodies),
    attack("compressed-bombs", Kind::Open, "streams", few, streams::compressed),
    attack("garbage", Kind::Open, "bytes", few, streams::garbage),
    attack("join-leave-storm", Kind::Open, "joins", few, crowds::join_and_leave),
    attack("crowd", Kind::Open, "signals", few, crowds::crowd),
    attack("sessions", Kind::Open, "sessions", few, crowds::sessions),
    attack("full-speed-sender", Kind::Open, "sends", few, crowds::full_speed),
    attack("idempotency-keys", Kind::Open, "calls", few, crowds::keys),
    attack("forged-tokens", Kind::Tokens, "tokens", few, tokens::forged),
];
