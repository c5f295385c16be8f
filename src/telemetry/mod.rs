//! What the service tells its operator. Layer 2: imports the domain only.

pub mod audit;
mod calls;
mod caps;
mod logging;
mod metrics;
mod panics;
mod process;
mod traces;

pub use calls::{Call, CallStatus, Calls, Method};
pub use caps::{Cap, Caps};
pub use logging::{LogFormat, init_logging};
pub use metrics::{Metrics, Registry, SignalSource, UnaryMethod};
pub use panics::{panics, watch_panics};
pub use traces::{Beginning, CallSpan, Note, Sent, SpanCounts, TraceSettings, Tracer};
