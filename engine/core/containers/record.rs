//! A container's row, and how names find it.

use berth_api::models::{ContainerConfig, HostConfig};
use berth_arch::IdMap;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::settings::mounts::{self, Point};
use crate::{Engine, Error, Result};

#[derive(Debug, Clone)]
pub struct Container {
    pub id: String,
    pub name: String,
    /// Nanoseconds after the Unix epoch.
    pub created: i64,
    /// The image's ID when the container was made.
    pub image: String,
    /// The number of its layer.
    pub layer: Option<i64>,
    pub config: ContainerConfig,
    pub host_config: HostConfig,
    /// Its image's: `linux/arm64/v8`. `None` of containers that were made before it was kept.
    pub platform: Option<String>,
    pub(crate) phase: Phase,
    /// What is mounted, of a container whose `host_config` alone does not say it (volumes).
    pub(crate) mounts: Option<Vec<Point>>,
    /// Who its users are on the host; `None`: the host's own.
    pub(crate) users: Option<IdMap>,
}

/// See the `schema/` of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Creating,
    Ready,
    Removing,
}

pub(crate) const COLUMNS: &str = "id, name, created, image, layer, config, host_config, phase, mounts, platform, users";

impl Container {
    pub(crate) fn from_row(row: &Row<'_>) -> Result<Self> {
        let text = |index| row.get_ref(index).and_then(|value| Ok(value.as_str()?));
        let broken = |error: serde_json::Error| Error::Internal(format!("read a container's configuration: {error}"));
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            created: row.get(2)?,
            image: row.get(3)?,
            layer: row.get(4)?,
            config: serde_json::from_str(text(5)?).map_err(broken)?,
            host_config: serde_json::from_str(text(6)?).map_err(broken)?,
            phase: match text(7)? {
                "creating" => Phase::Creating,
                "ready" => Phase::Ready,
                _ => Phase::Removing,
            },
            mounts: match row.get_ref(8)?.as_str_or_null().map_err(rusqlite::Error::from)? {
                Some(points) => Some(serde_json::from_str(points).map_err(broken)?),
                None => None,
            },
            platform: row.get(9)?,
            users: match row.get_ref(10)?.as_str_or_null().map_err(rusqlite::Error::from)? {
                Some(text) => Some(
                    text.parse()
                        .map_err(|error| Error::Internal(format!("read whose users a container has: {error}")))?,
                ),
                None => None,
            },
        })
    }

    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    pub fn tty(&self) -> bool {
        self.config.tty == Some(true)
    }

    pub fn auto_remove(&self) -> bool {
        self.host_config.auto_remove == Some(true)
    }

    /// User and group of its root user on the host, if that is not the host's.
    pub(crate) fn root_outside(&self) -> Option<(u32, u32)> {
        self.users.as_ref().and_then(IdMap::root)
    }

    /// What is mounted into it beside what every container has, shallow places first.
    pub(crate) fn points(&self) -> Result<Vec<Point>> {
        match &self.mounts {
            Some(points) => Ok(points.clone()),
            None => mounts::parse(&self.host_config),
        }
    }

    /// The image as the user named it.
    pub fn image_name(&self) -> &str {
        self.config.image.as_deref().unwrap_or(&self.image)
    }

    /// The program and its arguments.
    pub fn command(&self) -> Vec<String> {
        self.config.entrypoint.iter().flatten().chain(self.config.cmd.iter().flatten()).cloned().collect()
    }
}

pub(crate) fn no_such(name: &str) -> Error {
    Error::NotFound(format!("No such container: {name}"))
}

impl Engine {
    /// By ID, by name, or by a prefix of the ID that fits only one.
    pub fn find(&self, name: &str) -> Result<Container> {
        self.store().read(|connection| find(connection, name))
    }

    /// Those that are being made or removed left out; the newest first.
    pub fn containers(&self) -> Result<Vec<Container>> {
        self.store().read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM containers WHERE phase <> 'creating' ORDER BY created DESC"
            ))?;
            let mut rows = statement.query([])?;
            let mut containers = Vec::new();
            while let Some(row) = rows.next()? {
                containers.push(Container::from_row(row)?);
            }
            Ok(containers)
        })
    }
}

