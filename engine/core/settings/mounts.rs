//! What a user wants mounted: `-v`, `--mount` and `--tmpfs`, read into one form.

use std::path::{Component, Path, PathBuf};

use berth_api::models::{HostConfig, Mount, MountBindOptionsPropagationEnum as Propagation, MountType};
use serde::{Deserialize, Serialize};

use super::volumes::{self, VolumeMount};
use crate::{Error, Result};

/// One mount that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Absolute, without `.` and `..`.
    pub destination: PathBuf,
    pub kind: Kind,
    pub read_only: bool,
    /// The words as they were given, for `inspect`.
    pub mode: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Bind(Bind),
    /// The options in mount(8)'s words.
    Tmpfs(Vec<String>),
    Volume(VolumeMount),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    pub source: PathBuf,
    /// `rprivate` if nothing was said.
    pub propagation: String,
    pub recursive: bool,
    /// Make the source if it is not there (`-v`), or refuse (`--mount`).
    pub create_source: bool,
    pub read_only: ReadOnly,
}

/// How far read-only reaches in a bind mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ReadOnly {
    /// To the mounts below too, where the kernel can (5.12).
    IfPossible,
    Top,
    Everywhere,
}

const PROPAGATIONS: &[&str] = &["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// Everything that `host` asks to have mounted, sorted so that what contains comes before what is contained.
pub(crate) fn parse(host: &HostConfig) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for text in host.binds.iter().flatten() {
        points.push(bind(text, host.volume_driver.as_deref().unwrap_or_default())?);
    }
    for mount in host.mounts.iter().flatten() {
        points.push(from_mount(mount)?);
    }
    for (path, options) in host.tmpfs.iter().flatten() {
        let (options, read_only) = tmpfs(options)?;
        points.push(Point {
            destination: destination(path)?,
            kind: Kind::Tmpfs(options),
            read_only,
            mode: String::new(),
        });
    }
    points.sort_by(|a, b| a.destination.cmp(&b.destination));
    if let Some(pair) = points.windows(2).find(|pair| pair[0].destination == pair[1].destination) {
        return Err(Error::invalid(format!("Duplicate mount point: {}", pair[0].destination.display())));
    }
    Ok(points)
}

/// An absolute path inside, made plain.
pub(crate) fn destination(text: &str) -> Result<PathBuf> {
    let path = clean(text)
        .ok_or_else(|| Error::invalid(format!("invalid mount path: '{text}' mount path must be absolute")))?;
    if path == Path::new("/") {
        return Err(Error::invalid("invalid specification: destination can't be '/'"));
    }
    Ok(path)
}

/// Without `.`, `..` and doubled slashes; `None` if it is not absolute or holds a NUL.
pub(crate) fn clean(text: &str) -> Option<PathBuf> {
    if !text.starts_with('/') || text.contains('\0') {
        return None;
    }
    let mut path = PathBuf::from("/");
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(path)
}

/// `[SOURCE:]DESTINATION[:OPTIONS]`; `driver` is that of volumes that have to be made.
fn bind(text: &str, driver: &str) -> Result<Point> {
    let invalid = || Error::invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<_> = text.split(':').collect();
    let (source, inside, mode) = match *parts.as_slice() {
        [inside] if !inside.is_empty() => {
            let destination = destination(inside)?;
            let kind = Kind::Volume(VolumeMount::anonymous(driver));
            return Ok(Point { destination, kind, read_only: false, mode: String::new() });
        }
        [source, inside] => (source, inside, ""),
        [source, inside, mode] => (source, inside, mode),
        _ => return Err(invalid()),
    };
    if source.is_empty() || inside.is_empty() {
        return Err(invalid());
    }
    let destination = destination(inside)?;
    let Some(source) = clean(source) else {
        if source.starts_with('/') {
            return Err(invalid());
        }
        return volumes::named(source, destination, mode, driver);
    };
    let invalid_mode = || Error::invalid(format!("invalid mode: {mode}"));
    let mut bind = Bind {
        source,
        propagation: "rprivate".to_owned(),
        recursive: true,
        create_source: true,
        read_only: ReadOnly::IfPossible,
    };
    let (mut access, mut label, mut propagation, mut consistency) = (None, 0, 0, 0);
    for word in mode.split(',').filter(|_| !mode.is_empty()) {
        match word {
            "ro" | "rw" if access.is_none() => access = Some(word == "ro"),
            // SELinux labels: berth sets none.
            "z" | "Z" => label += 1,
            "cached" | "delegated" | "consistent" | "default" => consistency += 1,
            word if PROPAGATIONS.contains(&word) => {
                bind.propagation = word.to_owned();
                propagation += 1;
            }
            _ => return Err(invalid_mode()),
        }
    }
    if label > 1 || propagation > 1 || consistency > 1 {
        return Err(invalid_mode());
    }
    Ok(Point { destination, kind: Kind::Bind(bind), read_only: access.unwrap_or(false), mode: mode.to_owned() })
}

