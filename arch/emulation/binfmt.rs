//! binfmt_misc: which interpreters the kernel starts other machines' programs with
//! (Documentation/admin-guide/binfmt-misc.rst).
//!
//! A registration lasts as long as the file system is mounted somewhere. Since Linux 6.7 each user namespace can have
//! registrations of its own; a namespace without uses those of the one around it.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::MountFlags;

use super::machine::Machine;
use crate::host::Kernel;
use crate::pretend;

const PLACE: &str = "/proc/sys/fs/binfmt_misc";
/// BINFMTFS_MAGIC of linux/magic.h.
const MAGIC: u64 = 0x4249_4e4d;
/// P: the interpreter is given the program's `argv[0]`, by which busybox knows what it is to be. The kernel tells it so
/// since 5.12, QEMU listens since 6.0; a QEMU that does not would take the name for an argument.
const FLAGS_WITH_NAME: &str = "PCF";
const KERNEL_WITH_NAME: (u32, u32) = (5, 12);
const QEMU_WITH_NAME: u32 = 6;
/// C: a set-user-ID program is one under its interpreter too. F: the interpreter is opened now, and so needs not be in
/// the roots that its programs are in.
const FLAGS: &str = "CF";
/// Before Linux 4.8, which refuses a line with F: whoever makes a container brings the interpreter into its root.
const FLAGS_OF_OLD: &str = "C";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub name: String,
    pub interpreter: PathBuf,
    /// Whether the interpreter was opened when it was registered (flag F). Otherwise it is looked for in the root of
    /// whoever starts the program.
    pub fixed: bool,
    enabled: bool,
    offset: usize,
    /// Empty for a registration by the names' ends.
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Registration {
    fn parse(name: String, text: &[u8]) -> Self {
        let mut registration = Self {
            name,
            interpreter: PathBuf::new(),
            fixed: false,
            enabled: false,
            offset: 0,
            magic: Vec::new(),
            mask: Vec::new(),
        };
        for line in text.split(|&byte| byte == b'\n') {
            let (key, value) = match line.iter().position(|&byte| byte == b' ') {
                Some(end) => (&line[..end], &line[end + 1..]),
                None => (line, &[][..]),
            };
            match key {
                b"enabled" => registration.enabled = true,
                b"interpreter" => registration.interpreter = OsString::from_vec(value.to_vec()).into(),
                b"flags:" => registration.fixed = value.contains(&b'F'),
                b"offset" => {
                    registration.offset = String::from_utf8_lossy(value).parse().unwrap_or(usize::MAX);
                }
                b"magic" => registration.magic = from_hex(value),
                b"mask" => registration.mask = from_hex(value),
                _ => {}
            }
        }
        registration
    }

    /// Whether the kernel takes it for a program of the machine.
    fn is_for(&self, machine: &Machine) -> bool {
        let header = machine.header();
        let byte = |at: usize| header.get(self.offset.saturating_add(at)).copied().unwrap_or(0);
        let bits = |at: usize| self.mask.get(at).copied().unwrap_or(0xff);
        // One that says nothing about the machine (a test's, a catch-all) is not one for it.
        self.enabled
            && self.offset < header.len()
            && self.offset + self.magic.len() >= header.len()
            && self.magic.iter().enumerate().all(|(at, &magic)| byte(at) & bits(at) == magic & bits(at))
    }
}

fn from_hex(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map_or(0, |value| value as u8);
    text.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// Whether there are registrations to see.
pub fn is_mounted() -> bool {
    // The type's width differs among architectures.
    !pretend::without("binfmt-misc") && rustix::fs::statfs(PLACE).is_ok_and(|found| found.f_type as u64 == MAGIC)
}

fn is_switched_on() -> bool {
    fs::read_to_string(Path::new(PLACE).join("status")).is_ok_and(|text| text.trim() == "enabled")
}

/// Whether this process may make registrations.
pub fn is_open() -> bool {
    is_mounted() && rustix::fs::access(&*Path::new(PLACE).join("register"), rustix::fs::Access::WRITE_OK).is_ok()
}

/// The one that the kernel starts the machine's programs with; of several, one that works in every root.
pub fn registration(machine: &Machine) -> Option<Registration> {
    if !is_mounted() || !is_switched_on() {
        return None;
    }
    let entries = fs::read_dir(PLACE).ok()?.flatten();
    let fitting = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok().filter(|name| name != "register" && name != "status")?;
        let text = fs::read(entry.path()).ok()?;
        Some(Registration::parse(name, &text)).filter(|registration| registration.is_for(machine))
    });
    fitting.max_by_key(|registration| registration.fixed)
}

