//! Against the real kernel where this process may (root, cgroups writable), and against folders that look like
//! cgroup v2 elsewhere.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use oci_spec::runtime::{
    LinuxBlockIoBuilder, LinuxBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder, LinuxDeviceType,
    LinuxHugepageLimitBuilder, LinuxMemory, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder,
    LinuxThrottleDeviceBuilder, SpecBuilder,
};

use super::*;

fn spec(resources: LinuxResources, path: &str) -> Spec {
    let linux = LinuxBuilder::default().resources(resources).cgroups_path(path).build().unwrap();
    SpecBuilder::default().linux(linux).build().unwrap()
}

fn id() -> ContainerId {
    "unit-test".parse().unwrap()
}

/// Removes the parent in every hierarchy too.
struct Scratch {
    cgroup: Cgroup,
    children: Vec<Child>,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all();
        for child in &mut self.children {
            let _ = child.wait();
        }
        self.cgroup.delete().unwrap();
        for path in self.cgroup.paths() {
            let _ = std::fs::remove_dir(path.parent().unwrap());
        }
    }
}

impl Scratch {
    fn new(name: &str, resources: LinuxResources) -> Option<Self> {
        let path = format!("/berth-test-{}-{name}/c", std::process::id());
        let cgroup = Cgroup::create(&id(), &spec(resources, &path)).unwrap();
        if cgroup.paths().is_empty() {
            eprintln!("skipped: no writable cgroups on this host");
            return None;
        }
        Some(Self { cgroup, children: Vec::new() })
    }

    fn has(&self, controller: &str) -> bool {
        let found = limits::find(&self.cgroup.groups, controller).is_some();
        if !found {
            eprintln!("skipped: no {controller} controller on this host");
        }
        found
    }

    fn file(&self, controller: &str, file: &str) -> String {
        let group = limits::find(&self.cgroup.groups, controller).unwrap();
        files::read(&group.dir, file).unwrap().trim().to_owned()
    }

    /// The shell enters as a container does: by writing "0" itself.
    fn run(&mut self, script: &str) -> u32 {
        let fds = self.cgroup.entry_fds().unwrap();
        let paths: Vec<String> = fds
            .iter()
            .map(|fd| {
                let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd));
                std::fs::read_link(link).unwrap().to_str().unwrap().to_owned()
            })
            .collect();
        let enter = "for f do echo 0 > \"$f\" || exit 99; done; ";
        let child = Command::new("sh")
            .arg("-c")
            .arg(format!("{enter}{script}"))
            .arg("sh")
            .args(paths)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        self.children.push(child);
        for _ in 0..500 {
            if self.cgroup.pids().unwrap().contains(&(pid as i32)) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        pid
    }

    fn wait(&mut self) -> std::process::ExitStatus {
        self.children.pop().unwrap().wait().unwrap()
    }
}

fn memory(limit: i64) -> LinuxMemory {
    LinuxMemoryBuilder::default().limit(limit).build().unwrap()
}

fn v1() -> bool {
    !Layout::detect().is_unified()
}

