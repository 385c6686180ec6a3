//! What a state's layers are kept in: which pool, which file system. Written into the driver's folder by whoever makes the state,
//! and the same for every process that works on it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::filesystem::FileSystem;
use super::{LAYER_SIZE, MIN_FREE, NAME};
use crate::error::At;
use crate::folder::Folder;
use crate::{Error, Result};

/// As all that is no layer's, with a dot, which no layer's name has.
const FILE: &str = ".settings";

/// What the options of this driver begin with.
pub(super) const PREFIX: &str = "lvm.";
const POOL: &str = "pool";
const FILESYSTEM: &str = "fs";
const SIZE: &str = "size";
const FREE: &str = "min_free_space";
const KEYS: &[&str] = &[POOL, FILESYSTEM, SIZE, FREE];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// What our devices' names begin with, so that no two states' are the same.
    pub(super) tag: String,
    pub(super) pool: Source,
    pub(super) filesystem: FileSystem,
    /// Bytes of a layer's file system.
    pub(super) size: u64,
    /// Percent.
    pub(super) min_free: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// Two files in the driver's folder.
    Files,
    /// One that somebody else made. Its UUID is known from the first use on: another one of its name is not it.
    Named { name: String, uuid: Option<String> },
}

impl Settings {
    pub(super) fn new() -> Result<Self> {
        let mut random = [0_u8; 6];
        berth_arch::random::fill(&mut random).at("read random bytes for", NAME)?;
        let tag = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { tag, pool: Source::Files, filesystem: FileSystem::Ext4, size: LAYER_SIZE, min_free: MIN_FREE })
    }

    /// Those that `driver`, the driver's folder, has.
    pub(super) fn read(driver: &Path) -> Result<Option<Self>> {
        let path = driver.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text)
                .map(Some)
                .ok_or_else(|| Error::InvalidArgument(format!("settings of the storage driver in {}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("read", path),
        }
    }

    /// Replaces them whole.
    pub(super) fn write(&self, driver: &Path) -> Result<()> {
        let (path, new) = (driver.join(FILE), driver.join(format!("{FILE}.new-{}", std::process::id())));
        std::fs::write(&new, self.text())
            .and_then(|()| std::fs::File::open(&new)?.sync_all())
            .and_then(|()| std::fs::rename(&new, &path))
            .at("write", path)
    }

    fn text(&self) -> String {
        let mut text = format!(
            "tag {}\n{FILESYSTEM} {}\n{SIZE} {}\n{FREE} {}\n",
            self.tag,
            self.filesystem.name(),
            self.size,
            self.min_free
        );
        if let Source::Named { name, uuid } = &self.pool {
            text.push_str(&format!("{POOL} {name}\n"));
            text.extend(uuid.iter().map(|uuid| format!("uuid {uuid}\n")));
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        let pool = value(POOL).map_or(Source::Files, |name| Source::Named {
            name: name.to_owned(),
            uuid: value("uuid").map(str::to_owned),
        });
        Some(Self {
            tag: value("tag").filter(|tag| tag.bytes().all(|byte| byte.is_ascii_hexdigit()))?.to_owned(),
            pool,
            filesystem: FileSystem::parse(value(FILESYSTEM)?)?,
            size: value(SIZE)?.parse().ok()?,
            min_free: value(FREE)?.parse().ok()?,
        })
    }

    /// With `options` in place of what is there.
    fn with(mut self, options: &Options) -> Self {
        if let Some(name) = &options.pool
            && !matches!(&self.pool, Source::Named { name: known, .. } if known == name)
        {
            self.pool = Source::Named { name: name.clone(), uuid: None };
        }
        if let Some(filesystem) = options.filesystem {
            self.filesystem = filesystem;
        }
        self.size = options.size.unwrap_or(self.size).max(self.filesystem.smallest());
        self.min_free = options.min_free.unwrap_or(self.min_free);
        self
    }
}

/// What the configuration asks of this driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    pool: Option<String>,
    filesystem: Option<FileSystem>,
    size: Option<u64>,
    min_free: Option<u8>,
}

impl Options {
    /// Of pairs, those whose keys begin with [`PREFIX`]. `bytes` reads a size as people write it.
    pub(super) fn parse(pairs: &BTreeMap<String, String>, bytes: impl Fn(&str) -> Option<u64>) -> Result<Self> {
        let mut options = Self::default();
        for (key, value) in pairs {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let wrong = |wanted: &str| Error::InvalidArgument(format!("storage option {key}={value}: {wanted}"));
            match name {
                POOL => {
                    options.pool =
                        Some(pool_name(value).ok_or_else(|| wrong("the name of a thin pool is wanted, as VG/POOL"))?);
                }
                FILESYSTEM => {
                    options.filesystem = Some(FileSystem::parse(value).ok_or_else(|| wrong("ext4 or xfs is wanted"))?);
                }
                SIZE => {
                    let size = bytes(value).filter(|size| *size >= super::filesystem::SMALLEST_EXT4);
                    let size = size.ok_or_else(|| wrong("a number of bytes is wanted, 64M at least, as 10G"))?;
                    options.size = Some(size.next_multiple_of(super::thin::BLOCK));
                }
                FREE => {
                    let percent = value.strip_suffix('%').unwrap_or(value).trim().parse().ok();
                    let percent = percent.filter(|percent| *percent < 100);
                    options.min_free = Some(percent.ok_or_else(|| wrong("a percentage is wanted, as 10%"))?);
                }
                _ => {
                    let known: Vec<_> = KEYS.iter().map(|key| format!("{PREFIX}{key}")).collect();
                    return Err(Error::InvalidArgument(format!(
                        "storage option {key}: the known ones of the driver {NAME} are {}",
                        known.join(", ")
                    )));
                }
            }
        }
        Ok(options)
    }

