//! Images for containers with users of their own: whether mounts map owners here, and where they do not, layers upon images that
//! give all files to those users. There is one for each image and mapping, made for the first container that needs it.

use berth_arch::{IdMap, pretend};
use berth_fs_drivers::{LayerOptions, owners};
use berth_store::Lock;
use berth_store::rusqlite::{Connection, OptionalExtension, Transaction};

use super::chain::{OpenLayer, insert};
use super::graph::{LOCK_PREFIX, chain_ids, layer_id, lock_name};
use crate::{Error, ImageId, ImageStore, Result};

/// In `meta`: driver, file system and kernel, and in a second line why its mounts do not map owners there, if they do not.
const KEY: &str = "mapped-owners";

impl ImageStore {
    /// Why the driver's mounts cannot map owners here; `None`: they can. Tried once on each kernel.
    pub fn maps_no_owners(&self, map: &IdMap) -> Result<Option<String>> {
        if let Some(pretended) = ["idmap", "mount-api", "userns"].into_iter().find(|name| pretend::without(name)) {
            return Ok(berth_arch::Probe::<()>::pretended(pretended).reason().map(str::to_owned));
        }
        let uname = rustix::system::uname();
        let (release, version) = (uname.release().to_string_lossy(), uname.version().to_string_lossy());
        // A state folder may be moved to another file system.
        let ground = rustix::fs::statfs(&self.store.paths().state).map(|found| found.f_type).ok();
        let here = format!("{} {ground:?} {release} {version}", self.driver.name());
        let known = |text: String| text.split_once('\n').filter(|(of, _)| *of == here).map(|(_, why)| why.to_owned());
        let read = || self.store.read(get);
        let why = match read()?.and_then(known) {
            Some(why) => why,
            None => {
                let _lock = Lock::acquire(&self.store.paths().locks(), &format!("{LOCK_PREFIX}trial"))?;
                match read()?.and_then(known) {
                    Some(why) => why,
                    None => self.try_map(&here, map)?,
                }
            }
        };
        Ok((!why.is_empty()).then_some(why))
    }

    fn try_map(&self, here: &str, map: &IdMap) -> Result<String> {
        use rustix::io::Errno;
        let (why, stays) = match owners::try_map(&*self.driver, map) {
            Ok(()) => (String::new(), true),
            Err(error) => {
                let refused = match &error {
                    berth_fs_drivers::Error::Io { source, .. } => source.raw_os_error().map(Errno::from_raw_os_error),
                    _ => None,
                };
                // What a kernel or a file system without the facility answers. Others may be of the moment.
                let stays = matches!(
                    refused,
                    Some(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::NOTSUP | Errno::OVERFLOW)
                );
                (error.to_string().replace('\n', " "), stays)
            }
        };
        if stays {
            self.store.write(|transaction| {
                transaction.execute(
                    "INSERT INTO meta (key, value) VALUES (?1, ?2)
                     ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    [KEY, &format!("{here}\n{why}")],
                )?;
                Ok::<_, Error>(())
            })?;
        }
        Ok(why)
    }

    /// Sees to it that the layer is there that gives the files of `image` to the users of `map`.
    pub fn give(&self, image: &ImageId, map: &IdMap) -> Result<()> {
        enum Found {
            There,
            Open(i64),
            Ours(i64, Lock, Option<i64>),
        }
        loop {
            let found = self.store.write(|transaction| {
                let top = top(transaction, image)?;
                if let Some((number, valid)) = find(transaction, top, map)? {
                    return Ok(if valid { Found::There } else { Found::Open(number) });
                }
                let (number, lock) = insert(self, transaction, top, None)?;
                transaction.execute(
                    "INSERT INTO given_layers (layer, base, users) VALUES (?1, ?2, ?3)",
                    (number, top.unwrap_or_default(), map.to_string()),
                )?;
                Ok::<_, Error>(Found::Ours(number, lock, top))
            })?;
            match found {
                Found::There => return Ok(()),
                Found::Ours(number, lock, top) => {
                    return self.make_given(image, OpenLayer::new(self, (number, lock)), top, map);
                }
                // Somebody makes or removes it, or has ended while he did.
                Found::Open(number) => {
                    let lock = Lock::acquire(&self.store.paths().locks(), &lock_name(number))?;
                    self.discard_locked(number, &lock)?;
                }
            }
        }
    }

