//! Roots, specifications and containers for the tests.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use berth_backends::{
    AnyBackend, Bundle, ContainerId, Error, ExitStatus, Isolation, Registry, Sandbox, SavedSandbox, Stdio,
};
use oci_spec::runtime::{Process, Spec};
use serde_json::{Value, json};

pub(crate) use crate::raw::{inheritable, own_shared_mounts};

pub(crate) const BUSYBOX: &str = "/bin/busybox";
const TIMEOUT: Duration = Duration::from_secs(20);

/// What Docker gives a container by default.
const DOCKERS_CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Names the backend that is tried; `namespace` without.
pub(crate) const BACKEND: &str = "BERTH_TEST_BACKEND";

/// How a test ends that has nothing to try, for what it needs is not claimed.
pub(crate) const SKIPPED: u8 = 77;

/// The backend that is tried, with what it claims. It works here: the suite has asked before.
pub(crate) fn selected() -> (AnyBackend, Isolation) {
    let name = std::env::var(BACKEND).unwrap_or_else(|_| "namespace".to_owned());
    let found = Registry::default().select(&berth_arch::Host::detect(), Some(&name)).unwrap();
    (found.backend, found.isolation)
}

pub(crate) fn backend() -> AnyBackend {
    selected().0
}

/// Ends the test here, as skipped, unless the backend claims this.
pub(crate) fn needs(what: &str, claimed: impl FnOnce(&Isolation) -> bool) {
    let (backend, isolation) = selected();
    if !claimed(&isolation) {
        println!("the {} backend does not claim {what} here", backend.name());
        std::process::exit(SKIPPED.into());
    }
}

/// For what is berth's own and not of the trait.
pub(crate) fn needs_namespaces_of_our_own() {
    let name = backend().name().to_owned();
    if name != "namespace" {
        println!("it is the namespace backend's own, and this is {name}");
        std::process::exit(SKIPPED.into());
    }
}

/// What Docker gives, without what would lead out of a container of this backend.
fn default_capabilities() -> Vec<&'static str> {
    let undone = selected().1.undone_by();
    let harmless = |name: &&str| !undone.iter().any(|(one, _)| name.ends_with(&format!("CAP_{one}")));
    DOCKERS_CAPABILITIES.iter().copied().filter(harmless).collect()
}

/// A folder with a root of busybox and a place to mount it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("berth-conformance-").tempdir().unwrap();
        let place = Self { folder };
        for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "home"] {
            fs::create_dir_all(place.root().join(name)).unwrap();
        }
        fs::create_dir(place.mount_point()).unwrap();
        fs::copy(BUSYBOX, place.root().join("bin/busybox")).unwrap();
        for applet in [
            "sh", "cat", "echo", "id", "ls", "sleep", "true", "stat", "mount", "hostname", "env", "pwd", "ps", "grep",
            "tty", "stty", "readlink", "touch", "dd", "ln", "mkdir", "chroot", "umount", "test", "kill", "wc",
            "setsid",
        ] {
            symlink("busybox", place.root().join("bin").join(applet)).unwrap();
        }
        place
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub(crate) fn mount_point(&self) -> PathBuf {
        self.folder.path().join("mnt")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The processes that run a program of this place, whoever their parents are by now.
    pub(crate) fn processes(&self) -> Vec<i32> {
        use std::os::unix::fs::MetadataExt;
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        let programs = fs::read_dir(self.root().join("bin")).into_iter().flatten().flatten();
        let own: Vec<_> = programs.filter_map(|entry| Some(identity(fs::metadata(entry.path()).ok()?))).collect();
        let runs_one =
            |pid: &i32| fs::metadata(format!("/proc/{pid}/exe")).is_ok_and(|found| own.contains(&identity(found)));
        berth_arch::process::all().unwrap_or_default().into_iter().filter(runs_one).collect()
    }

    /// Puts this very program into the root, as `probe`.
    pub(crate) fn add_probe(&self) {
        fs::copy(std::env::current_exe().unwrap(), self.root().join("bin/probe")).unwrap();
    }
}

impl Drop for Place {
    /// What a failed test leaves running, or mounted where its folder is about to be removed.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for _ in 0..100 {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for process in left.into_iter().filter_map(|pid| berth_arch::process::Process::open(pid, None).ok()) {
                let _ = process.signal(libc::SIGKILL);
            }
        }
        let _ = berth_arch::mount::umount_detach(self.mount_point());
    }
}

