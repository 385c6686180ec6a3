//! Containers whose namespaces and control groups another program makes, as LXC does.
//!
//! A clone with a mount namespace of its own assembles the root on a porch, a small file system whose every name is ours, and
//! becomes that program. The program's container starts on the porch, with a process of ours as its first: that mounts what
//! belongs to its namespaces, exchanges the porch for the root and becomes the user's program. So plan, steps and words are those of
//! this backend's own containers, and the other program never touches a name that an image chose.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use berth_arch::process::Process;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::actions::{self, Action, c_string};
use super::become_program::{clean_slate, oom_score};
use super::exec::second;
use super::explain::{explain, explain_process};
use super::namespaces::Namespaces;
use super::plan::{Owners, Plan, forbid_nodes, refuse_host_settings, refuse_unsupported};
use super::process::{ProcessPlan, Streams, c_strings, setup};
use super::report::{At, Channel, Done, Failure, Packet, Step, above_stdio};
use super::resolve::{FdPath, file_system};
use super::rootfs::{self, PROC_MAGIC, Side};
use super::sandbox::{Heard, until_exec, until_ready};
use super::sys::{self, Strings};
use super::{clone, init};
use crate::cgroup::Cgroup;
use crate::children::Child;
use crate::{Bundle, Error, ExecChild, Result, Stdio};

/// The porch's folder for what is bound inside.
const HELD: &str = "held";

/// The program that makes the namespaces, as it is executed.
pub(crate) struct Tool {
    pub(crate) path: PathBuf,
    /// From `argv[0]` on.
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<String>,
    pub(crate) streams: [OwnedFd; 3],
}

/// A container that is being made.
pub(crate) struct Foreign {
    plan: Plan,
    spec: Spec,
    /// What the first process is told: every name is one of the porch's.
    inside: Spec,
    porch: Porch,
}

/// What a container's creator hears before its program runs.
pub(crate) struct Waiting {
    channel: Channel,
    plan: Plan,
    spec: Spec,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) warnings: Vec<String>,
}

impl Foreign {
    /// `reached`: folders that the container's root user has to reach by their names.
    pub(crate) fn new(bundle: &Bundle, io: Stdio, reached: &[&Path]) -> Result<Self> {
        let spec = &bundle.spec;
        refuse_unsupported(spec, false)?;
        refuse_agents(spec, "the lxc backend", "use the namespace backend (--isolation namespace)")?;
        let namespaces = Namespaces::new(spec, true, &mut Vec::new())?;
        refuse_host_settings(spec, |kind| namespaces.has(kind))?;
        let plan = Plan::foreign(bundle, &Cgroup::load(&[]), namespaces, io)?;
        let mut inside = spec.clone();
        let porch = Porch::new(&bundle.mount_point, &plan, &mut inside, reached)?;
        Ok(Self { plan, spec: spec.clone(), inside, porch })
    }

    /// Starts `tool` on the porch, in a mount namespace of its own. It ends with this process.
    pub(crate) fn spawn(&mut self, tool: Tool) -> Result<Process> {
        let name = tool.path.display().to_string();
        let path = c_string(&tool.path)?;
        let arguments = Strings::new(c_strings(tool.arguments, "argument")?);
        let environment = Strings::new(c_strings(tool.environment, "environment variable")?);
        let streams = tool.streams.map(above_stdio);
        let [Ok(stdin), Ok(stdout), Ok(stderr)] = &streams else {
            return Err(setup(format!("duplicate the streams of {name}"))(Errno::MFILE));
        };
        let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let (ours, theirs) = Channel::pair().map_err(setup("make a socket pair"))?;
        let child = clone::spawn(libc::CLONE_NEWNS, None, |_| {
            ours.leave();
            theirs.fail(match self.enter_porch(&theirs, streams) {
                Ok(()) => Failure { step: Step::Exec, index: 0, errno: sys::execve(&path, &arguments, &environment) },
                Err(failure) => failure,
            });
        });
        let child = child.map_err(setup(format!("clone for {name}")))?;
        drop(theirs);
        self.plan.root.lent.clear();
        let began = until_exec(
            &ours,
            &mut Vec::new(),
            |failure| match failure.step {
                Step::Exec => setup(format!("execute {name}"))(failure.errno),
                _ => explain(&self.plan, &self.spec, failure),
            },
            |_| Ok(()),
        );
        match began.and_then(|()| Process::open(child, None).map_err(setup(format!("open the process of {name}")))) {
            Ok(process) => Ok(process),
            Err(error) => {
                clone::end(child);
                Err(error)
            }
        }
    }