fn from_mount(mount: &Mount) -> Result<Point> {
    let target = mount.target.as_deref().unwrap_or_default();
    let invalid = |why: &str| Error::invalid(format!("invalid mount config for type \"{}\": {why}", kind_name(mount)));
    if target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    let destination = destination(target)?;
    let source = mount.source.as_deref().unwrap_or_default();
    let read_only = mount.read_only.unwrap_or(false);
    let point = |kind| Point { destination, kind, read_only, mode: String::new() };
    match mount.typ {
        Some(MountType::BIND) => {
            if mount.volume_options.is_some() || mount.tmpfs_options.is_some() || mount.image_options.is_some() {
                return Err(invalid("field options of another mount type must not be specified"));
            }
            if source.is_empty() {
                return Err(invalid("field Source must not be empty"));
            }
            let source = clean(source)
                .ok_or_else(|| invalid(&format!("invalid mount path: '{source}' mount path must be absolute")))?;
            let options = mount.bind_options.clone().unwrap_or_default();
            let top = options.read_only_non_recursive == Some(true);
            let everywhere = options.read_only_force_recursive == Some(true);
            if top && everywhere {
                return Err(invalid("ReadOnlyNonRecursive and ReadOnlyForceRecursive are mutually exclusive"));
            }
            if (top || everywhere) && !read_only {
                return Err(invalid("mount must be set \"ReadOnly\" for this to have an effect"));
            }
            let propagation = match options.propagation {
                None | Some(Propagation::EMPTY) => "rprivate".to_owned(),
                Some(word) => word.to_string(),
            };
            Ok(point(Kind::Bind(Bind {
                source,
                propagation,
                recursive: options.non_recursive != Some(true),
                create_source: options.create_mountpoint == Some(true),
                read_only: match (top, everywhere) {
                    (true, _) => ReadOnly::Top,
                    (_, true) => ReadOnly::Everywhere,
                    _ => ReadOnly::IfPossible,
                },
            })))
        }
        Some(MountType::TMPFS) => {
            if mount.bind_options.is_some() || mount.volume_options.is_some() {
                return Err(invalid("field options of another mount type must not be specified"));
            }
            if !source.is_empty() {
                return Err(invalid("field Source must not be specified"));
            }
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            let mut words = Vec::new();
            if let Some(size) = options.size_bytes.filter(|&size| size != 0) {
                if size < 0 {
                    return Err(invalid("size must not be negative"));
                }
                words.push(format!("size={size}"));
            }
            if let Some(mode) = options.mode.filter(|&mode| mode != 0) {
                if !(0..=0o7777).contains(&mode) {
                    return Err(invalid("mode is not a file mode"));
                }
                words.push(format!("mode={mode:o}"));
            }
            for option in options.options.iter().flatten() {
                words.push(option.join("="));
            }
            if read_only {
                words.push("ro".to_owned());
            }
            let (words, _) = tmpfs(&words.join(","))?;
            Ok(point(Kind::Tmpfs(words)))
        }
        Some(MountType::VOLUME) => {
            for (given, field) in [
                (mount.bind_options.is_some(), "BindOptions"),
                (mount.tmpfs_options.is_some(), "TmpfsOptions"),
                (mount.image_options.is_some(), "ImageOptions"),
            ] {
                if given {
                    return Err(invalid(&format!("field {field} must not be specified")));
                }
            }
            let options = mount.volume_options.clone().unwrap_or_default();
            Ok(point(Kind::Volume(volumes::mounted(source, read_only, options).map_err(|error| match error {
                volumes::Wrong::Config(why) => invalid(why),
                volumes::Wrong::Name(error) => error,
            })?)))
        }
        Some(other) => Err(Error::Unsupported(format!(
            "mount {target}: type {other} comes with a later version of berth; use type=bind or type=tmpfs"
        ))),
        None => Err(Error::invalid(format!("mount {target}: the type is missing"))),
    }
}

fn kind_name(mount: &Mount) -> String {
    mount.typ.map(|kind| kind.to_string()).unwrap_or_default()
}

