//! Sessions in Redis 7 or Valkey, where any number of nodes serve them.
//!
//! Redis is the authority: each transition of a session is one script, which is
//! atomic, begins with the node's lease and does nothing without it. The scripts do
//! what `session` specifies, and are held to it: `tests` plays the same random
//! histories on both. Events go to the nodes that have members of the session, by one
//! channel per partition and node; an event names its place, so that one that is lost
//! shows at the next, and is read from the log.

mod counts;
mod engine;
mod examine;
mod keeper;
mod keys;
mod link;
mod listing;
mod mirror;
mod pack;
mod part;
mod recover;
mod reply;
mod scripts;
mod sends;
mod servers;
mod settings;
mod slot;
mod store;
#[cfg(test)]
mod tests;
mod upkeep;
mod watching;
mod wire;

pub use counts::Observe;
pub use engine::RedisEngine;
pub use examine::{Finding, Verdict};
pub use keys::{Keys, Partitions, channel, leases};
pub use mirror::{Deed, Mirror};
pub use reply::{Placed, Push, Seated, Trouble};
pub use sends::Asked;
pub use settings::{RedisSettings, RedisTls};
pub use store::{Done, Store};
pub use upkeep::{Beat, Pulse};

use crate::random::{Random as _, SystemRandom};

use counts::Counts;

/// Bytes that no other has. Where there is no randomness a node can't have a name.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom.fill(&mut bytes).expect("the system has randomness");
    bytes
}
