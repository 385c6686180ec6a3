//! What a user wants of a volume that is mounted: `-v NAME:/PATH`, `--mount type=volume`, `--volumes-from`, and what a
//! volume may be called. Which volumes there are is known in `core/volumes/`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use berth_api::models::MountVolumeOptions;
use serde::{Deserialize, Serialize};

use super::mounts::{Kind, Point};
use crate::{Error, Result};

/// The driver that is berth's own.
pub(crate) const LOCAL: &str = "local";
/// Docker's mark of a volume that nobody named.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";
/// Characters; the volume's folder and lock are called by it.
const LONGEST: usize = 240;

/// A volume at a place inside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeMount {
    /// Empty for an anonymous one until the container is made.
    pub name: String,
    /// Of a volume that has to be made, and of the volume once the container is made; empty: the default.
    pub driver: String,
    /// Nobody named it.
    pub anonymous: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Is not filled from the image.
    pub no_copy: bool,
    /// Only this folder or file of the volume, relative.
    pub subpath: Option<String>,
}

impl VolumeMount {
    pub(crate) fn anonymous(driver: &str) -> Self {
        Self { driver: driver.to_owned(), anonymous: true, ..Self::default() }
    }
}

/// What is wrong with a mount of a volume.
pub(crate) enum Wrong {
    /// To be said of the mount.
    Config(&'static str),
    Name(Error),
}

/// `NAME:/PATH[:MODE]`.
pub(crate) fn named(name: &str, destination: PathBuf, mode: &str, driver: &str) -> Result<Point> {
    check_name(name, driver)?;
    let invalid = || Error::invalid(format!("invalid mode: {mode}"));
    let mut point = Point { destination, kind: Kind::Tmpfs(Vec::new()), read_only: false, mode: mode.to_owned() };
    let mut volume = VolumeMount { name: name.to_owned(), driver: driver.to_owned(), ..VolumeMount::default() };
    let (mut access, mut label, mut consistency) = (0, 0, 0);
    for word in mode.split(',').filter(|_| !mode.is_empty()) {
        match word {
            "ro" | "rw" => {
                point.read_only = word == "ro";
                access += 1;
            }
            "nocopy" if !volume.no_copy => volume.no_copy = true,
            // SELinux labels: berth sets none.
            "z" | "Z" => label += 1,
            "cached" | "delegated" | "consistent" | "default" => consistency += 1,
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                return Err(Error::invalid(format!(
                    "invalid volume specification: '{name}:{}:{mode}': invalid mount config for type \"volume\": field \
                     BindOptions must not be specified",
                    point.destination.display()
                )));
            }
            _ => return Err(invalid()),
        }
    }
    if access > 1 || label > 1 || consistency > 1 {
        return Err(invalid());
    }
    point.kind = Kind::Volume(volume);
    Ok(point)
}

/// `--mount type=volume`.
pub(crate) fn mounted(source: &str, read_only: bool, options: MountVolumeOptions) -> Result<VolumeMount, Wrong> {
    let driver = options.driver_config.unwrap_or_default();
    let mut volume = VolumeMount {
        name: source.to_owned(),
        driver: driver.name.unwrap_or_default(),
        anonymous: source.is_empty(),
        options: driver.options.unwrap_or_default().into_iter().collect(),
        labels: options.labels.unwrap_or_default().into_iter().collect(),
        no_copy: options.no_copy == Some(true),
        subpath: options.subpath.filter(|path| !path.is_empty()),
    };
    if let Some(subpath) = &volume.subpath {
        if volume.anonymous {
            return Err(Wrong::Config("must not set Subpath when using anonymous volumes"));
        }
        // What is below a part of a volume is not the image's.
        volume.no_copy = true;
        if !stays_inside(subpath) {
            return Err(Wrong::Config("subpath must be a relative path within the volume"));
        }
    }
    if volume.anonymous && read_only {
        return Err(Wrong::Config("must not set ReadOnly mode when using anonymous volumes"));
    }
    if !volume.anonymous {
        check_name(source, &volume.driver).map_err(Wrong::Name)?;
    }
    Ok(volume)
}

