//! The scripts, each with what all begin with. What each is given and does is written at
//! its head.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("scripts/common.lua"), include_str!($file))));
    };
}

script!(JOIN, "scripts/join.lua");
script!(SEND, "scripts/send.lua");
script!(DETACH, "scripts/detach.lua");
script!(SERVER, "scripts/server.lua");
script!(LOST, "scripts/lost.lua");
script!(REAP, "scripts/reap.lua");
script!(LOOK, "scripts/look.lua");

/// Of no session: without what the others begin with.
pub(super) static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/beat.lua")));
