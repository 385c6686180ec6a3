//! `berth network`: the networks that containers join.

mod connect;
mod create;
mod disconnect;
mod inspect;
mod ls;
mod prune;
mod rm;

use anyhow::ensure;
use berth_client::segment;

pub(super) use prune::networks as prune_networks;

use super::{Exit, Verb, verb};

pub(super) const VERBS: &[Verb] = &[
    verb::<connect::Connect>("connect", &[], "Connect a container to a network"),
    verb::<create::Create>("create", &[], "Create a network"),
    verb::<disconnect::Disconnect>("disconnect", &[], "Disconnect a container from a network"),
    verb::<inspect::Inspect>("inspect", &[], "Display detailed information on one or more networks"),
    verb::<ls::Ls>("ls", &["list"], "List networks"),
    verb::<prune::Prune>("prune", &[], "Remove all unused networks"),
    verb::<rm::Rm>("rm", &["remove"], "Remove one or more networks"),
];

/// `/networks/NAME`.
pub(super) fn path(name: &str) -> anyhow::Result<String> {
    ensure!(!name.trim().is_empty(), "invalid network name or ID: value is empty");
    Ok(format!("/networks/{}", segment(name)))
}