/// Relative, and not above where it starts however far one has come.
fn stays_inside(path: &str) -> bool {
    let mut depth = 0;
    !path.contains('\0')
        && Path::new(path).components().all(|component| {
            match component {
                Component::Normal(_) => depth += 1,
                Component::ParentDir => depth -= 1,
                Component::CurDir => {}
                Component::RootDir | Component::Prefix(_) => return false,
            }
            depth >= 0
        })
}

/// Docker's rule for its own driver; others' names are their affair, as far as they are names.
pub(crate) fn check_name(name: &str, driver: &str) -> Result<()> {
    if name.len() > LONGEST {
        return Err(Error::invalid(format!(
            "volume name is too long: {} characters, and {LONGEST} are allowed",
            name.len()
        )));
    }
    if !matches!(driver, "" | LOCAL) {
        if name.is_empty() || name.contains(['\0', '\n']) || matches!(name, "." | "..") {
            return Err(Error::invalid(format!("invalid volume name {name:?}")));
        }
        return Ok(());
    }
    if name.len() == 1 {
        return Err(Error::invalid("volume name is too short, names should be at least two alphanumeric characters"));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if !name.bytes().all(fits) || !name.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return Err(Error::invalid(format!(
            "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
             allowed. If you intended to pass a host directory, use absolute path"
        )));
    }
    Ok(())
}

/// `CONTAINER[:ro|rw|z|...]`: whose, and whether only to read.
pub(crate) fn from_container(text: &str) -> Result<(&str, bool)> {
    if text.is_empty() {
        return Err(Error::invalid("volumes-from specification cannot be an empty string"));
    }
    let (container, mode) = text.split_once(':').unwrap_or((text, "rw"));
    let words = || mode.split(',');
    let known = words().all(|word| matches!(word, "ro" | "rw" | "z" | "Z" | "cached" | "delegated" | "consistent"));
    let count = |which: [&str; 2]| words().filter(|word| which.contains(word)).count();
    if container.is_empty() || !known || count(["ro", "rw"]) > 1 || count(["z", "Z"]) > 1 {
        return Err(Error::invalid(format!("invalid mode: {mode}")));
    }
    Ok((container, words().any(|word| word == "ro")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subpath_stays_in_its_volume() {
        for good in ["a", "a/b", "./a", "a/../b", "..a"] {
            assert!(stays_inside(good), "{good}");
        }
        for bad in ["/a", "..", "a/../..", "../a", "a/../../b/c", "a\0b"] {
            assert!(!stays_inside(bad), "{bad}");
        }
    }

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["ab", "A.b-c_d", "0x"] {
            assert!(check_name(good, "").is_ok(), "{good}");
        }
        for bad in ["", "a", ".a", "-a", "a b", "a/b", "a:b", "ä1", &"a".repeat(241)] {
            assert!(check_name(bad, LOCAL).is_err(), "{bad}");
        }
        assert!(check_name("host/share", "nfs").is_ok());
    }

    #[test]
    fn modes_of_volumes_are_read_and_refused() {
        let volume = |mode| match named("data", "/x".into(), mode, "").map(|point| (point.read_only, point.kind)) {
            Ok((read_only, Kind::Volume(volume))) => Some((read_only, volume.no_copy)),
            _ => None,
        };
        assert_eq!(volume(""), Some((false, false)));
        assert_eq!(volume("ro,nocopy,z"), Some((true, true)));
        for bad in ["ro,rw", "ro,ro", "z,Z", "rshared", "nonsense", "ro,"] {
            assert_eq!(volume(bad), None, "{bad}");
        }
        assert_eq!(from_container("c:ro").unwrap(), ("c", true));
        assert_eq!(from_container("c").unwrap(), ("c", false));
        for bad in ["", ":ro", "c:nocopy", "c:rshared", "c:ro,rw"] {
            assert!(from_container(bad).is_err(), "{bad}");
        }
    }
}
