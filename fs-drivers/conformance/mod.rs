//! One list of behaviours, run on every driver whose probe passes.
//!
//! Each behaviour gets a [`Bed`]: a driver over a state folder of its own. Drivers that do not work here are named
//! with their reason. Everything is mounted in private namespaces only.

mod agreement;
mod archives;
mod bed;
mod elsewhere;
mod hostile;
mod layers;
mod properties;
mod removal;

use bed::{Bed, each};