/// A tmpfs's options on top of the defaults, and whether it is read-only.
fn tmpfs(text: &str) -> Result<(Vec<String>, bool)> {
    const PAIRS: &[(&str, &str)] = &[
        ("ro", "rw"),
        ("noexec", "exec"),
        ("nosuid", "suid"),
        ("nodev", "dev"),
        ("noatime", "atime"),
        ("nodiratime", "diratime"),
        ("relatime", "norelatime"),
        ("strictatime", "nostrictatime"),
        ("sync", "async"),
        ("mand", "nomand"),
    ];
    const WORDS: &[&str] = &[
        "defaults",
        "bind",
        "rbind",
        "unbindable",
        "runbindable",
        "private",
        "rprivate",
        "shared",
        "rshared",
        "slave",
        "rslave",
    ];
    let mut options: Vec<String> = ["nosuid", "nodev", "noexec"].map(str::to_owned).into();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let invalid = || Error::invalid(format!("invalid tmpfs option [\"{word}\"]"));
        let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        let pair = PAIRS.iter().find(|(on, off)| *on == key || *off == key);
        match value {
            None => match pair {
                Some((on, off)) => {
                    options.retain(|option| option != on && option != off);
                    options.push(key.to_owned());
                }
                None if WORDS.contains(&key) && !key.contains("bind") => options.push(key.to_owned()),
                None => return Err(invalid()),
            },
            Some(value) => {
                let number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                let sized = |text: &str| number(text.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G', '%']));
                let fits = match key {
                    "size" | "nr_blocks" | "nr_inodes" => sized(value),
                    "mode" => u32::from_str_radix(value, 8).is_ok_and(|mode| mode <= 0o7777),
                    "uid" | "gid" => value.parse::<u32>().is_ok(),
                    "huge" => matches!(value, "never" | "always" | "within_size" | "advise"),
                    "mpol" => !value.is_empty(),
                    _ => false,
                };
                if !fits {
                    return Err(invalid());
                }
                options.retain(|option| option.split_once('=').is_none_or(|(old, _)| old != key));
                options.push(word.to_owned());
            }
        }
    }
    let read_only = options.iter().any(|option| option == "ro");
    Ok((options, read_only))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Point> {
        parse(&HostConfig { binds: Some(vec![text.to_owned()]), ..HostConfig::default() })
            .map(|mut list| list.remove(0))
    }

    #[test]
    fn binds_are_read_with_their_options() {
        let point = one("/a/../b//c:/x/./y:ro,rshared,z").unwrap();
        assert_eq!(point.destination, Path::new("/x/y"));
        assert!(point.read_only);
        let Kind::Bind(bind) = point.kind else { panic!("a bind mount") };
        assert_eq!((bind.source.to_str(), bind.propagation.as_str()), (Some("/b/c"), "rshared"));
        assert!(bind.create_source);
    }

    #[test]
    fn what_is_no_mount_is_refused_clearly() {
        for (text, words) in [
            ("/a:b", "mount path must be absolute"),
            ("/a:/", "destination can't be '/'"),
            ("/a:/..", "destination can't be '/'"),
            ("/a:/b:nocopy", "invalid mode: nocopy"),
            ("/a:/b:ro,rw", "invalid mode"),
            ("/a:/b:ro:x", "invalid volume specification"),
            (":/b", "invalid volume specification"),
            ("", "invalid volume specification"),
            ("a:b:c:d", "invalid volume specification"),
            ("a/b:/c", "includes invalid characters for a local volume name"),
            ("a:/c", "volume name is too short"),
            ("data:c", "mount path must be absolute"),
            ("data:/c:rshared", "field BindOptions must not be specified"),
            ("data:/c:nocopy,nocopy", "invalid mode"),
            ("c:", "invalid volume specification"),
        ] {
            let message = one(text).unwrap_err().to_string();
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn one_place_is_mounted_once() {
        let host = HostConfig {
            binds: Some(vec!["/a:/x".to_owned()]),
            tmpfs: Some([("/x/".to_owned(), String::new())].into()),
            ..HostConfig::default()
        };
        assert_eq!(parse(&host).unwrap_err().to_string(), "Duplicate mount point: /x");
    }

    #[test]
    fn tmpfs_options_replace_the_defaults() {
        assert_eq!(tmpfs("").unwrap().0, ["nosuid", "nodev", "noexec"]);
        assert_eq!(tmpfs("exec,size=64m,mode=1777").unwrap().0, ["nosuid", "nodev", "exec", "size=64m", "mode=1777"]);
        assert!(tmpfs("ro").unwrap().1);
        for bad in ["foo", "size=", "size=x", "mode=9", "bind", "lowerdir=/etc"] {
            assert!(tmpfs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mounts_say_what_is_wrong_with_them() {
        let mount = |kind, source: &str| Mount {
            target: Some("/x".to_owned()),
            source: Some(source.to_owned()),
            typ: Some(kind),
            ..Mount::default()
        };
        assert!(from_mount(&mount(MountType::BIND, "/a")).is_ok());
        assert!(from_mount(&mount(MountType::BIND, "a")).is_err());
        assert!(from_mount(&mount(MountType::TMPFS, "a")).is_err());
        assert!(from_mount(&mount(MountType::TMPFS, "")).is_ok());
    }
}