#[test]
fn limits_reach_the_kernel_and_can_be_updated() {
    let resources = LinuxResourcesBuilder::default()
        .memory(memory(64 << 20))
        .cpu(LinuxCpuBuilder::default().shares(512u64).quota(50_000).period(100_000u64).cpus("0").build().unwrap())
        .pids(LinuxPidsBuilder::default().limit(77).build().unwrap())
        .build()
        .unwrap();
    let Some(scratch) = Scratch::new("limits", resources) else { return };
    if scratch.has("pids") {
        assert_eq!(scratch.file("pids", "pids.max"), "77");
    }
    if scratch.has("cpuset") {
        assert_eq!(scratch.file("cpuset", "cpuset.cpus"), "0");
    }
    if !scratch.has("memory") || !scratch.has("cpu") {
        return;
    }
    let limit = |scratch: &Scratch| scratch.cgroup.sample().unwrap().memory_limit;
    assert_eq!(limit(&scratch), Some(64 << 20));
    if v1() {
        assert_eq!(scratch.file("cpu", "cpu.cfs_quota_us"), "50000");
        assert_eq!(scratch.file("cpu", "cpu.shares"), "512");
    } else {
        assert_eq!(scratch.file("cpu", "cpu.max"), "50000 100000");
        assert_eq!(scratch.file("cpu", "cpu.weight"), "59");
    }
    let both = |limit: i64, swap: i64| {
        let memory = LinuxMemoryBuilder::default().limit(limit).swap(swap).build().unwrap();
        LinuxResourcesBuilder::default().memory(memory).build().unwrap()
    };
    // Up and down again: each needs another order on v1.
    for (memory, swap) in [(128, 256), (512, 512), (32, 64), (100, -1), (16, 16)] {
        let swap = if swap < 0 { -1 } else { swap << 20 };
        scratch.cgroup.update(&both(memory << 20, swap)).unwrap();
        assert_eq!(limit(&scratch), Some(memory as u64 * (1 << 20)));
    }
    scratch.cgroup.update(&both(-1, -1)).unwrap();
    assert_eq!(limit(&scratch), None);
}

#[test]
fn processes_are_listed_measured_paused_and_killed() {
    let Some(mut scratch) = Scratch::new("life", LinuxResources::default()) else { return };
    let pid = scratch.run("while :; do :; done") as i32;
    assert_eq!(scratch.cgroup.pids().unwrap(), [pid]);
    std::thread::sleep(std::time::Duration::from_millis(50));
    let sample = scratch.cgroup.sample().unwrap();
    assert!(sample.cpu_total > 0, "{sample:?}");
    assert_eq!(sample.unified, !v1());
    if scratch.has("memory") {
        assert!(sample.memory_stat.len() > 5, "{sample:?}");
        assert!(!scratch.cgroup.out_of_memory().unwrap());
    }
    if scratch.has("pids") {
        assert_eq!(sample.pids_current, 1);
    }
    let loaded = Cgroup::load(scratch.cgroup.paths());
    assert_eq!(loaded.groups, scratch.cgroup.groups);
    if let Some(freezer) = loaded.freezer() {
        freezer.freeze().unwrap();
        freezer.freeze().unwrap();
        assert!(freezer.is_frozen().unwrap());
        freezer.thaw().unwrap();
        assert!(!freezer.is_frozen().unwrap());
        freezer.freeze().unwrap();
    }
    loaded.kill_all().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&scratch.wait()), Some(9));
    loaded.delete().unwrap();
    loaded.delete().unwrap();
    assert!(loaded.pids().unwrap().is_empty());
    assert!(matches!(loaded.sample(), Err(Error::NotFound(_))));
}

#[test]
fn nested_groups_are_listed_and_removed() {
    let Some(mut scratch) = Scratch::new("nested", LinuxResources::default()) else { return };
    let group = processes_group(&scratch.cgroup);
    std::fs::create_dir_all(group.join("inner/most")).unwrap();
    let pid = scratch.run("sleep 100; :");
    files::write(&group.join("inner"), "cgroup.procs", &pid.to_string()).unwrap();
    assert!(scratch.cgroup.pids().unwrap().contains(&(pid as i32)));
    scratch.cgroup.kill_all().unwrap();
    scratch.wait();
    scratch.cgroup.delete().unwrap();
    assert!(!group.exists());
}

fn processes_group(cgroup: &Cgroup) -> PathBuf {
    limits::find(&cgroup.groups, "freezer").unwrap_or(&cgroup.groups[0]).dir.clone()
}

#[test]
fn the_kernel_killing_for_want_of_memory_is_noticed() {
    let memory = LinuxMemoryBuilder::default().limit(16 << 20).swap(16 << 20).build().unwrap();
    let Some(mut scratch) = Scratch::new("oom", LinuxResourcesBuilder::default().memory(memory).build().unwrap())
    else {
        return;
    };
    if !scratch.has("memory") {
        return;
    }
    scratch.run("x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}");
    scratch.wait();
    assert!(scratch.cgroup.out_of_memory().unwrap());
    assert!(scratch.cgroup.sample().unwrap().memory_usage < 16 << 20);
}