    /// In the clone: system calls only.
    fn enter_porch(&self, channel: &Channel, streams: [BorrowedFd<'_>; 3]) -> Done {
        clean_slate(true)?;
        sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as _, 0).at(Step::Porch)?;
        if channel.is_abandoned() {
            sys::exit(1);
        }
        rootfs::propagation(&self.plan.root)?;
        let root = rootfs::mount_root(&self.plan.root)?;
        rootfs::perform(&self.plan.root, root.as_fd(), Side::Outside, channel)?;
        // What was made as somebody else (FsOwner) took the signal away for moments.
        if channel.is_abandoned() {
            sys::exit(1);
        }
        self.porch.make().at(Step::Porch)?;
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
        for (number, stream) in (0..).zip(streams) {
            sys::install(stream, number).at(Step::Streams)?;
        }
        rustix::process::chdir(c"/").at(Step::Porch)
    }

    /// The specification for [`become_first`].
    pub(crate) fn inside(&self) -> &Spec {
        &self.inside
    }

    /// The descriptors of the program's streams; none for a terminal.
    pub(crate) fn streams(&self) -> Vec<BorrowedFd<'_>> {
        borrowed(&self.plan.process)
    }

    /// Once the first process has its task, with the other end of `channel`: waits until all but the program is there.
    pub(crate) fn until_ready(mut self, channel: Line, pid: i32, cgroup: &Cgroup) -> Result<Waiting> {
        self.plan.let_go();
        self.plan.root.actions = actions::plan_of_foreign(&self.spec, cgroup)?;
        let mut warnings = Vec::new();
        forbid_nodes(&mut self.plan.process, &self.spec, cgroup.devices_enforced(), &mut warnings);
        let mut heard = Heard { child: Some(pid), ..Heard::default() };
        let told = |failure| explain(&self.plan, &self.spec, failure);
        until_ready(&channel.0, &mut heard, told, |_| Ok(()))?;
        warnings.append(&mut heard.warnings);
        Ok(Waiting { channel: channel.0, plan: self.plan, spec: self.spec, terminal: heard.terminal, warnings })
    }
}

impl Waiting {
    /// Lets the program run.
    pub(crate) fn start(&self, warnings: &mut Vec<String>) -> Result<()> {
        // One that is gone says why in what it sent before.
        let _ = self.channel.go();
        // Agents have been refused.
        until_exec(&self.channel, warnings, |failure| explain(&self.plan, &self.spec, failure), |_| Ok(()))
    }
}

/// The creator's end of what it hears from a process inside.
pub(crate) struct Line(Channel);

impl Line {
    /// With the end for the process inside.
    pub(crate) fn pair() -> Result<(Self, impl AsFd)> {
        let (ours, theirs) = Channel::pair().map_err(setup("make a socket pair"))?;
        Ok((Self(ours), theirs))
    }
}

fn borrowed(plan: &ProcessPlan) -> Vec<BorrowedFd<'_>> {
    let streams = match &plan.streams {
        Streams::Pipes(streams) => streams.iter(),
        Streams::Terminal { .. } => [].iter(),
    };
    streams.chain(&plan.preserved).map(AsFd::as_fd).collect()
}

/// A further program, which another program is to bring into a container.
pub(crate) struct Further(ProcessPlan);

