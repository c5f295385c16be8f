//! The scripts, each with what all begin with. What each is given and does is written at
//! its head.

use std::sync::LazyLock;

use redis::Script;

/// Two kinds: those that are refused when memory is short, as a whole, before they do
/// anything, and those that are not, because memory gets no shorter by them.
macro_rules! script {
    ($name:ident, $flags:literal, $($file:literal),+) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                $flags,
                "\n",
                include_str!("scripts/common/session.lua"),
                $(include_str!(concat!("scripts/", $file, ".lua"))),+
            ))
        });
    };
}

script!(JOIN, "#!lua", "common/members", "common/views", "join");
script!(SEND, "#!lua", "send");
script!(SEND_AND_MORE, "#!lua", "common/members", "leaving", "send");
script!(LEAVE, "#!lua flags=allow-oom", "common/members", "leaving", "send");
script!(BESIDE, "#!lua", "common/members", "leaving", "beside", "send");
script!(LEAVE_BESIDE, "#!lua flags=allow-oom", "common/members", "leaving", "beside", "send");
script!(SIGNAL, "#!lua", "common/views", "signal");
script!(DISCONNECT, "#!lua", "common/members", "disconnect");
script!(DETACH, "#!lua flags=allow-oom", "common/members", "detach");
script!(LOST, "#!lua flags=allow-oom", "common/members", "lost");
script!(REAP, "#!lua flags=allow-oom", "common/members", "reap");
script!(SETTLE, "#!lua flags=allow-oom", "common/members", "settle");
script!(LOOK, "#!lua flags=allow-oom,no-writes", "common/views", "look");

/// Of no session: without what the others begin with.
pub(super) static BEAT: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!("#!lua flags=allow-oom\n", include_str!("scripts/beat.lua"))));