pub(crate) fn find(connection: &Connection, name: &str) -> Result<Container> {
    by_id(connection, &find_id(connection, name)?)
}

/// By the whole ID, in whatever phase.
pub(crate) fn by_id(connection: &Connection, id: &str) -> Result<Container> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM containers WHERE id = ?1"))?;
    let mut rows = statement.query([id])?;
    Container::from_row(rows.next()?.ok_or_else(|| no_such(id))?)
}

/// By the whole name.
pub(crate) fn by_name(connection: &Connection, name: &str) -> Result<Option<Container>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM containers WHERE name = ?1"))?;
    let mut rows = statement.query([name])?;
    rows.next()?.map(Container::from_row).transpose()
}

/// Docker's order: the whole ID, the name, the prefix.
pub(crate) fn find_id(connection: &Connection, wanted: &str) -> Result<String> {
    let name = wanted.strip_prefix('/').unwrap_or(wanted);
    if name.is_empty() {
        return Err(Error::invalid("No container name or ID supplied"));
    }
    let exact = connection
        .prepare_cached(
            "SELECT id FROM containers WHERE phase <> 'creating' AND (id = ?1 OR name = ?1) ORDER BY id <> ?1 LIMIT 1",
        )?
        .query_row([name], |row| row.get(0))
        .optional()?;
    if let Some(id) = exact {
        return Ok(id);
    }
    if name.len() > 64 || !name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(no_such(wanted));
    }
    let mut statement = connection.prepare_cached(
        "SELECT id FROM containers WHERE id >= ?1 AND id < ?1 || 'g' AND phase <> 'creating' LIMIT 2",
    )?;
    let found = statement.query_map([name], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    match found.as_slice() {
        [] => Err(no_such(wanted)),
        [id] => Ok(id.clone()),
        _ => Err(Error::invalid(format!("multiple IDs found with provided prefix: {wanted}"))),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One that asks for nothing.
    pub(crate) fn container() -> Container {
        Container {
            id: "0123456789abcdef".repeat(4),
            name: "test".to_owned(),
            created: 1,
            image: format!("sha256:{}", "0".repeat(64)),
            layer: Some(1),
            config: ContainerConfig::default(),
            host_config: HostConfig::default(),
            phase: Phase::Ready,
            mounts: None,
            platform: None,
            users: None,
        }
    }

    #[test]
    fn a_row_is_found_by_id_name_and_prefix() {
        let folder = tempfile::tempdir().unwrap();
        let store = berth_store::Store::open(berth_store::Paths::within(folder.path())).unwrap();
        let ids = ["ab".repeat(32), format!("abab{}", "c".repeat(60)), "d".repeat(64)];
        store
            .write(|transaction| {
                for (id, name) in ids.iter().zip(["one", "two", "abab"]) {
                    transaction.execute(
                        "INSERT INTO containers VALUES (?1, ?2, 'ready', 1, 'sha256:0', NULL, '{}', '{}', NULL, NULL, NULL)",
                        [id.as_str(), name],
                    )?;
                }
                Ok::<_, Error>(())
            })
            .unwrap();
        let find = |name: &str| store.read(|connection| find_id(connection, name));
        assert_eq!(find("one").unwrap(), ids[0]);
        assert_eq!(find("/two").unwrap(), ids[1]);
        assert_eq!(find(&ids[1]).unwrap(), ids[1]);
        assert_eq!(find("ababab").unwrap(), ids[0]);
        assert_eq!(find("dd").unwrap(), ids[2]);
        // A name wins over a prefix.
        assert_eq!(find("abab").unwrap(), ids[2]);
        assert!(matches!(find("aba"), Err(Error::InvalidArgument(_))));
        assert_eq!(find("nope").unwrap_err().to_string(), "No such container: nope");
        assert!(find("").is_err());
    }
}
