//! The scripts, each with what all begin with. What each is given and does is written at
//! its head.

use std::sync::LazyLock;

use redis::Script;

/// Two kinds: those that are refused when memory is short, as a whole, before they do
/// anything, and those that are not, because memory gets no shorter by them.
macro_rules! script {
    ($name:ident, $flags:literal, $file:literal) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!($flags, "\n", include_str!("scripts/common.lua"), include_str!($file)))
        });
    };
}

script!(JOIN, "#!lua", "scripts/join.lua");
script!(SEND, "#!lua", "scripts/send.lua");
script!(LEAVE, "#!lua flags=allow-oom", "scripts/send.lua");
script!(SERVER, "#!lua", "scripts/server.lua");
script!(DETACH, "#!lua flags=allow-oom", "scripts/detach.lua");
script!(LOST, "#!lua flags=allow-oom", "scripts/lost.lua");
script!(REAP, "#!lua flags=allow-oom", "scripts/reap.lua");
script!(SETTLE, "#!lua flags=allow-oom", "scripts/settle.lua");
script!(LOOK, "#!lua flags=allow-oom,no-writes", "scripts/look.lua");

/// Of no session: without what the others begin with.
pub(super) static BEAT: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!("#!lua flags=allow-oom\n", include_str!("scripts/beat.lua"))));