#[test]
fn only_the_devices_of_the_rules_can_be_opened() {
    let rule = |allow, typ, major, minor, access: &str| {
        LinuxDeviceCgroupBuilder::default()
            .allow(allow)
            .typ(typ)
            .major(major)
            .minor(minor)
            .access(access)
            .build()
            .unwrap()
    };
    let deny_all = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build().unwrap();
    let rules = vec![deny_all, rule(true, LinuxDeviceType::C, 1, 11, "r")];
    let resources = LinuxResourcesBuilder::default().devices(rules).build().unwrap();
    let Some(mut scratch) = Scratch::new("devices", resources) else { return };
    if !scratch.cgroup.devices_enforced() {
        eprintln!("skipped: {:?}", scratch.cgroup.warnings());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display();
    let script = format!(
        "cd {dir} && mknod kmsg c 1 11 && mknod null c 1 3 && mknod zero c 1 5 && mknod mem c 1 1 || exit 98
         exec 2>/dev/null
         (: >null) || exit 1; (: <zero) || exit 2; (: <kmsg) || exit 3; (: >kmsg) && exit 4; (: <mem) && exit 5; exit 0"
    );
    scratch.run(&script);
    let status = scratch.wait();
    if status.code() == Some(98) {
        eprintln!("skipped: device nodes cannot be made here");
        return;
    }
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_failure_leaves_nothing() {
    let cpu = LinuxCpuBuilder::default().cpus("9999").build().unwrap();
    let resources = LinuxResourcesBuilder::default().cpu(cpu).build().unwrap();
    let parent = format!("berth-test-{}-failure", std::process::id());
    match Cgroup::create(&id(), &spec(resources, &format!("/{parent}/c"))) {
        Ok(cgroup) => {
            eprintln!("skipped: no cpuset controller on this host");
            cgroup.delete().unwrap();
        }
        Err(error) => assert!(error.to_string().contains("9999"), "{error}"),
    }
    for hierarchy in &Layout::detect().hierarchies {
        let dir = hierarchy.mount.join(&parent);
        assert!(!dir.join("c").exists());
        let _ = std::fs::remove_dir(dir);
    }
}

#[test]
fn without_cgroups_each_limit_is_a_warning() {
    let resources = LinuxResourcesBuilder::default()
        .memory(LinuxMemoryBuilder::default().limit(1).swap(2).build().unwrap())
        .pids(LinuxPidsBuilder::default().limit(3).build().unwrap())
        .build()
        .unwrap();
    let cgroup = Cgroup::create_in(&Layout::default(), &id(), &spec(resources, "/x")).unwrap();
    assert!(cgroup.paths().is_empty() && cgroup.entry_fds().unwrap().is_empty());
    assert_eq!(
        cgroup.warnings(),
        [
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
            "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
        ]
    );
    assert!(cgroup.freezer().is_none() && cgroup.stats().is_none());
    assert_eq!(cgroup.mounts_for_container(), CgroupMount::None);
    cgroup.kill_all().unwrap();
    cgroup.delete().unwrap();
}

/// A folder with the files of a v2 group.
fn fake_v2(dir: &Path, files: &[(&str, &str)]) -> Vec<Group> {
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let controllers = ["cpu", "cpuset", "memory", "io", "pids", "hugetlb"].map(str::to_owned).to_vec();
    vec![Group { version: Version::V2, dir: dir.to_path_buf(), controllers }]
}

#[test]
fn limits_are_written_in_the_words_of_v2() {
    let folder = tempfile::tempdir().unwrap();
    let names =
        ["memory.swap.max", "memory.low", "cpu.weight", "pids.max", "io.bfq.weight", "hugetlb.2MB.max", "cpuset.cpus"];
    let mut list: Vec<_> = names.iter().map(|name| (*name, "")).collect();
    list.extend([("memory.max", "max\n"), ("cpu.max", "max 100000\n"), ("io.max", ""), ("memory.high", "")]);
    let groups = fake_v2(folder.path(), &list);
    let device = LinuxThrottleDeviceBuilder::default().major(8).minor(16).rate(1024u64).build().unwrap();
    let resources = LinuxResourcesBuilder::default()
        .memory(LinuxMemoryBuilder::default().limit(100).swap(300).reservation(50).swappiness(10u64).build().unwrap())
        .cpu(LinuxCpuBuilder::default().shares(1024u64).quota(20_000).cpus("0-1").build().unwrap())
        .pids(LinuxPidsBuilder::default().limit(-1).build().unwrap())
        .block_io(
            LinuxBlockIoBuilder::default().weight(300u16).throttle_write_bps_device(vec![device]).build().unwrap(),
        )
        .hugepage_limits(vec![LinuxHugepageLimitBuilder::default().page_size("2MB").limit(4096).build().unwrap()])
        .unified(std::collections::HashMap::from([("memory.high".to_owned(), "90".to_owned())]))
        .build()
        .unwrap();
    let mut warnings = Warnings::default();
    limits::apply(&groups, &resources, &mut warnings).unwrap();
    let expected = [
        ("memory.max", "100"),
        ("memory.swap.max", "200"),
        ("memory.low", "50"),
        ("memory.high", "90"),
        ("cpu.weight", "100"),
        ("cpu.max", "20000 100000"),
        ("cpuset.cpus", "0-1"),
        ("pids.max", "max"),
        ("io.bfq.weight", "300"),
        ("io.max", "8:16 wbps=1024"),
        ("hugetlb.2MB.max", "4096"),
    ];
    for (file, text) in expected {
        assert_eq!(std::fs::read_to_string(folder.path().join(file)).unwrap(), text, "{file}");
    }
    assert_eq!(warnings.0.len(), 1, "{warnings:?}");
    assert!(warnings.0[0].contains("swappiness"));
}

#[test]
fn v2_counters_become_a_sample() {
    let folder = tempfile::tempdir().unwrap();
    let groups = fake_v2(
        folder.path(),
        &[
            ("cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\nnr_periods 9\nnr_throttled 2\nthrottled_usec 5\n"),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 1\ninactive_file 2\n"),
            ("memory.events", "low 0\nhigh 0\nmax 6\noom 1\noom_kill 1\n"),
            ("pids.current", "3\n"),
            ("pids.max", "10\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
        ],
    );
    let cgroup = Cgroup::of(groups);
    let sample = cgroup.sample().unwrap();
    assert_eq!((sample.cpu_total, sample.cpu_user, sample.cpu_system), (7000, 4000, 3000));
    assert_eq!((sample.periods, sample.throttled_count, sample.throttled_time), (9, 2, 5000));
    assert_eq!((sample.memory_usage, sample.memory_limit, sample.memory_failcnt), (4096, None, 6));
    assert_eq!((sample.pids_current, sample.pids_limit), (3, Some(10)));
    assert_eq!(sample.io_operations.len(), 2);
    assert!(sample.unified && cgroup.out_of_memory().unwrap());
    assert_eq!(cgroup.mounts_for_container(), CgroupMount::Unified { path: folder.path().to_path_buf() });
}

#[test]
fn who_joins_a_group_that_hands_controllers_down_joins_inits_own() {
    let root = tempfile::tempdir().unwrap();
    let groups = fake_v2(root.path(), &[("cgroup.procs", ""), ("cgroup.subtree_control", "pids\n")]);
    let inner = root.path().join("a/init.scope");
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(root.path().join("a/cgroup.procs"), "").unwrap();
    std::fs::write(inner.join("cgroup.procs"), "77\n7\n").unwrap();
    let cgroup = Cgroup::of(groups);
    let joined = |pid| {
        let fd = cgroup.entry_fds_beside(pid).unwrap().remove(0);
        std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd))).unwrap()
    };
    assert_eq!(joined(7), inner.join("cgroup.procs"));
    assert_eq!(joined(8), root.path().join("cgroup.procs"));
    std::fs::write(root.path().join("cgroup.subtree_control"), "\n").unwrap();
    assert_eq!(joined(7), root.path().join("cgroup.procs"));
}
