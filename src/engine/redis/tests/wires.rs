//! Connections to Redis, and what is left of one that is over.

use crate::engine::redis::{Partitions, RedisSettings, Trouble, servers::Servers};

use super::Bed;

fn settings(url: &str) -> RedisSettings {
    url.parse().expect("a URL")
}

#[test]
fn nothing_that_was_sent_on_a_connection_is_done_once_there_is_another() {
    let Some(bed) = Bed::new() else { return };
    bed.runtime.block_on(async {
        let servers = Servers::new(settings(&bed.server.url()));
        let one = servers.wire(0).await.unwrap();
        one.close();
        // It is over for this node only; Redis would still do what comes by it.
        redis::cmd("PING").exec_async(&mut one.redis()).await.unwrap();
        let other = servers.wire(0).await.unwrap();
        assert_ne!(one.number(), other.number());
        redis::cmd("PING").exec_async(&mut one.redis()).await.unwrap_err();
        redis::cmd("PING").exec_async(&mut other.redis()).await.unwrap();
    });
}

#[test]
fn who_may_not_end_connections_is_told_so_at_once() {
    let Some(bed) = Bed::new() else { return };
    bed.server.ask(redis::cmd("ACL").arg(&["SETUSER", "weak", "on", ">pw", "~*", "&*", "+@all", "-client|kill"][..]));
    let url = bed.server.url().replacen('?', "?user=weak&pass=pw&", 1);
    bed.runtime.block_on(async {
        let Err(Trouble::Unfit(why)) = Servers::new(settings(&url)).wire(0).await else { panic!("it is let in") };
        assert!(why.contains("client|kill"), "{why}");
        let why = settings(&url).check(Partitions::new(4)).await.unwrap_err();
        assert!(why.contains("client|kill"), "{why}");
    });
}
