//! Drivers of others: Docker's volume plugin protocol, version 1.
//!
//! <https://docs.docker.com/engine/extend/plugins_volume/>. `discovery.rs` finds a plugin's address, `http.rs` speaks to
//! it; here are the calls. A plugin is a program with a will of its own: answers are bounded, and so is patience.

mod discovery;
mod http;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use discovery::Address;

use crate::{Engine, Error, Result};

/// For questions.
const SHORT: Duration = Duration::from_secs(10);
/// For what may have to fetch a disk through a network.
const LONG: Duration = Duration::from_secs(120);

/// A driver that has said that it is one.
pub(crate) struct Plugin {
    pub name: String,
    address: Address,
}

/// What a plugin knows of a volume.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Known {
    pub name: String,
    pub mountpoint: String,
    pub created_at: String,
    pub status: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    err: Option<String>,
}

impl Engine {
    /// [`Error::NotFound`], in Docker's words, if there is none of that name or it is no volume driver.
    pub(crate) fn plugin(&self, name: &str) -> Result<Plugin> {
        let about = |error: Error| match error {
            Error::NotFound(why) => Error::NotFound(format!("error looking up volume plugin {name}: {why}")),
            Error::Unsupported(why) => Error::Unsupported(format!("error looking up volume plugin {name}: {why}")),
            other => Error::Unavailable(format!("error looking up volume plugin {name}: {other}")),
        };
        let address = discovery::find(&self.config().plugin_folders, name).map_err(about)?;
        let plugin = Plugin { name: name.to_owned(), address };
        let answer: Value = plugin.call("Plugin.Activate", &Value::Null, SHORT).map_err(about)?;
        let kinds = answer["Implements"].as_array().into_iter().flatten();
        if kinds.into_iter().any(|kind| kind == "VolumeDriver") {
            return Ok(plugin);
        }
        Err(about(Error::NotFound(format!("plugin {name:?} does not implement the requested driver"))))
    }

    /// All that can be found; not all have to be volume drivers.
    pub(super) fn plugin_names(&self) -> Vec<String> {
        discovery::names(&self.config().plugin_folders)
    }

    /// A volume that is in no row of ours.
    pub(super) fn find_in_plugins(&self, name: &str) -> Option<(Plugin, Known)> {
        self.plugin_names().into_iter().find_map(|plugin| {
            let plugin = self.plugin(&plugin).ok()?;
            let known = plugin.get(name).ok()?;
            Some((plugin, known))
        })
    }
}

impl Plugin {
    pub(super) fn create(&self, volume: &str, options: &BTreeMap<String, String>) -> Result<()> {
        self.call::<Value>("VolumeDriver.Create", &json!({ "Name": volume, "Opts": options }), LONG).map(drop)
    }

    pub(super) fn remove(&self, volume: &str) -> Result<()> {
        self.call::<Value>("VolumeDriver.Remove", &json!({ "Name": volume }), LONG).map(drop)
    }

    /// Where it is on the host from now on. `id` is whose: [`Plugin::unmount`] is called with the same.
    pub(super) fn mount(&self, volume: &str, id: &str) -> Result<PathBuf> {
        let known: Known = self.call("VolumeDriver.Mount", &json!({ "Name": volume, "ID": id }), LONG)?;
        let path = PathBuf::from(&known.mountpoint);
        if !path.is_absolute() || known.mountpoint.contains('\0') {
            return Err(self.failed("VolumeDriver.Mount", &format!("it gave no absolute path: {:?}", known.mountpoint)));
        }
        Ok(path)
    }

    pub(super) fn unmount(&self, volume: &str, id: &str) -> Result<()> {
        self.call::<Value>("VolumeDriver.Unmount", &json!({ "Name": volume, "ID": id }), LONG).map(drop)
    }

    pub(super) fn get(&self, volume: &str) -> Result<Known> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            volume: Option<Known>,
        }
        let answer: Answer = self.call("VolumeDriver.Get", &json!({ "Name": volume }), SHORT)?;
        match answer.volume {
            Some(known) if known.name == volume => Ok(known),
            _ => Err(Error::NotFound(format!("get {volume}: no such volume"))),
        }
    }

    pub(super) fn list(&self) -> Result<Vec<Known>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            volumes: Option<Vec<Known>>,
        }
        Ok(self.call::<Answer>("VolumeDriver.List", &json!({}), SHORT)?.volumes.unwrap_or_default())
    }

    /// `local` or `global`; plugins from before there was the question are local.
    pub(super) fn scope(&self) -> String {
        let answer = self.call::<Value>("VolumeDriver.Capabilities", &json!({}), SHORT).unwrap_or_default();
        match answer["Capabilities"]["Scope"].as_str() {
            Some("global") => "global".to_owned(),
            _ => "local".to_owned(),
        }
    }

    fn call<T: DeserializeOwned>(&self, method: &str, body: &Value, patience: Duration) -> Result<T> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = http::post(&self.address, method, &body, patience)
            .map_err(|error| self.failed(method, &error.to_string()))?;
        let said = serde_json::from_slice::<Failed>(&answer).ok().and_then(|failed| failed.err);
        if let Some(why) = said.filter(|why| !why.is_empty()) {
            return Err(self.failed(method, &why));
        }
        if status != 200 {
            let text = String::from_utf8_lossy(&answer);
            return Err(self.failed(method, &format!("HTTP status {status}: {}", text.trim())));
        }
        serde_json::from_slice(&answer)
            .map_err(|error| self.failed(method, &format!("its answer means nothing: {error}")))
    }

    fn failed(&self, method: &str, why: &str) -> Error {
        Error::Unavailable(format!("{method} of volume plugin {}: {why}", self.name))
    }
}
