//! A volume's row.

use std::collections::BTreeMap;
use std::fmt::Write;

use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use crate::settings::volumes::LOCAL;
use crate::{Engine, Error, Result};

#[derive(Debug, Clone)]
pub(crate) struct Volume {
    pub name: String,
    pub driver: String,
    /// Nanoseconds after the Unix epoch.
    pub created: i64,
    /// Nobody named it: it goes with `rm -v`, `--rm` and `prune`.
    pub anonymous: bool,
    pub phase: Phase,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// See the `schema/` of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Creating,
    Ready,
    Removing,
}

const COLUMNS: &str = "name, driver, created, anonymous, phase, options, labels";

impl Volume {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        let text = |index| row.get_ref(index).and_then(|value| Ok(value.as_str()?));
        let broken = |error: serde_json::Error| Error::Internal(format!("read a volume's configuration: {error}"));
        Ok(Self {
            name: row.get(0)?,
            driver: row.get(1)?,
            created: row.get(2)?,
            anonymous: row.get(3)?,
            phase: match text(4)? {
                "creating" => Phase::Creating,
                "ready" => Phase::Ready,
                _ => Phase::Removing,
            },
            options: serde_json::from_str(text(5)?).map_err(broken)?,
            labels: serde_json::from_str(text(6)?).map_err(broken)?,
        })
    }

    pub(crate) fn is_local(&self) -> bool {
        self.driver == LOCAL
    }

    /// As a row in phase `creating`.
    pub(crate) fn insert(&self, transaction: &Transaction<'_>) -> Result<()> {
        let json =
            |map| serde_json::to_string(map).map_err(|error| Error::Internal(format!("encode a volume: {error}")));
        transaction
            .prepare_cached(
                "INSERT INTO volumes (name, driver, created, anonymous, phase, options, labels)
                 VALUES (?1, ?2, ?3, ?4, 'creating', ?5, ?6)",
            )?
            .execute((
                &self.name,
                &self.driver,
                self.created,
                self.anonymous,
                json(&self.options)?,
                json(&self.labels)?,
            ))?;
        Ok(())
    }
}

pub(crate) fn no_such(name: &str) -> Error {
    Error::NotFound(format!("get {name}: no such volume"))
}

/// In whatever phase.
pub(crate) fn find(connection: &Connection, name: &str) -> Result<Option<Volume>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM volumes WHERE name = ?1"))?;
    let mut rows = statement.query([name])?;
    rows.next()?.map(Volume::from_row).transpose()
}

/// Those that are whole, by name.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Volume>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM volumes WHERE phase = 'ready' ORDER BY name"))?;
    let mut rows = statement.query([])?;
    let mut volumes = Vec::new();
    while let Some(row) = rows.next()? {
        volumes.push(Volume::from_row(row)?);
    }
    Ok(volumes)
}

/// The containers that use it, running or not.
pub(crate) fn users(connection: &Connection, name: &str) -> Result<Vec<String>> {
    let mut statement =
        connection.prepare_cached("SELECT container FROM volume_uses WHERE volume = ?1 ORDER BY container")?;
    let users = statement.query_map([name], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(users)
}

/// Returns whether there was such a row.
pub(crate) fn set_phase(transaction: &Transaction<'_>, name: &str, phase: Phase) -> Result<bool> {
    let word = match phase {
        Phase::Creating => "creating",
        Phase::Ready => "ready",
        Phase::Removing => "removing",
    };
    Ok(transaction.prepare_cached("UPDATE volumes SET phase = ?2 WHERE name = ?1")?.execute([name, word])? > 0)
}

pub(crate) fn delete(transaction: &Transaction<'_>, name: &str) -> Result<()> {
    transaction.prepare_cached("DELETE FROM volumes WHERE name = ?1")?.execute([name])?;
    Ok(())
}

/// Drivers that are in use, berth's own left out.
pub(crate) fn drivers(connection: &Connection) -> Result<Vec<String>> {
    let mut statement =
        connection.prepare_cached("SELECT DISTINCT driver FROM volumes WHERE driver <> ?1 ORDER BY driver")?;
    let drivers = statement.query_map([LOCAL], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(drivers)
}

pub(crate) fn phase(connection: &Connection, name: &str) -> Result<Option<Phase>> {
    let word: Option<String> = connection
        .prepare_cached("SELECT phase FROM volumes WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(word.map(|word| match word.as_str() {
        "creating" => Phase::Creating,
        "ready" => Phase::Ready,
        _ => Phase::Removing,
    }))
}

impl Engine {
    /// One that is whole; [`Error::NotFound`] in Docker's words.
    pub(crate) fn find_volume(&self, name: &str) -> Result<Volume> {
        let found = self.store().read(|connection| find(connection, name))?;
        found.filter(|volume| volume.phase == Phase::Ready).ok_or_else(|| no_such(name))
    }

    /// Whoever makes, fills or removes a volume holds this.
    pub(crate) fn lock_volume(&self, name: &str) -> Result<berth_store::Lock> {
        self.lock(&lock_name(name))
    }

    pub(crate) fn try_lock_volume(&self, name: &str) -> Result<Option<berth_store::Lock>> {
        self.try_lock(&lock_name(name))
    }
}

/// Plugins may have any names; a file's name they become here.
fn lock_name(name: &str) -> String {
    let mut text = "volume-".to_owned();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' => text.push(byte.into()),
            _ => {
                let _ = write!(text, "%{byte:02x}");
            }
        }
    }
    // Long names of many odd characters may share a lock, which costs time and nothing else.
    text.truncate(255);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_a_plain_file_whatever_the_volume_is_called() {
        assert_eq!(lock_name("data-1.x_y"), "volume-data-1.x_y");
        assert_eq!(lock_name("../a b"), "volume-..%2fa%20b");
        assert_eq!(lock_name(&"/".repeat(240)).len(), 255);
    }
}