    fn make_given(&self, image: &ImageId, mut layer: OpenLayer<'_>, top: Option<i64>, map: &IdMap) -> Result<()> {
        let id = layer_id(layer.number())?;
        let parents = self.store.read(|connection| chain_ids(connection, top))?;
        self.prepare_fresh(&id, &parents, &LayerOptions::default())?;
        owners::give(&*self.driver, &id, &parents, map)?;
        self.driver.commit(&id)?;
        self.store.write(|transaction| {
            // One that was removed meanwhile takes this along.
            self::top(transaction, image)?;
            transaction.execute("UPDATE layers SET state = 'valid' WHERE number = ?1", [layer.number()])?;
            Ok::<_, Error>(())
        })?;
        layer.settle();
        Ok(self.store.sync()?)
    }

    /// Removes those that no container stands on, before the layers go to another driver. A conflict if others are left.
    pub fn discard_given(&self) -> Result<()> {
        let (idle, used) = self.store.write(|transaction| {
            let bases: Vec<i64> = {
                let mut statement = transaction.prepare("SELECT base FROM given_layers")?;
                statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?
            };
            let mut idle = Vec::new();
            for base in bases {
                idle.extend(release(transaction, base, true)?);
            }
            let used: i64 = transaction.query_row(
                "SELECT count(*) FROM given_layers JOIN layers ON number = layer WHERE state = 'valid'",
                [],
                |row| row.get(0),
            )?;
            Ok::<_, Error>((idle, used))
        })?;
        self.discard_layers(&idle)?;
        if used == 0 {
            return Ok(());
        }
        Err(Error::Conflict(
            "containers with users of their own stand on copies of their images, which do not move: remove these containers first \
             (what they wrote is kept by berth commit)"
                .to_owned(),
        ))
    }
}

fn get(connection: &Connection) -> Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([KEY], |row| row.get(0)).optional()?)
}

/// The topmost layer of an image.
pub(super) fn top(connection: &Connection, image: &ImageId) -> Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT layer FROM images WHERE id = ?1")?;
    let found = statement.query_row([image.as_str()], |row| row.get(0)).optional()?;
    found.ok_or_else(|| Error::NotFound(format!("No such image: {image}")))
}

/// The layer that gives `base` to `map`'s users, and whether it is valid.
fn find(connection: &Connection, base: Option<i64>, map: &IdMap) -> Result<Option<(i64, bool)>> {
    let mut statement = connection.prepare_cached(
        "SELECT layer, state = 'valid' FROM given_layers JOIN layers ON number = layer WHERE base = ?1 AND users = ?2",
    )?;
    let row = |row: &berth_store::rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    Ok(statement.query_row((base.unwrap_or_default(), map.to_string()), row).optional()?)
}

/// As [`find`], for a container that is to stand on it.
pub(super) fn ready(transaction: &Transaction<'_>, base: Option<i64>, map: &IdMap) -> Result<i64> {
    match find(transaction, base, map)? {
        Some((number, true)) => Ok(number),
        _ => Err(Error::Conflict("the image was removed and made again by somebody else; try again".to_owned())),
    }
}

/// To whom the layer `number` gives an image, if it is one that does, and the image's topmost layer.
pub(super) fn given(connection: &Connection, number: Option<i64>) -> Result<Option<(IdMap, Option<i64>)>> {
    let mut statement = connection.prepare_cached("SELECT users, base FROM given_layers WHERE layer = ?1")?;
    let row = |row: &berth_store::rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
    let Some((users, base)) = statement.query_row([number], row).optional()? else { return Ok(None) };
    let map = users.parse().map_err(|error| Error::Conflict(format!("the record of layer {number:?}: {error}")))?;
    Ok(Some((map, Some(base).filter(|base| *base != 0))))
}

/// Marks those upon `base` that nothing stands on as going: if no image has it, or `anyway`.
pub(super) fn release(connection: &Connection, base: i64, anyway: bool) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(
        "UPDATE layers SET state = 'removing' WHERE state = 'valid'
         AND number IN (SELECT layer FROM given_layers WHERE base = ?1)
         AND NOT EXISTS (SELECT 1 FROM layers AS child WHERE child.parent = layers.number)
         AND (?2 OR NOT EXISTS (SELECT 1 FROM images WHERE layer = ?1))
         RETURNING number",
    )?;
    Ok(statement.query_map((base, anyway), |row| row.get(0))?.collect::<Result<_, _>>()?)
}
