//! Each work: who is there, what is sent when, and what is counted.

mod bad;
pub(super) mod fanout;
pub(super) mod idle;
pub(super) mod join;
pub(super) mod mixed;
pub(super) mod pairs;
pub(super) mod unary;

use std::io;

use super::{
    drive::{Cost, Moment},
    net::Net,
    options::Options,
    usage::Usage,
};

/// What the server had used before anybody came.
fn before(net: &Net, options: &Options) -> io::Result<Option<Usage>> {
    Ok(Moment::read(net, options)?.server())
}

/// What came is not what was sent.
fn not_ours(payload: &[u8]) -> io::Error {
    let shown = String::from_utf8_lossy(&payload[..payload.len().min(40)]).into_owned();
    io::Error::new(io::ErrorKind::InvalidData, format!("a signal came that the load did not send: {shown:?}"))
}

/// Whether anything was counted at all: a figure per nothing is none.
fn counted(units: u64, cost: Cost) -> io::Result<Cost> {
    match units {
        0 => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came in the measured time; it is too short")),
        _ => Ok(cost),
    }
}
