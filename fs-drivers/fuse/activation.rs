//! From a mount as the driver says it to one that the kernel can make: a device, and who answers at its other end.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use berth_arch::mount::Mount;
use rustix::fs::{Mode, OFlags};

use super::options::{Options, TYPE};
use super::{server, thread};
use crate::error::At;
use crate::{Error, Result};

/// A union that is about to be mounted.
#[derive(Debug)]
pub struct Activation {
    /// What is to be mounted, in this process or one that was cloned from it, as long as this value is there.
    pub mount: Mount,
    device: OwnedFd,
    base: PathBuf,
    words: Vec<String>,
}

/// A server that waits for its mount. Dropped, it either has it or ends.
#[derive(Debug)]
pub struct Starting {
    /// The one that the mount's options name.
    device: OwnedFd,
    line: Line,
}

#[derive(Debug)]
enum Line {
    Thread { _mounted: Sender<()> },
    Process { _report: UnixStream },
}

impl Activation {
    /// `None` for mounts that need nothing of the kind.
    pub fn of(mount: &Mount) -> Result<Option<Self>> {
        if mount.fstype != TYPE {
            return Ok(None);
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let device = rustix::fs::open("/dev/fuse", flags, Mode::empty()).at("open", "/dev/fuse")?;
        let (words, mut options): (Vec<_>, Vec<_>) =
            mount.options.iter().cloned().partition(|word| Options::is_word_of_ours(word));
        options.push(format!("fd={}", device.as_raw_fd()));
        options.extend(
            ["rootmode=40000", "user_id=0", "group_id=0", "default_permissions", "allow_other"].map(String::from),
        );
        let base = mount.base.clone().unwrap_or_else(|| "/".into());
        Ok(Some(Self { mount: Mount { options, base: None, ..mount.clone() }, device, base, words }))
    }

    /// Serves with threads of this process, once it is mounted: [`Starting::mounted`]. They have descriptors of their own: if the
    /// process is killed, the kernel sees the server's end although another thread still waits for its answer.
    pub fn in_threads(self) -> Result<(Mount, Starting)> {
        let Self { mount, device, base, words } = self;
        let (sender, receiver) = channel::<()>();
        let (report, opened) = channel::<io::Result<()>>();
        let lent = Arc::new(rustix::io::fcntl_dupfd_cloexec(&device, 3).at("open", "/dev/fuse")?);
        let (theirs, folder) = (lent.clone(), base.clone());
        let open = move || {
            let device = thread::own_descriptors(&theirs)?;
            // This process's copy is closed by who lent it, as this thread has another.
            drop(theirs);
            Ok((server::open(&folder, words.iter().map(String::as_str))?, device))
        };
        std::thread::Builder::new()
            .name("fuse".to_owned())
            .spawn(move || match open() {
                Ok((served, device)) => {
                    let _ = report.send(Ok(()));
                    // Gone without a word: it is mounted or will never be.
                    let _ = receiver.recv();
                    if server::is_mounted(&device) {
                        let _ = server::serve(served, device);
                    }
                }
                Err(error) => drop(report.send(Err(error))),
            })
            .map_err(|error| Error::Unavailable(format!("start a thread for a file system: {error}")))?;
        let opened = opened.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that serves has ended")));
        opened.at("open the layers in", &base)?;
        drop(lent);
        Ok((mount, Starting { device, line: Line::Thread { _mounted: sender } }))
    }

    /// Serves with a process of its own, which is `program` in the role [`server::ROLE`]. Returns when it is ready. It is to be
    /// waited for by whoever reaps this process's children.
    pub fn in_process(self, program: &Path) -> Result<(Mount, Starting, Child)> {
        let failed = |error: io::Error| Error::Unavailable(format!("start the server of a file system: {error}"));
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let device = rustix::io::fcntl_dupfd_cloexec(&self.device, 3).at("open", "/dev/fuse")?;
        let child = Command::new(program)
            .arg0(server::ROLE)
            .arg(&self.base)
            .args(&self.words)
            .stdin(Stdio::from(device))
            .stdout(OwnedFd::from(theirs))
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let mut answer = Vec::new();
        loop {
            let mut byte = [0];
            match (&ours).read(&mut byte).map_err(failed)? {
                0 => break,
                _ if byte[0] == server::READY => {
                    let Self { mount, device, .. } = self;
                    let starting = Starting { device, line: Line::Process { _report: ours } };
                    return Ok((mount, starting, child));
                }
                _ => answer.push(byte[0]),
            }
        }
        Err(failed(io::Error::other(String::from_utf8_lossy(&answer).into_owned())))
    }
}

impl Starting {
    /// The mount has been made, or has failed.
    pub fn mounted(self) {}

    /// The device is for somebody else, who makes the mount and closes it then.
    pub fn lend(self) -> (OwnedFd, Waiting) {
        (self.device, Waiting(self.line))
    }
}

/// What is left of a [`Starting`] whose device was lent: to be dropped when the mount has been made, or has failed.
#[derive(Debug)]
pub struct Waiting(#[expect(dead_code, reason = "the server sees its end")] Line);
