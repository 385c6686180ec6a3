//! Which storage driver a state has; `check.rs` compares what it keeps, `migrate.rs` moves it to another.
//!
//! What the state was made with is remembered; another is taken only while there are no layers. Where that cannot be,
//! a driver that refuses stands in for it, so that what only looks at records works on.

mod check;
mod hold;
mod migrate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_arch::Probe;
use berth_arch::mount::Mount;
use berth_fs_drivers::registry::{self, DRIVERS, ORDER, Refused, Selection};
use berth_fs_drivers::{Access, Differ, Driver, LayerId, LayerOptions, Usage, Whiteouts};
use berth_store::Store;
use berth_store::rusqlite::{Connection, OptionalExtension, Transaction};

pub(crate) use self::hold::Hold;
use crate::settings::storage::configure_driver;
use crate::{Error, Result};

/// The row of `meta` that keeps the driver's name.
const KEY: &str = "driver";

/// How what one driver keeps comes to another.
const MOVING: &str = "berth storage migrate --to DRIVER moves them";

/// Of images and containers in a message.
const NAMES_SHOWN: usize = 5;

/// Which storage driver was taken, and why.
#[derive(Debug, Clone)]
pub struct Storage {
    pub name: &'static str,
    /// Those that were tried first, when this state was made by this very engine.
    pub refused: Vec<Refused>,
    /// What it costs, to be said once.
    pub caution: Option<&'static str>,
    /// Why layers cannot be used now, if they cannot.
    pub unusable: Option<String>,
}

/// `wanted`: a name or several in order of preference, separated by commas; none and `auto` leave it to us. `options` are the
/// configuration's.
pub(crate) fn open(
    store: &Store,
    wanted: Option<&str>,
    options: &BTreeMap<String, String>,
) -> Result<(Arc<dyn Driver>, Storage)> {
    let configured = configure_driver(&store.paths().state, options);
    let names = names(wanted.unwrap_or_default())?;
    let remembered = made_with(store)?;
    let made_with = match (remembered.as_deref(), configured) {
        (Some(made_with), Ok(())) => made_with,
        (Some(made_with), Err(error)) if has_layers(store)? => return refusing(made_with, error.to_string()),
        (_, Err(error)) => return Err(error),
        (None, Ok(())) => return settle(store, &names, None),
    };
    let state = store.paths().state.display();
    if names.is_empty() || names.contains(&made_with) {
        return match registry::select(&store.paths().state, None, Some(made_with)) {
            Ok(selection) => Ok(taken(selection)),
            Err(error) if has_layers(store)? => refusing(
                made_with,
                format!("{error}; the state in {state} was made with {made_with}, which keeps {} there", kept(store)?),
            ),
            Err(_) => settle(store, &names, Some(made_with)),
        };
    }
    if has_layers(store)? {
        let asked = names.join(", ");
        return refusing(
            made_with,
            format!(
                "storage driver {asked}: the state in {state} was made with {made_with}, which keeps {} there; berth \
                 storage migrate --to {} moves them, or leave {asked} out",
                kept(store)?,
                names[0]
            ),
        );
    }
    settle(store, &names, Some(made_with))
}