/// Mounts the file system at its place, where it stays: unmounted, it forgets. In a user namespace that is one of its own
/// (Linux 6.7).
pub fn mount() -> io::Result<()> {
    if pretend::without("binfmt-misc") {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("binfmt_misc", PLACE, "binfmt_misc", flags, None)?)
}

/// Registers the interpreter under `name`, in place of another of that name.
pub fn register(name: &str, machine: &Machine, interpreter: &Path) -> io::Result<()> {
    if interpreter.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b':' | b'\n')) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its path holds a colon or a line's end"));
    }
    unregister(name)?;
    let kernel = Kernel::parse(&rustix::system::uname().release().to_string_lossy());
    let named = kernel.version >= KERNEL_WITH_NAME && major_version(interpreter) >= Some(QEMU_WITH_NAME);
    let write = |flags| write("register", &line(name, machine, interpreter, flags));
    match write(if named { FLAGS_WITH_NAME } else { FLAGS }) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => write(FLAGS_OF_OLD),
        written => written,
    }
}

/// Whether there is a registration of that name, in force or not.
pub fn is_registered(name: &str) -> bool {
    is_mounted() && Path::new(PLACE).join(name).exists()
}

/// Nothing can be created or truncated there.
fn write(file: &str, text: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open(Path::new(PLACE).join(file))?.write_all(text)
}

/// `qemu-aarch64 version 7.2.11 (Debian ...)`.
fn major_version(interpreter: &Path) -> Option<u32> {
    let output = Command::new(interpreter).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split(" version ").nth(1)?;
    version.split('.').next()?.parse().ok()
}

fn line(name: &str, machine: &Machine, interpreter: &Path, flags: &str) -> Vec<u8> {
    let escaped = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "\\x{byte:02x}");
            text
        })
    };
    let mut line = format!(":{name}:M::{}:{}:", escaped(&machine.header()), escaped(&machine.mask())).into_bytes();
    line.extend_from_slice(interpreter.as_os_str().as_bytes());
    line.extend_from_slice(format!(":{flags}").as_bytes());
    line
}

/// Programs that run already are not touched. Whether there was one.
pub fn unregister(name: &str) -> io::Result<bool> {
    match write(name, b"-1") {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QEMU: &[u8] = b"enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    fn of(name: &str) -> &'static Machine {
        Machine::find(name).unwrap()
    }

    #[test]
    fn what_the_kernel_shows_of_a_registration_is_understood() {
        let found = Registration::parse("qemu-aarch64".to_owned(), QEMU);
        assert_eq!(found.interpreter, Path::new("/usr/bin/qemu-aarch64-static"));
        assert!(found.fixed && found.is_for(of("arm64")));
        assert!(!found.is_for(of("arm")) && !found.is_for(of("riscv64")));
        let text = String::from_utf8_lossy(QEMU).replace("enabled", "disabled").replace("OCF", "OC");
        let disabled = Registration::parse("q".to_owned(), text.as_bytes());
        assert!(!disabled.fixed && !disabled.is_for(of("arm64")));
    }

    #[test]
    fn registrations_for_other_things_are_for_no_machine() {
        for text in [
            "enabled\ninterpreter /usr/bin/java\nflags: \nextension .jar\n",
            "enabled\ninterpreter /usr/bin/cli\nflags: \noffset 0\nmagic 4d5a\n",
            "enabled\ninterpreter /all\nflags: F\noffset 0\nmagic 7f454c46\n",
            "enabled\ninterpreter /far\nflags: F\noffset 99999999999999999999999\nmagic 00\n",
            "",
        ] {
            let registration = Registration::parse("x".to_owned(), text.as_bytes());
            assert!(super::super::MACHINES.iter().all(|machine| !registration.is_for(machine)), "{text}");
        }
    }

    #[test]
    fn a_line_is_what_the_kernel_takes() {
        let line = line("berth-arm", of("arm"), Path::new("/usr/bin/qemu-arm"), FLAGS);
        let text = String::from_utf8(line).unwrap();
        assert!(text.starts_with(r":berth-arm:M::\x7f\x45\x4c\x46\x01"), "{text}");
        assert!(text.ends_with(r"\xff\xff:/usr/bin/qemu-arm:CF"), "{text}");
        assert!(text.len() < 1920);
        let error = register("x", of("arm"), Path::new("/a:b")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
