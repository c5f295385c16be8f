//! The service over a real port.
