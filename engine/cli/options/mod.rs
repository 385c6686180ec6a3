//! What several verbs take.

pub(crate) mod bytes;
pub(crate) mod container;
pub(crate) mod creation;
pub(crate) mod duration;
pub(crate) mod moment;
mod mount;
mod ports;
