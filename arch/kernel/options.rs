//! What this kernel was built with, where that can be read.

use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes; a whole one has some 300 KiB.
const LARGEST: u64 = 4 << 20;

/// The kernel's `.config`.
#[derive(Debug)]
pub struct Options {
    text: String,
    /// Where it was found.
    pub file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Built {
    In,
    Module,
    Off,
}

/// A module of the running kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// Loaded, or built in.
    Here,
    Loadable,
    /// Nowhere below /lib/modules.
    Missing,
}

impl Options {
    /// `None` where the kernel does not say and the distribution has not put it anywhere.
    pub fn read() -> Option<Self> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let places = [
            "/proc/config.gz".to_owned(),
            format!("/boot/config-{release}"),
            format!("/lib/modules/{release}/config"),
            format!("/usr/lib/modules/{release}/config"),
        ];
        places.iter().find_map(|place| Some(Self { text: read(Path::new(place)).ok()?, file: place.into() }))
    }

    /// `name`: `CONFIG_USER_NS`.
    pub fn of(&self, name: &str) -> Built {
        let value = self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        match value {
            Some("y") => Built::In,
            Some("m") => Built::Module,
            _ => Built::Off,
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let file = std::fs::File::open(path)?;
    let mut text = String::new();
    if path.extension().is_some_and(|ending| ending == "gz") {
        flate2::read::GzDecoder::new(file).take(LARGEST).read_to_string(&mut text)?;
    } else {
        file.take(LARGEST).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// `name` as in /sys/module.
pub fn module(name: &str) -> Module {
    if Path::new("/sys/module").join(name).is_dir() {
        Module::Here
    } else if super::filesystem::module_is_installed(name) {
        Module::Loadable
    } else {
        Module::Missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_by_its_whole_name() {
        let text =
            "CONFIG_NET_NS=y\n# CONFIG_USER_NS is not set\nCONFIG_FUSE_FS=m\nCONFIG_FUSE_FS_X=y\nCONFIG_HZ=250\n";
        let options = Options { text: text.into(), file: "/boot/config".into() };
        for (name, built) in
            [("NET_NS", Built::In), ("USER_NS", Built::Off), ("FUSE_FS", Built::Module), ("FUSE", Built::Off)]
        {
            assert_eq!(options.of(&format!("CONFIG_{name}")), built, "{name}");
        }
    }

    #[test]
    fn a_module_that_there_is_not_is_missing() {
        assert_eq!(module("no_such_module"), Module::Missing);
    }
}
