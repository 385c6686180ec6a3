//! Overlay with more layers than one page of options can name: fsopen, one `lowerdir+` a layer (6.8), fsmount.

use std::ffi::{CStr, CString};
use std::io;

use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags};

/// FSCONFIG_SET_STRING takes at most 255 bytes (fs/fsopen.c).
const VALUE_MAX: usize = 255;

#[derive(Debug)]
pub(super) struct Long {
    /// Key, and value where there is one.
    settings: Vec<(CString, Option<CString>)>,
    attributes: MountAttrFlags,
}

impl Long {
    /// E2BIG if a single value is too long even for this way.
    pub(super) fn new(words: &[String], flags: MountFlags) -> io::Result<Self> {
        let mut settings = Vec::new();
        for word in words {
            match word.split_once('=') {
                Some(("lowerdir", layers)) => {
                    for layer in layers_of(layers) {
                        settings.push((c"lowerdir+".to_owned(), Some(value(&layer)?)));
                    }
                }
                Some((key, text)) => settings.push((CString::new(key)?, Some(value(&unescape(text))?))),
                None => settings.push((CString::new(word.as_str())?, None)),
            }
        }
        let of_the_file_system = [
            (MountFlags::RDONLY, c"ro"),
            (MountFlags::SYNCHRONOUS, c"sync"),
            (MountFlags::DIRSYNC, c"dirsync"),
            (MountFlags::LAZYTIME, c"lazytime"),
        ];
        let set = of_the_file_system.iter().filter(|(flag, _)| flags.contains(*flag));
        settings.extend(set.map(|(_, key)| ((*key).to_owned(), None)));
        Ok(Self { settings, attributes: attributes(flags) })
    }

    /// System calls only. E2BIG where the kernel lacks the calls or `lowerdir+`.
    pub(super) fn perform(&self, source: &CStr, target: &CStr) -> Result<(), Errno> {
        let context = match rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
            Err(Errno::NOSYS | Errno::PERM) => return Err(Errno::TOOBIG),
            context => context?,
        };
        rustix::mount::fsconfig_set_string(&context, c"source", source)?;
        for (key, value) in &self.settings {
            match value {
                Some(value) => match rustix::mount::fsconfig_set_string(&context, key.as_c_str(), value.as_c_str()) {
                    Err(Errno::INVAL) if key.as_c_str() == c"lowerdir+" => return Err(Errno::TOOBIG),
                    answer => answer?,
                },
                None => rustix::mount::fsconfig_set_flag(&context, key.as_c_str())?,
            }
        }
        rustix::mount::fsconfig_create(&context)?;
        let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, self.attributes)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&mount, c"", rustix::fs::CWD, target, flags)
    }
}

fn value(text: &str) -> io::Result<CString> {
    if text.len() > VALUE_MAX {
        return Err(Errno::TOOBIG.into());
    }
    Ok(CString::new(text)?)
}

/// Splits at colons that are not escaped, and takes the escapes off: `lowerdir+` has none.
fn layers_of(list: &str) -> Vec<String> {
    let mut layers = vec![String::new()];
    let mut characters = list.chars();
    while let Some(c) = characters.next() {
        match c {
            ':' => layers.push(String::new()),
            '\\' => layers.last_mut().into_iter().for_each(|layer| layer.extend(characters.next())),
            _ => layers.last_mut().into_iter().for_each(|layer| layer.push(c)),
        }
    }
    layers
}

fn unescape(text: &str) -> String {
    text.replace("\\,", ",")
}

fn attributes(flags: MountFlags) -> MountAttrFlags {
    let pairs = [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (MountFlags::STRICTATIME, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
        (MountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        (MountFlags::NOSYMFOLLOW, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
    ];
    let set = pairs.iter().filter(|(flag, _)| flags.contains(*flag));
    set.fold(MountAttrFlags::empty(), |sum, (_, attribute)| sum | *attribute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_split_and_lose_their_escapes() {
        assert_eq!(layers_of(r"a:b\:c:d\\"), ["a", "b:c", r"d\"]);
    }

    #[test]
    fn a_value_too_long_for_one_setting_is_refused() {
        let word = format!("upperdir={}", "x".repeat(256));
        let error = Long::new(&[word], MountFlags::empty()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
    }
}
