//! The `local` driver: a folder of the state, or what its options name instead.
//!
//! Docker mounts such a file system on the host while containers use it. Here each container's monitor mounts it where
//! nobody else sees it (`mount.rs`), so nothing has to be counted or taken off again.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use berth_arch::FsOwner;
use berth_arch::mount::Mount;

use super::record::Volume;
use crate::settings::mounts::clean;
use crate::{Engine, Error, Result};

/// What is behind a local volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Its own folder.
    Folder,
    /// A folder of the host (`o=bind`), with the other words of `o`.
    Host { path: PathBuf, words: Vec<String> },
    /// A file system that has to be mounted, in mount(8)'s words.
    FileSystem { kind: String, device: String, words: Vec<String> },
}

/// Judges the options of `volume create -o`, in Docker's words, and says what they come to.
pub(crate) fn backing(options: &BTreeMap<String, String>) -> Result<Backing> {
    let get = |name: &str| options.get(name).map(String::as_str);
    if let Some(unknown) = options.keys().find(|name| !["type", "o", "device", "size"].contains(&name.as_str())) {
        return Err(Error::invalid(format!("invalid option: {unknown:?}")));
    }
    if let Some(odd) = options.values().find(|value| value.contains(['\0', '\n'])) {
        return Err(Error::invalid(format!("invalid option: {odd:?}")));
    }
    if get("size").is_some() {
        return Err(Error::Unsupported(
            "quota size requested but no quota support: berth limits the size of a tmpfs only (-o type=tmpfs -o \
             device=tmpfs -o o=size=100m)"
                .to_owned(),
        ));
    }
    for (option, needed) in [("device", "type"), ("type", "device"), ("o", "device"), ("o", "type")] {
        if get(option).is_some() && get(needed).is_none() {
            return Err(Error::invalid(format!("missing required option: {needed:?}")));
        }
    }
    let (Some(kind), Some(device)) = (get("type"), get("device")) else { return Ok(Backing::Folder) };
    let words: Vec<String> =
        get("o").unwrap_or_default().split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    if words.iter().any(|word| matches!(word.as_str(), "remount" | "move")) {
        return Err(Error::invalid("invalid option: \"o\": a volume is mounted anew, never moved or mounted again"));
    }
    if words.iter().any(|word| matches!(word.as_str(), "bind" | "rbind")) {
        let path = clean(device)
            .ok_or_else(|| Error::invalid(format!("invalid option: device {device:?} of a bind must be absolute")))?;
        return Ok(Backing::Host { path, words });
    }
    if kind.is_empty() || device.is_empty() {
        return Err(Error::invalid("missing device in volume options"));
    }
    Ok(Backing::FileSystem { kind: kind.to_owned(), device: device.to_owned(), words })
}

/// What mount(2) is told: addresses for names, which the kernel cannot look up.
pub(crate) fn file_system(kind: &str, device: &str, words: &[String], target: &Path) -> Result<Mount> {
    let mut options = words.to_vec();
    if kind.starts_with("nfs") || kind == "cifs" {
        for option in &mut options {
            if let Some(name) = option.strip_prefix("addr=")
                && name.parse::<IpAddr>().is_err()
            {
                *option = format!("addr={}", resolve(name)?);
            }
        }
    }
    if kind == "cifs"
        && let Some((host, _)) = device.strip_prefix("//").and_then(|rest| rest.split_once('/'))
        && !host.is_empty()
        && host.parse::<IpAddr>().is_err()
    {
        let address = resolve(host)?;
        if !options.iter().any(|option| option.starts_with("ip=") || option.starts_with("addr=")) {
            options.push(format!("addr={address}"));
        }
    }
    Ok(Mount { fstype: kind.to_owned(), source: device.into(), target: target.to_owned(), options, base: None })
}

fn resolve(name: &str) -> Result<IpAddr> {
    let wrong = |why: String| Error::Unavailable(format!("error resolving passed in network volume address: {why}"));
    let mut found = (name, 0).to_socket_addrs().map_err(|error| wrong(format!("lookup {name}: {error}")))?;
    found.next().map(|address| address.ip()).ok_or_else(|| wrong(format!("lookup {name}: no such host")))
}

