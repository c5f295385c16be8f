//! The words that everything above speaks: parsed once, valid ever after.
//! Layer 0: imports nothing of ours.

#[cfg(feature = "server")]
mod budget;
mod closing;
mod event;
mod ids;
mod limits;
mod reason;
mod role;
mod signal;

// What a server spends.
#[cfg(feature = "server")]
pub use budget::{Budget, Charge, MEMORY_STEP, Relief, Spent, level};
pub use closing::{ClientAction, DisconnectReason, Ending};
pub use event::{Audience, ConnectionInfo, Entry, Event};
pub use ids::{ConnectionId, ConnectionMap, Epoch, IdempotencyKey, ResumeToken, SendId, Sequence, SessionId};
// Making and hashing tokens is a server's work.
#[cfg(feature = "server")]
pub use ids::{RESUME_TOKEN_BYTES, TokenHash};
pub use limits::{Limits, MAX_DATA_BYTES, MAX_FRAME_BYTES, MAX_IDEMPOTENCY_KEY_BYTES, MAX_TYPE_BYTES};
pub use reason::{Code, Reason, Refusal};
pub use role::Role;
pub use signal::{Named, Recipients, Signal, SignalType, SignalTypes};
