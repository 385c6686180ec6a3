//! `/volumes`: there are none yet; bind mounts and tmpfs need none.

use hyper::StatusCode;
use serde_json::json;

use crate::reply::{self, Reply};
use crate::status::Failure;

pub(crate) fn list() -> Result<Reply, Failure> {
    Ok(reply::ok(&json!({ "Volumes": [], "Warnings": null })))
}

pub(crate) fn prune() -> Result<Reply, Failure> {
    Ok(reply::ok(&json!({ "VolumesDeleted": [], "SpaceReclaimed": 0 })))
}

pub(crate) fn none_yet() -> Failure {
    Failure::unsupported("volumes are not supported yet; use a bind mount (-v /HOST/PATH:/PATH) or --tmpfs")
}

pub(crate) fn no_such(name: &str) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, format!("get {name}: no such volume"))
}
