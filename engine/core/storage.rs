//! Which storage driver a state has.
//!
//! What the state was made with is remembered; another is taken only while there are no layers. Where that cannot be,
//! a driver that refuses stands in for it, so that what only looks at records works on.

use std::sync::Arc;

use berth_arch::mount::Mount;
use berth_fs_drivers::registry::{self, DRIVERS, Refused, Selection};
use berth_fs_drivers::{Access, Differ, Driver, LayerId, UnpackTarget, Usage};
use berth_store::Store;
use berth_store::rusqlite::OptionalExtension;

use crate::{Error, Result};

/// The row of `meta` that keeps the driver's name.
const KEY: &str = "driver";

/// Names of the design that no driver of this version has.
const PLANNED: &[&str] = &["aufs", "btrfs", "lvm", "zfs"];

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

/// `wanted`: a name or several in order of preference, separated by commas; none and `auto` leave it to us.
pub(crate) fn open(store: &Store, wanted: Option<&str>) -> Result<(Arc<dyn Driver>, Storage)> {
    let names = names(wanted.unwrap_or_default())?;
    let remembered: Option<String> = store.read(|connection| {
        Ok::<_, Error>(
            connection
                .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
                .query_row([KEY], |row| row.get(0))
                .optional()?,
        )
    })?;
    let Some(made_with) = remembered.as_deref() else { return settle(store, &names, None) };
    let state = store.paths().state.display();
    if names.is_empty() || names.contains(&made_with) {
        return match registry::select(&store.paths().state, None, Some(made_with)) {
            Ok(selection) => Ok(taken(selection)),
            Err(error) if has_layers(store)? => refusing(
                made_with,
                format!("{error}; the layers in {state} were made with {made_with} and no other driver can read them"),
            ),
            Err(_) => settle(store, &names, Some(made_with)),
        };
    }
    if has_layers(store)? {
        let asked = names.join(", ");
        return refusing(
            made_with,
            format!(
                "storage driver {asked}: the state in {state} was made with {made_with}, whose layers mean nothing to \
                 another; leave the option out, or start an empty state with --root FOLDER (save and load carry images \
                 over)"
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
    if kept == selection.name { Ok(taken(selection)) } else { open(store, Some(&names.join(","))) }
}

fn choose(store: &Store, names: &[&'static str]) -> Result<Selection> {
    let root = &store.paths().state;
    match names {
        [] => return Ok(registry::select(root, None, None)?),
        [only] if !PLANNED.contains(only) => return Ok(registry::select(root, Some(only), None)?),
        _ => {}
    }
    let mut refused = Vec::new();
    for name in names.iter().copied() {
        if PLANNED.contains(&name) {
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

fn names(text: &str) -> Result<Vec<&'static str>> {
    let words: Vec<_> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if words.contains(&"auto") {
        return Ok(Vec::new());
    }
    let known = || DRIVERS.iter().map(|entry| entry.name);
    let find = |word: &str| {
        // Docker's name for the same thing.
        let word = if word == "overlay2" { "overlay" } else { word };
        known().chain(PLANNED.iter().copied()).find(|name| *name == word).ok_or_else(|| {
            let known: Vec<_> = known().collect();
            Error::invalid(format!("storage driver {word:?}: the known ones are {}", known.join(", ")))
        })
    };
    words.into_iter().map(find).collect()
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

    fn prepare(&self, _id: &LayerId, _parents: &[LayerId]) -> berth_fs_drivers::Result<()> {
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

    fn unpack_target(&self, _id: &LayerId) -> berth_fs_drivers::Result<UnpackTarget> {
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
        assert!(names("ext4").unwrap_err().to_string().contains("overlay, fuse, vfs"));
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(berth_store::Paths::within(folder.path())).unwrap();
        let (driver, storage) = open(&store, Some("btrfs,vfs")).unwrap();
        assert_eq!((driver.name(), storage.refused[0].name), ("vfs", "btrfs"));
        assert!(open(&store, Some("btrfs")).is_err());
    }

    #[test]
    fn layers_of_one_driver_are_not_given_to_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(berth_store::Paths::within(folder.path())).unwrap();
        drop(open(&store, Some("vfs")).unwrap());
        store
            .write(|transaction| {
                transaction.execute("INSERT INTO layers (state) VALUES ('valid')", [])?;
                Ok::<_, Error>(())
            })
            .unwrap();
        let (driver, storage) = open(&store, Some("overlay")).unwrap();
        let reason = storage.unusable.unwrap();
        assert!(reason.contains("was made with vfs"), "{reason}");
        assert!(driver.list().unwrap_err().to_string().contains("leave the option out"));
        assert!(open(&store, None).unwrap().1.unusable.is_none());
    }
}
