//! LXC's programs, and what they write.

use std::path::{Path, PathBuf};
use std::process::Command;

use berth_arch::{Probe, answers};

use super::config::Version;
use crate::ExitStatus;

/// LXC as it is installed.
#[derive(Debug, Clone)]
pub(super) struct Tools {
    pub(super) version: Version,
    pub(super) start: PathBuf,
    pub(super) attach: PathBuf,
}

impl Tools {
    /// On the PATH; the version is asked for, because the configuration depends on it.
    pub(super) fn find() -> Probe<Self> {
        let find = |name: &str| {
            berth_arch::program::find(name).ok_or_else(|| {
                Probe::unavailable(format!("{name} is not on the PATH"), "install LXC's tools (Debian: lxc)")
            })
        };
        let (start, attach) = match (find("lxc-start"), find("lxc-attach")) {
            (Ok(start), Ok(attach)) => (start, attach),
            (Err(missing), _) | (_, Err(missing)) => return missing,
        };
        let said = answers::remembered("lxc", &answers::identity(&start), || version(&start));
        said.map(|said| Self { version: Version::parse(&said).unwrap_or(OLDEST), start, attach })
    }
}

const OLDEST: Version = Version(1, 0);

/// What the program says, if it is one that can be used.
fn version(start: &Path) -> Probe<String> {
    let said = Command::new(start).arg("--version").stdin(std::process::Stdio::null()).output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match said {
        Ok(said) if Version::parse(&said).is_some_and(|version| version >= OLDEST) => Probe::available(said),
        Ok(said) => Probe::unavailable(format!("{} --version says {said:?}", start.display()), "use LXC 1.0 or newer"),
        Err(error) => Probe::unavailable(format!("{}: {error}", start.display()), "install LXC's tools again"),
    }
}

/// What `lxc-start` writes to its log at the level INFO.
pub(super) struct Log(Vec<u8>);

impl Log {
    pub(super) fn read(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap_or_default())
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        self.0.split(|&byte| byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned())
    }

    /// The first error, without what says where in LXC it is. That it has to do without pidfds is none.
    pub(super) fn reason(&self) -> Option<String> {
        let is_error = |line: &String| line.contains(" ERROR ") && !line.contains(":lxc_can_use_pidfd:");
        let line = self.lines().find(is_error)?;
        let message = line.splitn(3, " - ").last()?;
        Some(message.trim().to_owned())
    }

    /// How the process ended, which LXC says nowhere else exactly: its own exit code is that of a signal in some versions,
    /// 0 in others. Nothing is said of exit code 0.
    pub(super) fn end_of(&self, pid: i32) -> Option<ExitStatus> {
        // "Child <12> ended on error (7)", "child <12> ended on signal (9)", "Child <12> ended on signal Killed(9)".
        let begin = format!("hild <{pid}> ended on ");
        self.lines().filter_map(|line| ended(line.split_once(&begin)?.1)).last()
    }
}

fn ended(text: &str) -> Option<ExitStatus> {
    let number = text.rsplit_once('(')?.1.split_once(')')?.0.parse().ok()?;
    match text.split([' ', '(']).next()? {
        "error" => Some(ExitStatus { code: number, signal: None }),
        "signal" => Some(ExitStatus { code: 128 + number, signal: Some(number) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"lxc-start c1 20261126184115.704 WARN     start - ../src/lxc/start.c:check:329 - Inherited fd 10\n\
        lxc-start c1 20261126184115.729 ERROR    utils - ../src/lxc/utils.c:lxc_can_use_pidfd:18 - No such call - No pidfd\n\
        lxc-start c1 20261126184115.731 ERROR    conf - ../src/lxc/conf.c:lxc_setup:38 - No such - file\n\
        lxc-start c1 20261126184115.756 ERROR    start - ../src/lxc/start.c:spawn:9 - Failed to spawn\n\
        lxc-start c1 20261126184115.756 INFO     error - ../src/lxc/error.c:lxc_error_set_and_log:31 - Child <25> ended on error (7)\n\
        lxc-start 1448.1 INFO     lxc_error - error.c:lxc_error_set_and_log:55 - child <26> ended on signal (9)\n\
        lxc-start 1448.1 INFO     lxc_error - error.c:lxc_error_set_and_log:55 - Child <27> ended on signal Hangup(1)\n";

    #[test]
    fn the_first_error_is_the_reason() {
        assert_eq!(Log(LOG.to_vec()).reason().as_deref(), Some("No such - file"));
        assert_eq!(Log(Vec::new()).reason(), None);
    }

    #[test]
    fn the_end_of_a_process_is_read_as_every_version_writes_it() {
        let log = Log(LOG.to_vec());
        assert_eq!(log.end_of(25), Some(ExitStatus { code: 7, signal: None }));
        assert_eq!(log.end_of(26), Some(ExitStatus { code: 137, signal: Some(9) }));
        assert_eq!(log.end_of(27), Some(ExitStatus { code: 129, signal: Some(1) }));
        assert_eq!(log.end_of(2), None);
    }
}
