//! What several verbs take.

pub(crate) mod bytes;
pub(crate) mod container;
pub(crate) mod creation;
mod csv;
pub(crate) mod duration;
pub(crate) mod map;
pub(crate) mod moment;
mod mount;
pub(crate) mod names;
mod network;
pub(crate) mod ports;

use crate::commands::Exit;

/// Docker's words for a flag's value that is none.
pub(crate) fn invalid(flag: &str, value: &str, why: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("invalid argument {value:?} for \"{flag}\" flag: {why}")
}

/// As [`invalid`], and the program ends as with a flag that clap refuses.
pub(crate) fn wrong_flag(flag: &str, value: &str, why: impl std::fmt::Display) -> anyhow::Error {
    Exit { code: 125, error: invalid(flag, value, why) }.into()
}
