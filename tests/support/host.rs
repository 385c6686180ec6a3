//! What is on the host: what belongs to one state root, and whole counts before and after.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a state root and its containers leave on a host. Found by the root's path and the containers' IDs.
pub(crate) struct Traces {
    root: String,
    ids: BTreeSet<String>,
}

impl Traces {
    pub(crate) fn of(root: &Path) -> Self {
        let mut traces = Self { root: root.display().to_string(), ids: BTreeSet::new() };
        for folder in ["containers", "run/containers"] {
            traces.know(names(&root.join(folder)));
        }
        traces.know(events(root));
        traces
    }

    pub(crate) fn know(&mut self, ids: impl IntoIterator<Item = String>) {
        self.ids.extend(ids.into_iter().filter(|id| is_id(id)));
    }

    /// Processes whose command line, environment, mounts or cgroup name the root or a container.
    pub(crate) fn processes(&self) -> Vec<i32> {
        processes().into_iter().filter(|pid| self.owns(*pid)).collect()
    }

    fn owns(&self, pid: i32) -> bool {
        if pid == std::process::id() as i32 {
            return false;
        }
        let file = |name: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let names_root = |text: &str| text.contains(&self.root);
        names_root(&file("cmdline"))
            || names_root(&file("environ"))
            || self.names_id(&file("cgroup"))
            || (!shares_our_mounts(pid) && names_root(&file("mountinfo")))
    }

    fn names_id(&self, text: &str) -> bool {
        text.split(['/', '\n', ':']).any(|word| self.ids.contains(word))
    }

    fn mounts(&self) -> Vec<String> {
        mounts().into_iter().filter(|line| line.contains(&self.root)).collect()
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        let named = |path: &PathBuf| path.file_name().is_some_and(|name| self.ids.contains(&*name.to_string_lossy()));
        cgroups().into_iter().filter(named).collect()
    }

    /// What is still there after up to `patience`, one line each.
    pub(crate) fn left(&self, patience: Duration) -> Vec<String> {
        let end = Instant::now() + patience;
        loop {
            let left = self.look();
            if left.is_empty() || Instant::now() > end {
                return left;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn look(&self) -> Vec<String> {
        let mut left: Vec<String> =
            self.processes().into_iter().map(|pid| format!("process {pid}: {}", describe(pid))).collect();
        left.extend(self.mounts().into_iter().map(|line| format!("mount {line}")));
        left.extend(self.cgroups().into_iter().map(|path| format!("cgroup {}", path.display())));
        let root = Path::new(&self.root);
        for folder in ["containers", "run/containers", "tmp"] {
            left.extend(names(&root.join(folder)).into_iter().map(|name| format!("{folder}/{name}")));
        }
        left
    }

    /// Ends and removes what [`Traces::left`] found; for after a test that failed.
    pub(crate) fn erase(&mut self) {
        for _ in 0..50 {
            let pids = self.processes();
            for pid in &pids {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            if pids.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        for line in self.mounts().into_iter().rev() {
            let point = line.split(' ').nth(4).unwrap_or_default().to_owned();
            let _ = nix::mount::umount2(Path::new(&point), nix::mount::MntFlags::MNT_DETACH);
        }
        for path in self.cgroups() {
            let _ = fs::remove_dir(path);
        }
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The IDs of all containers that events tell of.
fn events(root: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join("run/events.jsonl")).unwrap_or_default();
    text.split('"').filter(|word| is_id(word)).map(str::to_owned).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

pub(crate) fn processes() -> Vec<i32> {
    names(Path::new("/proc")).iter().filter_map(|name| name.parse().ok()).collect()
}

/// The monitor of the container, or of the only one of the state root: the process that has its folder as an argument.
#[track_caller]
pub(crate) fn monitor(root: &Path, id: Option<&str>) -> i32 {
    let folder = root.join("containers").join(id.unwrap_or_default()).display().to_string();
    let named = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.starts_with("berth-monitor\0") && line.contains(&folder)
    };
    processes().into_iter().find(named).expect("the container's monitor")
}

fn shares_our_mounts(pid: i32) -> bool {
    let space = |who: &str| fs::read_link(format!("/proc/{who}/ns/mnt")).ok();
    space(&pid.to_string()) == space("self")
}

fn describe(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    format!("{line} [{}]", stat.chars().take(60).collect::<String>())
}

pub(crate) fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Every cgroup directory of every hierarchy.
pub(crate) fn cgroups() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
                found.push(entry.path());
            }
        }
    }
    found
}

/// Whether the process exists and is not only waiting to be collected.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

pub(crate) fn descriptors(pid: i32) -> usize {
    names(Path::new(&format!("/proc/{pid}/fd"))).len()
}

/// The whole host, as far as containers change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    mounts: BTreeSet<String>,
    cgroups: BTreeSet<PathBuf>,
    links: BTreeSet<String>,
    loops: BTreeSet<String>,
    ipc: usize,
    /// Files below the root, without their sizes and times.
    files: BTreeSet<PathBuf>,
}

impl Snapshot {
    pub(crate) fn take(root: &Path) -> Self {
        let tables = ["shm", "sem", "msg"].map(|name| fs::read_to_string(format!("/proc/sysvipc/{name}")));
        Self {
            mounts: mounts().into_iter().collect(),
            cgroups: cgroups().into_iter().collect(),
            links: names(Path::new("/sys/class/net")).into_iter().collect(),
            loops: names(Path::new("/sys/block")).into_iter().collect(),
            ipc: tables.iter().flatten().map(|text| text.lines().count()).sum(),
            files: tree(root),
        }
    }

    /// What is there now and was not before.
    pub(crate) fn new_since(&self, before: &Self) -> Vec<String> {
        let mut new: Vec<String> = self.mounts.difference(&before.mounts).map(|line| format!("mount {line}")).collect();
        new.extend(self.cgroups.difference(&before.cgroups).map(|path| format!("cgroup {}", path.display())));
        new.extend(self.links.difference(&before.links).map(|name| format!("link {name}")));
        new.extend(self.loops.difference(&before.loops).map(|name| format!("block device {name}")));
        new.extend(self.files.difference(&before.files).map(|path| format!("file {}", path.display())));
        if self.ipc > before.ipc {
            new.push(format!("{} System V IPC objects", self.ipc - before.ipc));
        }
        new
    }
}

fn tree(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}
