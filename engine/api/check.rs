//! `GET /berth/check` and `POST /berth/check` (which repairs): the store compared with the kernel. The same of
//! `/berth/storage/check`: the layers compared with what was recorded of them; it answers with lines of progress, as
//! `/images/load` does, and a [`StorageCheck`] under `aux`.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SystemCheck {
    /// What should be there and is not, and what is there and should not be.
    pub findings: Vec<Finding>,
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StorageCheck {
    pub driver: String,
    pub layers: u64,
    /// Of the layers' archives, all of which were read.
    pub bytes: u64,
    pub findings: Vec<Finding>,
    /// Of a move to another driver that was interrupted: how to go on.
    pub note: Option<String>,
}

/// `POST /berth/storage/migrate?to=DRIVER`, under `aux` after lines of progress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StorageMigration {
    pub from: String,
    /// The same: there was nothing to move.
    pub to: String,
    /// Of images.
    pub layers: u64,
    pub containers: u64,
    /// Of the images' archives and the containers' files.
    pub bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// `link`, `rule`, `address`, `mount`, `cgroup`, `process`, `port`, `file`, `setting`, `layer`.
    pub kind: String,
    /// What it is called in the kernel or on disk.
    pub name: String,
    /// `missing` or `left over`; of a layer also `damaged: REASON`.
    pub state: String,
    /// Whom it belongs to: a container or a network, by name or ID; empty if nobody is known.
    pub owner: String,
    /// Only with a repair: whether it is in order now, or why not.
    pub repaired: Option<bool>,
    pub error: Option<String>,
}
