//! Volumes as the API shows them: one, and lists with filters.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use berth_api::Filters;
use berth_fs_drivers::content;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use super::plugin::{Known, Plugin};
use super::record::{self, Volume};
use crate::settings::volumes::LOCAL;
use crate::{Engine, Error, Result, time};

/// Docker's `Volume`. What is unset is null there, as in Docker's answers.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_at: String,
    pub driver: String,
    pub labels: Option<BTreeMap<String, String>>,
    pub mountpoint: String,
    pub name: String,
    pub options: Option<BTreeMap<String, String>>,
    pub scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_data: Option<UsageData>,
}

/// Bytes on the disk, or -1 where that is not known; and how many containers use it.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UsageData {
    pub ref_count: i64,
    pub size: i64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeList {
    pub volumes: Vec<VolumeInfo>,
    pub warnings: Option<Vec<String>>,
}

/// Seconds are enough, as in Docker.
fn moment(nanoseconds: i64) -> String {
    time::rfc3339(nanoseconds - nanoseconds.rem_euclid(1_000_000_000))
}

fn some(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then(|| map.clone())
}

impl Engine {
    fn shown(&self, volume: &Volume) -> VolumeInfo {
        let mountpoint = match volume.is_local() {
            true => self.data_folder(&volume.name).display().to_string(),
            false => String::new(),
        };
        VolumeInfo {
            created_at: moment(volume.created),
            driver: volume.driver.clone(),
            labels: some(&volume.labels),
            mountpoint,
            name: volume.name.clone(),
            options: some(&volume.options),
            scope: "local".to_owned(),
            status: None,
            usage_data: None,
        }
    }

    /// With what its plugin says of it.
    pub(super) fn volume_info(&self, volume: &Volume) -> Result<VolumeInfo> {
        let mut info = self.shown(volume);
        if !volume.is_local() {
            let plugin = self.plugin(&volume.driver)?;
            let known = plugin.get(&volume.name)?;
            info.scope = plugin.scope();
            info.mountpoint = known.mountpoint;
            info.status = known.status;
        }
        Ok(info)
    }

    pub fn inspect_volume(&self, name: &str) -> Result<VolumeInfo> {
        match self.find_volume(name) {
            Ok(volume) => self.volume_info(&volume),
            Err(Error::NotFound(_)) => {
                let (plugin, known) = self.find_in_plugins(name).ok_or_else(|| record::no_such(name))?;
                Ok(of_plugin(&plugin, known))
            }
            Err(error) => Err(error),
        }
    }

    /// Filters: `dangling`, `driver`, `label`, `name`. Those that only plugins know are among them.
    pub fn volumes(&self, filters: &Filters) -> Result<VolumeList> {
        let invalid = |error: berth_api::query::InvalidQuery| Error::InvalidArgument(error.0);
        filters.expect(&["dangling", "driver", "label", "name"]).map_err(invalid)?;
        let dangling = match filters.has("dangling") {
            true => Some(filters.flag("dangling", false).map_err(invalid)?),
            false => None,
        };
        let (rows, used) = self.store().read(|connection| {
            let mut statement = connection.prepare_cached("SELECT DISTINCT volume FROM volume_uses")?;
            let used = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            Ok::<_, Error>((record::all(connection)?, used))
        })?;
        let mut list: Vec<VolumeInfo> = rows.iter().map(|volume| self.shown(volume)).collect();
        let mut warnings = Vec::new();
        for name in self.plugin_names() {
            let found = self.plugin(&name).and_then(|plugin| Ok((plugin.list()?, plugin)));
            match found {
                Ok((volumes, plugin)) => {
                    for known in volumes {
                        match list.iter_mut().find(|info| info.name == known.name) {
                            Some(info) if info.driver == name => info.mountpoint = known.mountpoint,
                            Some(_) => {}
                            None => list.push(of_plugin(&plugin, known)),
                        }
                    }
                }
                // Of another kind, or nobody's concern until a volume of it is asked for.
                Err(Error::NotFound(_)) => {}
                Err(error) => warnings.push(error.to_string()),
            }
        }
        list.retain(|info| {
            filters.allows("driver", &info.driver)
                && filters.allows_where("name", |wanted| info.name.contains(wanted))
                && filters
                    .allows_labels(|key| info.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str))
                && dangling.is_none_or(|dangling| dangling != used.contains(&info.name))
        });
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(VolumeList { volumes: list, warnings: (!warnings.is_empty()).then_some(warnings) })
    }

    /// Local volumes with a folder of their own, with sizes; for `system df`.
    pub(crate) fn volumes_usage(&self) -> Result<Vec<VolumeInfo>> {
        let (rows, counts) = self.store().read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT volume, count(*) FROM volume_uses GROUP BY volume")?;
            let counts = statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<BTreeMap<String, i64>, _>>()?;
            Ok::<_, Error>((record::all(connection)?, counts))
        })?;
        let plain = rows.iter().filter(|volume| volume.is_local() && volume.options.is_empty());
        Ok(plain
            .map(|volume| VolumeInfo {
                usage_data: Some(UsageData {
                    ref_count: counts.get(&volume.name).copied().unwrap_or_default(),
                    size: self.volume_size(volume).unwrap_or(-1),
                }),
                ..self.shown(volume)
            })
            .collect())
    }

    pub(super) fn volume_size(&self, volume: &Volume) -> Option<i64> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top: OwnedFd = rustix::fs::open(self.data_folder(&volume.name), flags, Mode::empty()).ok()?;
        i64::try_from(content::usage(top).ok()?.bytes).ok()
    }

    /// Drivers that volumes use, for `info`.
    pub(crate) fn volume_drivers(&self) -> Result<Vec<String>> {
        let mut drivers = vec![LOCAL.to_owned()];
        drivers.extend(self.store().read(record::drivers)?);
        Ok(drivers)
    }
}

fn of_plugin(plugin: &Plugin, known: Known) -> VolumeInfo {
    VolumeInfo {
        created_at: known.created_at,
        driver: plugin.name.clone(),
        labels: None,
        mountpoint: known.mountpoint,
        name: known.name,
        options: None,
        scope: plugin.scope(),
        status: known.status,
        usage_data: None,
    }
}