impl Further {
    pub(crate) fn new(
        process: &oci_spec::runtime::Process,
        spec: &Spec,
        io: Stdio,
        preserved: Vec<OwnedFd>,
    ) -> Result<Self> {
        let mut plan = ProcessPlan::new(process, spec, io)?;
        plan.preserve(preserved)?;
        Ok(Self(plan))
    }

    /// The program's streams, none for a terminal, and what is preserved for it.
    pub(crate) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        borrowed(&self.0)
    }

    /// Once the process inside has its task and is a child of this one: until the program runs.
    pub(crate) fn run(self, channel: &Line, pid: i32) -> Result<Box<dyn ExecChild>> {
        let process = Process::open(pid, None).map_err(setup("open the process"))?;
        match self.hear(&channel.0) {
            Ok(terminal) => Ok(Box::new(Child::new(process, terminal))),
            Err(error) => {
                clone::end(pid);
                Err(error)
            }
        }
    }

    /// Once the process inside has its task: its terminal, if it has one, when the program runs.
    pub(super) fn hear(mut self, channel: &Channel) -> Result<Option<OwnedFd>> {
        // As long as ours are open, a pipe does not end.
        self.0.streams = Streams::Terminal { size: None };
        self.0.preserved.clear();
        let _ = channel.go();
        let mut terminal = None;
        while let Some(packet) = channel.receive().map_err(setup("read what the container says"))? {
            match packet {
                Packet::Terminal(fd) => terminal = Some(fd),
                Packet::Failed(failure) => return Err(explain_process(&self.0, failure)),
                _ => {}
            }
        }
        Ok(terminal)
    }
}

/// Who makes the container is told too late which process it is that an agent would watch. `whose` has none.
pub(super) fn refuse_agents(spec: &Spec, whose: &str, remedy: &str) -> Result<()> {
    let policy = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    if policy.is_some_and(|policy| policy.listener_path().is_some()) {
        return Err(Error::Unavailable(format!(
            "--security-opt seccomp: {whose} has no agents that decide about system calls (listenerPath); {remedy}"
        )));
    }
    Ok(())
}

/// What a process inside could not make of what it was told, which the creator had made the same of.
fn misunderstood() -> Failure {
    Failure { step: Step::Porch, index: 0, errno: Errno::INVAL }
}

/// The container's first process, on the porch and in all its namespaces and groups. Returns if it has failed, which it has said then.
pub(crate) fn become_first(inside: Spec, cgroups: &[PathBuf], devices_enforced: bool, io: Stdio, channel: OwnedFd) {
    let channel = Channel::from_fd(channel);
    let cgroup = Cgroup::load(cgroups);
    let new = |kind| {
        let listed = inside.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        listed.is_some_and(|listed| listed.iter().any(|one| one.typ() == kind && one.path().is_none()))
    };
    let mapped = new(LinuxNamespaceType::User);
    let namespaces = Namespaces {
        // Whose loopback device is ours to start.
        new: if new(LinuxNamespaceType::Network) { libc::CLONE_NEWNET } else { 0 },
        ..Namespaces::default()
    };
    let bundle = Bundle {
        mount_point: "/".into(),
        rootfs: Vec::new(),
        lent: Default::default(),
        spec: inside,
        standalone: None,
    };
    let Ok(mut plan) = Plan::foreign(&bundle, &cgroup, namespaces, io) else { return channel.fail(misunderstood()) };
    forbid_nodes(&mut plan.process, &bundle.spec, devices_enforced, &mut Vec::new());
    let made = || {
        clean_slate(mapped)?;
        rustix::process::chdir(c"/").at(Step::Porch)?;
        // The other program may have made the porch a place from where mounts spread.
        rootfs::propagation(&plan.root)?;
        let root = rootfs::unlock_root(&plan.root)?;
        rootfs::perform(&plan.root, root.as_fd(), Side::Inside, &channel)?;
        oom_score(&plan.process, &channel);
        Ok(root)
    };
    init::finish(&plan, &channel, made());
}

