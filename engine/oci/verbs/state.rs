//! `state`.

use std::collections::HashMap;
use std::path::PathBuf;

use berth_backends::ContainerId;
use serde::Serialize;

use super::print;
use crate::Context;
use crate::container::{Container, Status};

#[derive(clap::Args)]
pub(crate) struct Show {
    /// The container's ID
    id: ContainerId,
}

/// As the specification has it, with runc's additions.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    pub(super) oci_version: String,
    pub(super) id: String,
    /// 0 when the container has stopped.
    pub(super) pid: i32,
    pub(super) status: Status,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: PathBuf,
    pub(super) created: String,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    annotations: HashMap<String, String>,
    /// A user's number.
    pub(super) owner: String,
}

impl State {
    pub(super) fn of(context: &Context, container: &Container) -> Self {
        let status = container.status(context);
        let record = container.record.as_ref();
        let pid = record.map(|record| record.sandbox.pid).filter(|_| status != Status::Stopped);
        Self {
            oci_version: record.map_or_else(|| crate::SPEC_VERSION.to_owned(), |record| record.oci_version.clone()),
            id: container.id.to_string(),
            pid: pid.unwrap_or(0),
            status,
            bundle: record.map(|record| record.bundle.clone()).unwrap_or_default(),
            rootfs: record.map(|record| record.rootfs.clone()).unwrap_or_default(),
            created: record.map(|record| record.created.clone()).unwrap_or_default(),
            annotations: record.map(|record| record.annotations.clone()).unwrap_or_default(),
            owner: record.map(|record| record.owner.to_string()).unwrap_or_default(),
        }
    }
}

impl Show {
    pub(crate) fn act(self, context: &Context) -> anyhow::Result<u8> {
        let state = State::of(context, &Container::find(context, &self.id)?);
        print(&(serde_json::to_string_pretty(&state)? + "\n"))
    }
}
