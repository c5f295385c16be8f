//! The machine, by example and over random histories.
