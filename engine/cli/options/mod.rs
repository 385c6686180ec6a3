//! What several verbs take.

pub(crate) mod bytes;
pub(crate) mod container;
pub(crate) mod creation;
mod csv;
pub(crate) mod duration;
pub(crate) mod moment;
mod mount;
pub(crate) mod names;
mod network;
pub(crate) mod ports;

/// Docker's words for a flag's value that is none.
pub(crate) fn invalid(flag: &str, value: &str, why: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("invalid argument {value:?} for \"{flag}\" flag: {why}")
}
