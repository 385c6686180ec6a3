//! `GET /berth/doctor`: what this host offers, what was picked and why.

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub version: String,
    pub host: Value,
    /// The kernel's and the processor's facilities.
    pub facilities: Vec<Finding>,
    pub storage: Choice,
    pub isolation: Choice,
    /// Who carries packets to published ports and between networks; `None` from an engine that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet_paths: Option<Choice>,
    /// Where everything lies.
    pub state_root: String,
    pub run_root: String,
    /// What the configuration demands and this host does not have, one sentence each.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What is set up in a way that costs something, one sentence each.
    pub warnings: Vec<String>,
}

/// One thing that was looked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub name: String,
    /// What it is for; may be empty.
    #[serde(default)]
    pub purpose: String,
    pub available: bool,
    /// What was found, if it is there.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
    /// What was tried and what the host answered, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the user can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What of the kernel and the system would change the answer, if it is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<Lack>,
}

/// Something of the host that is not as it would have to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lack {
    /// `option` of the kernel's configuration, `module`, `sysctl` or `package`.
    pub kind: String,
    pub name: String,
    /// Of an option `off` or `unknown`, of a module `not loaded` or `not installed`, of a switch its value, of a package empty.
    pub state: String,
    /// What to do.
    pub remedy: String,
}

/// Which one of several was picked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// `None`: nothing works here.
    pub picked: Option<String>,
    /// Why that one: it was asked for, the state on disk was made with it, or it is the first that works.
    pub why: String,
    /// In the order of preference.
    pub candidates: Vec<Finding>,
}