impl Engine {
    /// Nobody but root passes: a container's root can leave programs here that run as root for whoever starts them
    /// (CVE-2021-41091).
    pub(crate) fn volumes_folder(&self) -> PathBuf {
        self.paths().state.join("volumes")
    }

    /// The folder of a local volume; `_data` in it is its content.
    pub(crate) fn volume_folder(&self, name: &str) -> PathBuf {
        self.volumes_folder().join(name)
    }

    /// Docker's Mountpoint.
    pub(crate) fn data_folder(&self, name: &str) -> PathBuf {
        self.volume_folder(name).join("_data")
    }

    /// Idempotent. What lies there already is kept: a power cut may have taken the row and left the content. New content is
    /// `root`'s, the root user of the containers that it is for.
    pub(crate) fn make_volume_folder(&self, volume: &Volume, root: Option<(u32, u32)>) -> Result<()> {
        let all = self.volumes_folder();
        berth_store::create_private(&all).map_err(Error::io("create", &all))?;
        let folders = [(self.volume_folder(&volume.name), 0o711, None), (self.data_folder(&volume.name), 0o755, root)];
        for (path, mode, owner) in folders {
            make_folder(&path, mode, owner).map_err(Error::io("create", &path))?;
        }
        Ok(())
    }
}

/// As its owner from the first moment on: if this is killed, nobody makes up for what is missing.
fn make_folder(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    let _owner = owner.map(|(user, group)| FsOwner::new(user, group)).transpose()?;
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        // Whatever the umask is.
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Backing> {
        backing(&pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn a_folder_is_its_owners_whatever_the_umask() {
        use std::os::unix::fs::MetadataExt;
        if !rustix::process::geteuid().is_root() || !berth_arch::Ids::here().has_user(300_000) {
            return eprintln!("skipped: not root");
        }
        let all = tempfile::tempdir().unwrap();
        let path = all.path().join("_data");
        for _ in 0..2 {
            make_folder(&path, 0o755, Some((300_000, 400_000))).unwrap();
        }
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (300_000, 400_000, 0o755));
    }

    #[test]
    fn options_come_to_a_folder_or_a_mount() {
        assert_eq!(of(&[]).unwrap(), Backing::Folder);
        let bind = of(&[("type", "none"), ("device", "/a/../b"), ("o", "bind,ro")]).unwrap();
        assert_eq!(bind, Backing::Host { path: "/b".into(), words: vec!["bind".into(), "ro".into()] });
        let tmpfs = of(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=3")]).unwrap();
        assert!(matches!(tmpfs, Backing::FileSystem { words, .. } if words == ["size=1m", "uid=3"]));
    }

    #[test]
    fn options_that_mean_nothing_are_refused_in_dockers_words() {
        for (pairs, words) in [
            (&[("colour", "red")][..], "invalid option: \"colour\""),
            (&[("type", "tmpfs")], "missing required option: \"device\""),
            (&[("device", "x")], "missing required option: \"type\""),
            (&[("o", "x"), ("type", "tmpfs")], "missing required option: \"device\""),
            (&[("size", "1m")], "no quota support"),
            (&[("type", "none"), ("device", "rel"), ("o", "bind")], "must be absolute"),
            (&[("type", "none"), ("device", "/a"), ("o", "remount,bind")], "never moved"),
        ] {
            let message = of(pairs).unwrap_err().to_string();
            assert!(message.contains(words), "{pairs:?}: {message}");
        }
    }

    #[test]
    fn addresses_take_the_place_of_names() {
        let words = ["addr=localhost".to_owned(), "ro".to_owned()];
        let mount = file_system("nfs", ":/export", &words, Path::new("/x")).unwrap();
        assert!(mount.options[0] == "addr=127.0.0.1" || mount.options[0] == "addr=::1", "{mount:?}");
        let kept = file_system("ext4", "/dev/x", &words, Path::new("/x")).unwrap();
        assert_eq!(kept.options, words);
    }
}