    /// Writes them down for the state folder `root`. Another pool than the one that layers are in is refused.
    pub(super) fn apply(&self, root: &Path) -> Result<()> {
        if *self == Self::default() {
            return Ok(());
        }
        let (folder, _) = Folder::open(root, NAME)?;
        self.leave_old_pool(root, &folder)?;
        let _lock = super::lock(folder.path())?;
        let old = Settings::read(folder.path())?;
        let new = old.clone().map_or_else(Settings::new, Ok)?.with(self);
        if let Some(old) = old.as_ref().filter(|old| old.pool != new.pool)
            && !folder.list()?.is_empty()
        {
            let place = |source: &Source| match source {
                Source::Files => "files in the state folder".to_owned(),
                Source::Named { name, .. } => format!("the thin pool {name}"),
            };
            return Err(Error::Unsupported(format!(
                "storage option {PREFIX}{POOL}: the layers of {} are in {}; save the images and load them into an empty state \
                 (--root FOLDER), or leave the option out",
                root.display(),
                place(&old.pool)
            )));
        }
        if old.as_ref() != Some(&new) { new.write(folder.path()) } else { Ok(()) }
    }
}

impl Options {
    /// Takes what is no layer out of a pool that is not used any more. It may be gone itself.
    fn leave_old_pool(&self, root: &Path, folder: &Folder) -> Result<()> {
        let changes = Settings::read(folder.path())?.is_some_and(|old| old.pool != old.clone().with(self).pool);
        if changes && folder.list()?.is_empty() {
            let _ = super::Lvm::open(root).and_then(|lvm| super::template::remove_all(&lvm));
        }
        Ok(())
    }
}

/// device-mapper's name of a pool that is given as that, as `VG/POOL`, or by its path in /dev.
fn pool_name(given: &str) -> Option<String> {
    let name = match (given.strip_prefix("/dev/mapper/"), given.strip_prefix("/dev/").unwrap_or(given).split_once('/'))
    {
        (Some(name), _) => name.to_owned(),
        // LVM doubles hyphens within names.
        (None, Some((group, volume))) => format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--")),
        (None, None) => given.to_owned(),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+_.-#:@=".contains(&byte);
    (!name.is_empty() && name.len() < 120 && name.bytes().all(fits)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<Options> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Options::parse(&pairs, |text| text.parse().ok())
    }

    #[test]
    fn a_pool_is_named_in_every_way_that_lvm_does() {
        for (given, name) in [
            ("vg-pool", "vg-pool"),
            ("vg/pool", "vg-pool"),
            ("/dev/vg/pool", "vg-pool"),
            ("/dev/mapper/my--vg-pool", "my--vg-pool"),
            ("my-vg/thin-pool", "my--vg-thin--pool"),
        ] {
            assert_eq!(pool_name(given).as_deref(), Some(name), "{given}");
        }
        for given in ["", "a b", "a/b/c", "../x\0"] {
            assert_eq!(pool_name(given), None, "{given:?}");
        }
    }

    #[test]
    fn options_are_told_apart_and_wrong_ones_refused() {
        let all = [("lvm.pool", "vg/p"), ("lvm.fs", "xfs"), ("lvm.size", "1073741824"), ("lvm.min_free_space", "5%")];
        let found = options(&all).unwrap();
        assert_eq!((found.filesystem, found.size, found.min_free), (Some(FileSystem::Xfs), Some(1 << 30), Some(5)));
        assert_eq!(options(&[("size", "5")]).unwrap(), Options::default());
        for (key, value) in
            [("lvm.fs", "btrfs"), ("lvm.size", "5"), ("lvm.min_free_space", "100"), ("lvm.colour", "red")]
        {
            assert!(options(&[(key, value)]).unwrap_err().to_string().contains(key));
        }
    }

    #[test]
    fn settings_stay_and_a_pool_with_layers_is_not_left() {
        let root = tempfile::tempdir().unwrap();
        options(&[]).unwrap().apply(root.path()).unwrap();
        assert!(!root.path().join(NAME).exists());
        let named = options(&[("lvm.pool", "vg/a")]).unwrap();
        named.apply(root.path()).unwrap();
        let folder = root.path().join(NAME);
        let first = Settings::read(&folder).unwrap().unwrap();
        assert_eq!(Settings::parse(&first.text()), Some(first.clone()));
        options(&[("lvm.min_free_space", "7")]).unwrap().apply(root.path()).unwrap();
        let second = Settings::read(&folder).unwrap().unwrap();
        assert_eq!(second, Settings { min_free: 7, ..first });
        std::fs::create_dir(folder.join("layer")).unwrap();
        named.apply(root.path()).unwrap();
        let refused = options(&[("lvm.pool", "vg/b")]).unwrap().apply(root.path()).unwrap_err().to_string();
        assert!(refused.contains("thin pool vg-a"), "{refused}");
        std::fs::remove_dir(folder.join("layer")).unwrap();
        options(&[("lvm.pool", "vg/b")]).unwrap().apply(root.path()).unwrap();
    }
}
