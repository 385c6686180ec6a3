//! One list of behaviours, run on every driver whose probe passes.
//!
//! Each behaviour gets a [`Bed`]: a driver over a state folder of its own. Drivers that do not work here are named
//! with their reason. Everything is mounted in private namespaces only.

mod agreement;
mod archives;
mod attributes;
pub(crate) mod bed;
mod crash;
mod datasets;
mod elsewhere;
mod files;
mod ground;
mod hostile;
mod layers;
mod one_file;
mod owners;
pub(crate) mod properties;
mod removal;
mod subvolumes;
mod thin;

use bed::{Bed, each};