/// Chooses, and writes the choice down in place of `old`.
fn settle(store: &Store, names: &[&'static str], old: Option<&str>) -> Result<(Arc<dyn Driver>, Storage)> {
    let selection = choose(store, names)?;
    if old == Some(selection.name) {
        return Ok(taken(selection));
    }
    let kept: String = store.write(|transaction| {
        // Another engine may have been faster; then its choice holds.
        match old {
            Some(old) => transaction
                .execute("UPDATE meta SET value = ?2 WHERE key = ?1 AND value = ?3", [KEY, selection.name, old])?,
            None => transaction.execute("INSERT OR IGNORE INTO meta VALUES (?1, ?2)", [KEY, selection.name])?,
        };
        Ok::<_, Error>(transaction.query_row("SELECT value FROM meta WHERE key = ?1", [KEY], |row| row.get(0))?)
    })?;
    if kept == selection.name { Ok(taken(selection)) } else { open(store, Some(&names.join(",")), &BTreeMap::new()) }
}

fn choose(store: &Store, names: &[&'static str]) -> Result<Selection> {
    let root = &store.paths().state;
    match names {
        [] => return Ok(registry::select(root, None, None)?),
        [only] if exists(only) => return Ok(registry::select(root, Some(only), None)?),
        _ => {}
    }
    let mut refused = Vec::new();
    for name in names.iter().copied() {
        if !exists(name) {
            refused.push(Refused { name, reason: "this version does not have it".to_owned(), hint: None });
            continue;
        }
        match registry::select(root, Some(name), None) {
            Ok(selection) => return Ok(Selection { refused, ..selection }),
            Err(berth_fs_drivers::Error::Unavailable(reason)) => {
                let prefix = format!("storage driver {name}: ");
                let reason = reason.strip_prefix(&prefix).unwrap_or(&reason).to_owned();
                refused.push(Refused { name, reason, hint: None });
            }
            Err(error) => return Err(error.into()),
        }
    }
    let lines: Vec<_> = refused.iter().map(|one| format!("{}: {}", one.name, one.reason)).collect();
    Err(Error::Unavailable(format!("none of the storage drivers asked for works here: {}", lines.join("; "))))
}

pub(crate) fn names(text: &str) -> Result<Vec<&'static str>> {
    let words: Vec<_> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if words.contains(&"auto") {
        return Ok(Vec::new());
    }
    let find = |word: &str| {
        // Docker's name for the same thing.
        let word = if word == "overlay2" { "overlay" } else { word };
        ORDER.iter().copied().find(|name| *name == word).ok_or_else(|| {
            let known: Vec<_> = DRIVERS.iter().map(|entry| entry.name).collect();
            Error::invalid(format!("storage driver {word:?}: the known ones are {}", known.join(", ")))
        })
    };
    words.into_iter().map(find).collect()
}

/// Of the design's drivers, whether this version has it.
fn exists(name: &str) -> bool {
    DRIVERS.iter().any(|entry| entry.name == name)
}

/// The drivers that come before `picked` in the order of preference, and why each was not taken: tried anew, as the state
/// may have been made long ago.
pub(crate) fn passed_over(root: &Path, picked: &str, asked: bool) -> Vec<Refused> {
    let before = DRIVERS.iter().take_while(|entry| entry.name != picked);
    let reason = |entry: &'static berth_fs_drivers::Entry| match (entry.unasked)(root) {
        Probe::Unavailable { reason, hint } => Refused { name: entry.name, reason, hint },
        Probe::Available { .. } if asked => {
            Refused { name: entry.name, reason: format!("works here; {picked} was asked for"), hint: None }
        }
        Probe::Available { .. } => Refused {
            name: entry.name,
            reason: format!("works here; the state was made with {picked}"),
            hint: Some(MOVING.to_owned()),
        },
    };
    before.map(reason).collect()
}

/// What is kept in the state, for whoever asks for another driver: `2 images (box:latest, ...) and no containers`.
fn kept(store: &Store) -> Result<String> {
    let images = "SELECT coalesce((SELECT min(replace(repository, 'docker.io/library/', '') || ':' || tag) FROM tags \
                  WHERE tags.image = images.id), substr(images.id, 8, 12)) FROM images ORDER BY 1";
    store.read(|connection| {
        let list = |what: &str, query: &str| -> Result<String> {
            let mut statement = connection.prepare(query)?;
            let names: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok(named(what, &names))
        };
        let containers = list("container", "SELECT name FROM containers ORDER BY name")?;
        Ok(format!("{} and {containers}", list("image", images)?))
    })
}

/// A count and the first names.
fn named(what: &str, names: &[String]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    match names {
        [] => format!("no {what}s"),
        [first @ .., _] if first.len() >= NAMES_SHOWN => {
            format!("{} {what}s ({}, ...)", names.len(), names[..NAMES_SHOWN].join(", "))
        }
        all => format!("{} {what}{plural} ({})", all.len(), all.join(", ")),
    }
}

fn has_layers(store: &Store) -> Result<bool> {
    store.read(|connection| {
        Ok::<_, Error>(connection.query_row("SELECT EXISTS (SELECT 1 FROM layers)", [], |row| row.get(0))?)
    })
}

fn taken(selection: Selection) -> (Arc<dyn Driver>, Storage) {
    let Selection { driver, name, refused, caution } = selection;
    (Arc::from(driver), Storage { name, refused, caution, unusable: None })
}

/// For an engine that is opened while another one moves the layers.
pub(crate) fn moving(store: &Store) -> Result<(Arc<dyn Driver>, Storage)> {
    let made_with = made_with(store)?.unwrap_or_default();
    let state = store.paths().state.display();
    refusing(
        &made_with,
        format!(
            "the layers in {state} are being moved to another storage driver (berth storage migrate): wait for its end"
        ),
    )
}

fn made_with(store: &Store) -> Result<Option<String>> {
    store.read(|connection| get(connection, KEY))
}

/// A row of `meta`.
fn get(connection: &Connection, key: &str) -> Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([key], |row| row.get(0)).optional()?)
}

fn set(transaction: &Transaction<'_>, key: &str, value: &str) -> Result<()> {
    transaction.execute(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [key, value],
    )?;
    Ok(())
}

