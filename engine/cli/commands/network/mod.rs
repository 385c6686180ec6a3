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
use crate::options;

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

/// A flag's value that is none ends the program as one that clap refuses.
fn wrong_flag(flag: &str, value: &str, why: impl std::fmt::Display) -> anyhow::Error {
    Exit { code: 125, error: options::invalid(flag, value, why) }.into()
}

/// `KEY=VALUE` or `KEY`, as Docker reads maps: the last one of a key counts.
fn map(list: &[String]) -> std::collections::HashMap<String, String> {
    list.iter()
        .map(|text| text.split_once('=').unwrap_or((text, "")))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}