/// Nobody's child for the moment: who brought this process into the container is about to go, and that is not to end it.
pub(crate) fn outlive_the_tool() {
    let _ = clean_slate(false);
    let _ = sys::prctl(libc::PR_SET_PDEATHSIG, 0, 0);
}

/// A further process, in the namespaces and groups of the container. Returns if it has failed, which it has said then.
pub(crate) fn become_further(
    process: &oci_spec::runtime::Process,
    spec: &Spec,
    devices_enforced: bool,
    io: Stdio,
    preserved: Vec<OwnedFd>,
    channel: OwnedFd,
) {
    let channel = Channel::from_fd(channel);
    let plan = ProcessPlan::new(process, spec, io).and_then(|mut plan| plan.preserve(preserved).map(|()| plan));
    let Ok(mut plan) = plan else { return channel.fail(misunderstood()) };
    forbid_nodes(&mut plan, spec, devices_enforced, &mut Vec::new());
    // Of the container, which may have put anything there.
    let proc = rustix::fs::open(c"/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let proc = proc.and_then(|proc| match file_system(&rustix::fs::fstatfs(&proc)?) {
        PROC_MAGIC => Ok(proc),
        _ => Err(Errno::NODEV),
    });
    let proc = match proc.at(Step::Label) {
        Ok(proc) => proc,
        Err(failure) => return channel.fail(failure),
    };
    oom_score(&plan, &channel);
    if channel.wait_for_go().is_ok() {
        second(&plan, proc.as_fd(), &channel);
    }
}

/// Something to be made on the porch, by its absolute name.
enum Piece {
    Folder(CString),
    File(CString),
    Bind { source: CString, target: CString },
}

/// Where the other program's container starts: a small file system that holds the root, and what has to be at hand when the
/// host's names are gone. The other program is to mount /proc and to bind the host's /sys: it would take the control groups below
/// for more hierarchies if it found them there.
struct Porch {
    place: CString,
    pieces: Vec<Piece>,
    /// The container's root user, if it is not the host's.
    owner: Option<(u32, u32)>,
    cover: Option<Cover>,
}

impl Porch {
    /// Changes what `inside` names: the root, and the sources of what can only be bound inside.
    fn new(place: &Path, plan: &Plan, inside: &mut Spec, reached: &[&Path]) -> Result<Self> {
        let owner = Some(Owners::new(inside).on_host(0, 0)).filter(|owner| *owner != (0, 0));
        let mut porch = Self { place: c_string(place)?, pieces: Vec::new(), owner, cover: None };
        for name in ["proc", "sys", "dev", HELD] {
            porch.pieces.push(Piece::Folder(c_string(place.join(name))?));
        }
        // What this program opens before it has the root: random numbers come from a file without getrandom(2) (3.17).
        let random = Path::new("/dev/urandom").exists().then_some("dev/urandom");
        for device in ["dev/null"].into_iter().chain(random) {
            porch.pieces.push(Piece::File(c_string(place.join(device))?));
            porch.bind(&Path::new("/").join(device), place.join(device))?;
        }
        porch.hold_sources(place, plan, inside)?;
        let mut root = inside.root().clone().unwrap_or_default();
        root.set_path(Path::new("/").join(std::ffi::OsStr::from_bytes(rootfs::BEHIND.to_bytes())));
        inside.set_root(Some(root));
        if owner.is_some() {
            let names: Vec<&Path> = std::iter::once(place).chain(reached.iter().copied()).collect();
            porch.cover = Cover::new(&names)?;
        }
        Ok(porch)
    }

    fn bind(&mut self, source: &Path, target: PathBuf) -> Result<()> {
        self.pieces.push(Piece::Bind { source: c_string(source)?, target: c_string(target)? });
        Ok(())
    }