/// A specification as Docker makes it, before it is changed by a test.
pub(crate) fn spec_value(place: &Place, args: &[&str]) -> Value {
    let mut value = whole_spec_value(place, args);
    // Nothing is asked for that the backend does not claim.
    let claims = selected().1;
    value["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| match one["type"].as_str().unwrap() {
        "mount" => claims.mount,
        "network" => claims.network,
        "uts" => claims.uts,
        "pid" => claims.pid,
        "ipc" => claims.ipc,
        _ => claims.cgroup_namespace,
    });
    if !claims.uts {
        value.as_object_mut().unwrap().remove("hostname");
    }
    value
}

fn whole_spec_value(place: &Place, args: &[&str]) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": place.root(), "readonly": false },
        "hostname": "berthed",
        "process": process_value(args),
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["ro", "nosuid", "noexec", "nodev"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"] }
        ],
        "linux": {
            "namespaces": [
                { "type": "mount" }, { "type": "network" }, { "type": "uts" }, { "type": "pid" }, { "type": "ipc" },
                { "type": "cgroup" }
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware", "/nowhere"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

pub(crate) fn process_value(args: &[&str]) -> Value {
    let capabilities = default_capabilities();
    json!({
        "terminal": false,
        "user": { "uid": 0, "gid": 0 },
        "args": args,
        "env": ["PATH=/usr/bin:/bin", "HOME=/home"],
        "cwd": "/",
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities
        },
        "noNewPrivileges": false
    })
}

pub(crate) fn spec(value: Value) -> Spec {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn process(value: Value) -> Process {
    serde_json::from_value(value).unwrap()
}

/// The other ends of a program's streams.
pub(crate) struct Ends {
    pub(crate) stdin: Option<File>,
    pub(crate) stdout: File,
    pub(crate) stderr: File,
}

pub(crate) fn pipes() -> (Stdio, Ends) {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let file = |fd: OwnedFd| File::from(fd);
    let ((stdin, write), (read, stdout), (read_error, stderr)) = (pipe(), pipe(), pipe());
    let ends = Ends { stdin: Some(file(write)), stdout: file(read), stderr: file(read_error) };
    (Stdio::Pipes { stdin, stdout, stderr }, ends)
}

impl Ends {
    /// What the program wrote until it closed its streams: output and errors.
    pub(crate) fn read(mut self) -> (String, String) {
        drop(self.stdin.take());
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        self.stdout.read_to_end(&mut output).unwrap();
        self.stderr.read_to_end(&mut errors).unwrap();
        (String::from_utf8_lossy(&output).into_owned(), String::from_utf8_lossy(&errors).into_owned())
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }
}

pub(crate) fn id() -> ContainerId {
    // Numbers of processes come round again while groups of that name may still be emptying.
    let (pid, start) = berth_arch::process::myself().unwrap();
    format!("conformance-{pid}-{start}").parse().unwrap()
}

pub(crate) fn bundle(place: &Place, value: Value) -> Bundle {
    Bundle {
        mount_point: place.mount_point(),
        rootfs: Vec::new(),
        lent: Default::default(),
        spec: spec(value),
        standalone: None,
    }
}

/// A container that has been created, with pipes.
pub(crate) fn create(place: &Place, value: Value) -> Result<(Box<dyn Sandbox>, Ends), Error> {
    let (io, ends) = pipes();
    Ok((backend().create(&id(), &bundle(place, value), io)?, ends))
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) output: String,
    pub(crate) errors: String,
    pub(crate) status: ExitStatus,
    pub(crate) warnings: Vec<String>,
}

/// Creates, starts, waits, deletes.
pub(crate) fn run(place: &Place, value: Value) -> Result<Outcome, Error> {
    let (mut sandbox, ends) = create(place, value)?;
    if let Err(error) = sandbox.start() {
        sandbox.delete().unwrap();
        return Err(error);
    }
    let (output, errors) = ends.read();
    let status = wait(sandbox.as_mut());
    let warnings = sandbox.warnings().to_vec();
    sandbox.delete().unwrap();
    Ok(Outcome { output, errors, status, warnings })
}

/// The output of a shell script in a container made of `value`.
pub(crate) fn script(place: &Place, mut value: Value, script: &str) -> Outcome {
    value["process"]["args"] = json!(["sh", "-c", script]);
    run(place, value).unwrap()
}

pub(crate) fn wait(sandbox: &mut dyn Sandbox) -> ExitStatus {
    until("the container ends", || sandbox.try_wait().unwrap())
}

/// Asks again until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < TIMEOUT, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What comes out of a terminal until the last program has closed it.
pub(crate) fn read_terminal(controlling: OwnedFd) -> String {
    let mut file = File::from(controlling);
    let mut output = Vec::new();
    // The end of a terminal is EIO.
    let _ = file.read_to_end(&mut output);
    String::from_utf8_lossy(&output).into_owned()
}

/// How many descriptors this process has.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Of init, or of the tool that has it as its own child.
pub(crate) fn assert_no_children_but(expected: &[i32]) {
    let own = std::process::id() as i32;
    let parent = |pid: &i32| berth_arch::process::Stat::read(*pid).map_or(*pid, |stat| stat.parent);
    let expected: Vec<i32> =
        expected.iter().map(|pid| Some(parent(pid)).filter(|parent| *parent != own).unwrap_or(*pid)).collect();
    assert_eq!(berth_arch::process::children(own).unwrap(), expected, "children");
}

pub(crate) fn create_in(bundle: &Bundle, io: Stdio) -> Result<Box<dyn Sandbox>, Error> {
    backend().create(&id(), bundle, io)
}

/// The same capabilities in the sets that Docker fills.
pub(crate) fn capabilities(names: &[&str]) -> Value {
    json!({ "bounding": names, "effective": names, "permitted": names })
}

/// Numbers that a container's users may have on this host: the first, and how many.
pub(crate) fn others() -> (u32, u32) {
    const FAR: (u32, u32) = (100_000, 65_536);
    // An ordinary user has fewer, behind the one that is his own.
    if berth_arch::Ids::here().has_user(FAR.0) { FAR } else { (1000, 60_000) }
}

/// Gives everything below `folder` to a user.
pub(crate) fn chown(folder: &Path, user: u32) {
    std::os::unix::fs::lchown(folder, Some(user), Some(user)).unwrap();
    if folder.is_dir() && !folder.is_symlink() {
        fs::read_dir(folder).unwrap().for_each(|entry| chown(&entry.unwrap().path(), user));
    }
}

/// Only root can go through.
pub(crate) fn make_private(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
}

/// What a creator that has been killed had saved of its container.
pub(crate) fn container_of_a_killed_creator(place: &Place, started: bool) -> SavedSandbox {
    killed_creator(place, spec_value(place, &["sleep", "60"]), started, || true)
}

/// As [`container_of_a_killed_creator`], of a container that has been started; the creator is killed once `ready`.
pub(crate) fn value_of_a_killed_creator(place: &Place, value: Value, ready: impl Fn() -> bool) -> SavedSandbox {
    killed_creator(place, value, true, ready)
}

fn killed_creator(place: &Place, value: Value, started: bool, ready: impl Fn() -> bool) -> SavedSandbox {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let creator = crate::raw::fork(|| {
        let (mut sandbox, _ends) = create(place, value.clone()).unwrap();
        if started {
            sandbox.start().unwrap();
        }
        rustix::io::write(&write, &serde_json::to_vec(&sandbox.saved()).unwrap()).unwrap();
        loop {
            std::thread::park();
        }
    });
    // A creator that fails is heard of by the end.
    drop(write);
    let mut text = [0; 4096];
    let length = rustix::io::read(&read, &mut text).unwrap();
    assert!(length > 0, "the creator has failed");
    until("the container is ready", || ready().then_some(()));
    let process = berth_arch::process::Process::open(creator, None).unwrap();
    process.signal(libc::SIGKILL).unwrap();
    berth_arch::process::wait(creator).unwrap();
    serde_json::from_slice(&text[..length]).unwrap()
}

/// Whether this process sees a mount there.
pub(crate) fn is_mounted(place: &Path) -> bool {
    berth_arch::mount::mounts().unwrap().iter().any(|mount| mount.mount_point == place)
}

/// The next line of a program's output.
pub(crate) fn line(ends: &mut Ends) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while ends.stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// The control groups of this test's containers.
pub(crate) fn cgroups() -> Vec<PathBuf> {
    fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.ends_with(id().as_str()) {
                found.push(path);
            } else if depth > 0 && path.is_dir() && !path.is_symlink() {
                search(&path, depth - 1, found);
            }
        }
    }
    let mut found = Vec::new();
    search(Path::new("/sys/fs/cgroup"), 2, &mut found);
    found
}
