//! Sessions in Redis 7 or Valkey, where any number of nodes serve them.
//!
//! Redis is the authority: each transition of a session is one script, which is
//! atomic, begins with the node's lease and does nothing without it. The scripts do
//! what `session` specifies, and are held to it: `tests` plays the same random
//! histories on both. Events go to the nodes that have members of the session, by one
//! channel per partition and node; an event names its place, so that one that is lost
//! shows at the next, and is read from the log.

mod keys;
mod mirror;
mod pack;
mod reply;
mod scripts;
mod store;
#[cfg(test)]
mod tests;
mod upkeep;

pub use keys::{Keys, Partitions, channel, leases};
pub use mirror::{Deed, Mirror};
pub use reply::{Placed, Push, Seated, Trouble};
pub use store::{Done, Store};
pub use upkeep::{Beat, Pulse};