    fn hold_sources(&mut self, place: &Path, plan: &Plan, inside: &mut Spec) -> Result<()> {
        let late = |target: &[u8]| {
            plan.root.actions.iter().any(|planned| {
                !planned.outside && matches!(&planned.action, Action::Mount(mount) if mount.target.to_bytes() == target)
            })
        };
        let mut mounts = inside.mounts().clone().unwrap_or_default();
        for (index, mount) in mounts.iter_mut().enumerate() {
            if !actions::is_bind(mount) || !late(mount.destination().as_os_str().as_bytes()) {
                continue;
            }
            let Some(source) = mount.source().clone() else { continue };
            let name = Path::new(HELD).join(index.to_string());
            let target = c_string(place.join(&name))?;
            self.pieces.push(if source.is_dir() { Piece::Folder(target) } else { Piece::File(target) });
            self.bind(&source, place.join(&name))?;
            mount.set_source(Some(Path::new("/").join(name)));
        }
        inside.set_mounts(Some(mounts));
        Ok(())
    }

    /// System calls only.
    fn make(&self) -> rustix::io::Result<()> {
        for piece in &self.pieces {
            match piece {
                Piece::Folder(path) => {
                    rustix::fs::mkdir(path.as_c_str(), Mode::from_raw_mode(0o755))?;
                    self.give(path)?;
                }
                Piece::File(path) => {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                    rustix::fs::open(path.as_c_str(), flags, Mode::from_raw_mode(0o644)).map(drop)?;
                }
                Piece::Bind { source, target } => {
                    sys::mount(Some(source), target, None, libc::MS_BIND | libc::MS_REC, None)?;
                }
            }
        }
        self.give(&self.place)?;
        self.cover.as_ref().map_or(Ok(()), Cover::make)
    }

    fn give(&self, path: &CStr) -> rustix::io::Result<()> {
        let Some((user, group)) = self.owner else { return Ok(()) };
        rustix::fs::chown(path, Some(rustix::fs::Uid::from_raw(user)), Some(rustix::fs::Gid::from_raw(group)))
    }
}

/// A folder on the way that only the host's root may enter, covered, for the eyes of this container alone, by one that anybody may.
struct Cover {
    place: CString,
    /// On the way from `place` to what is shown.
    folders: Vec<CString>,
    /// Shown again at their places.
    shown: Vec<CString>,
}

impl Cover {
    fn new(names: &[&Path]) -> Result<Option<Self>> {
        let closed = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o001 == 0);
        let highest = names.iter().filter_map(|name| {
            let mut way: Vec<&Path> = name.ancestors().skip(1).collect();
            way.reverse();
            way.into_iter().find(|folder| closed(folder))
        });
        let Some(place) = highest.min_by_key(|place| place.components().count()) else { return Ok(None) };
        let below = |name: &&&Path| name.starts_with(place);
        let mut folders: Vec<&Path> = Vec::new();
        for name in names.iter().filter(below) {
            folders.extend(name.ancestors().take_while(|folder| *folder != place));
        }
        folders.sort_by_key(|folder| folder.components().count());
        folders.dedup();
        let shown = names.iter().filter(below).map(c_string).collect::<Result<_>>()?;
        let folders = folders.into_iter().map(c_string).collect::<Result<_>>()?;
        Ok(Some(Self { place: c_string(place)?, folders, shown }))
    }

    fn make(&self) -> rustix::io::Result<()> {
        const SHOWN: usize = 4;
        let mut open = [const { None }; SHOWN];
        for (place, path) in open.iter_mut().zip(&self.shown) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            *place = Some(rustix::fs::open(path.as_c_str(), flags, Mode::empty())?);
        }
        sys::mount(Some(c"tmpfs"), &self.place, Some(c"tmpfs"), 0, Some(c"mode=755"))?;
        for folder in &self.folders {
            match rustix::fs::mkdir(folder.as_c_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        for (fd, path) in open.iter().flatten().zip(&self.shown) {
            let source = FdPath::new(fd.as_fd());
            sys::mount(Some(source.as_c_str()), path, None, libc::MS_BIND | libc::MS_REC, None)?;
        }
        Ok(())
    }
}