fn forget(transaction: &Transaction<'_>, key: &str) -> Result<()> {
    transaction.execute("DELETE FROM meta WHERE key = ?1", [key])?;
    Ok(())
}

fn refusing(made_with: &str, reason: String) -> Result<(Arc<dyn Driver>, Storage)> {
    let name = names(made_with)?.first().copied().unwrap_or_default();
    let storage = Storage { name, refused: Vec::new(), caution: None, unusable: Some(reason.clone()) };
    Ok((Arc::new(Refusing { name, reason }), storage))
}

/// Stands in for a driver that cannot be used.
struct Refusing {
    name: &'static str,
    reason: String,
}

impl Refusing {
    fn refuse<T>(&self) -> berth_fs_drivers::Result<T> {
        Err(berth_fs_drivers::Error::Unavailable(self.reason.clone()))
    }
}

impl Driver for Refusing {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&self, _: &LayerId, _: &[LayerId], _: &LayerOptions) -> berth_fs_drivers::Result<()> {
        self.refuse()
    }

    fn mounts(&self, _id: &LayerId, _parents: &[LayerId], _access: Access) -> berth_fs_drivers::Result<Vec<Mount>> {
        self.refuse()
    }

    fn commit(&self, _id: &LayerId) -> berth_fs_drivers::Result<()> {
        self.refuse()
    }

    fn usage(&self, _id: &LayerId) -> berth_fs_drivers::Result<Usage> {
        self.refuse()
    }

    fn remove(&self, _id: &LayerId) -> berth_fs_drivers::Result<()> {
        self.refuse()
    }

    fn list(&self) -> berth_fs_drivers::Result<Vec<LayerId>> {
        self.refuse()
    }

    fn sweep(&self) -> berth_fs_drivers::Result<()> {
        self.refuse()
    }

    fn whiteouts(&self) -> Whiteouts {
        Whiteouts::Apply
    }

    fn directory(&self, _id: &LayerId) -> berth_fs_drivers::Result<Option<PathBuf>> {
        self.refuse()
    }

    fn differ(&self) -> Option<&dyn Differ> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_names_are_an_order_of_preference() {
        assert_eq!(names("btrfs, overlay2").unwrap(), ["btrfs", "overlay"]);
        assert!(names("auto").unwrap().is_empty() && names("").unwrap().is_empty());
        assert!(names("ext4").unwrap_err().to_string().contains(DRIVERS[0].name));
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(berth_store::Paths::within(folder.path())).unwrap();
        let absent = ORDER.iter().find(|name| !exists(name)).copied().unwrap_or("btrfs");
        let (driver, storage) = open(&store, Some(&format!("{absent},vfs")), &BTreeMap::new()).unwrap();
        assert_eq!((driver.name(), storage.refused[0].name), ("vfs", absent));
        assert!(open(&store, Some(absent), &BTreeMap::new()).is_err());
    }

    #[test]
    fn what_is_kept_is_counted_and_named() {
        let names = |count: usize| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>();
        assert_eq!(named("image", &names(0)), "no images");
        assert_eq!(named("image", &names(1)), "1 image (n0)");
        assert_eq!(named("image", &names(5)), "5 images (n0, n1, n2, n3, n4)");
        assert_eq!(named("image", &names(6)), "6 images (n0, n1, n2, n3, n4, ...)");
    }

    #[test]
    fn drivers_that_come_first_are_passed_over_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let passed = passed_over(folder.path(), "vfs", false);
        let names: Vec<_> = passed.iter().map(|refused| refused.name).collect();
        let before: Vec<_> = DRIVERS.iter().map(|entry| entry.name).take_while(|name| *name != "vfs").collect();
        assert_eq!(names, before);
        assert!(passed.iter().all(|refused| !refused.reason.is_empty()));
        assert!(passed_over(folder.path(), DRIVERS[0].name, false).is_empty());
    }

    #[test]
    fn layers_of_one_driver_are_not_given_to_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(berth_store::Paths::within(folder.path())).unwrap();
        drop(open(&store, Some("vfs"), &BTreeMap::new()).unwrap());
        store
            .write(|transaction| {
                transaction.execute("INSERT INTO layers (state) VALUES ('valid')", [])?;
                Ok::<_, Error>(())
            })
            .unwrap();
        let (driver, storage) = open(&store, Some("overlay"), &BTreeMap::new()).unwrap();
        let reason = storage.unusable.unwrap();
        assert!(reason.contains("was made with vfs, which keeps no images and no containers there"), "{reason}");
        assert!(driver.list().unwrap_err().to_string().contains("leave overlay out"));
        assert!(open(&store, None, &BTreeMap::new()).unwrap().1.unusable.is_none());
    }
}
