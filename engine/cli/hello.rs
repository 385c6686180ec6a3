//! What the embedded image `berth/hello` runs: berth's own program, telling from inside which isolation it sees.

use std::fs;
use std::path::Path;

use berth_arch::Host;

pub(crate) fn print() {
    let host = Host::detect();
    println!("Hello from berth!");
    println!();
    println!("This container was made of the berth program itself: no network, no other file.");
    println!("Seen from inside:");
    for (name, what) in report(&host) {
        println!("  {name:<14}{what}");
    }
}

fn report(host: &Host) -> Vec<(&'static str, String)> {
    let variant = host.platform.variant.as_deref().map(|variant| format!("/{variant}")).unwrap_or_default();
    vec![
        ("kernel", format!("{} on {}{variant}", host.kernel.release, host.platform.architecture)),
        ("processes", processes()),
        ("hostname", host.hostname.clone()),
        ("network", network()),
        ("root", root()),
        ("user", user(host)),
        ("capabilities", capabilities(host.user.effective_capabilities)),
        ("seccomp", seccomp()),
        ("cgroup", cgroup()),
    ]
}

fn status(field: &str) -> Option<String> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(|value| value.trim().to_owned())
}

fn processes() -> String {
    let visible = fs::read_dir("/proc").map_or(0, |entries| {
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).count()
    });
    match std::process::id() {
        1 => format!("own process namespace (this is process 1 of {visible})"),
        pid => format!("shared with others (this is process {pid}, {visible} are visible)"),
    }
}

fn network() -> String {
    let mut names: Vec<String> = fs::read_dir("/sys/class/net")
        .map(|entries| entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    names.sort();
    match names.as_slice() {
        [] => "no interface is visible".to_owned(),
        [only] if only == "lo" => "own network namespace, loopback only".to_owned(),
        several => format!("interfaces {}", several.join(", ")),
    }
}

fn root() -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let root = mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(4);
        (fields.next()? == "/").then(|| {
            let writable = if fields.next().unwrap_or_default().split(',').any(|word| word == "ro") {
                "read-only"
            } else {
                "writable"
            };
            format!("{}, {writable}", file_system.split(' ').next().unwrap_or_default())
        })
    });
    let count = mounts.lines().count();
    format!("{} ({count} mounts)", root.unwrap_or_else(|| "unknown".to_owned()))
}

fn user(host: &Host) -> String {
    let namespace = if host.user.in_user_namespace { "own user namespace" } else { "the host's user namespace" };
    format!("{}:{} in {namespace}", host.user.uid, host.user.gid)
}

fn capabilities(effective: u64) -> String {
    let privileges = if status("NoNewPrivs").as_deref() == Some("1") { ", no new privileges" } else { "" };
    format!("{} in force ({effective:016x}){privileges}", effective.count_ones())
}

fn seccomp() -> String {
    match status("Seccomp").as_deref() {
        Some("2") => "system calls are filtered".to_owned(),
        Some("0") => "no filter".to_owned(),
        Some(other) => format!("mode {other}"),
        None => "unknown to this kernel".to_owned(),
    }
}

fn cgroup() -> String {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let version = if text.lines().any(|line| !line.starts_with("0::")) { "v1" } else { "v2" };
    match text.lines().next() {
        None => "none".to_owned(),
        Some(_) if text.lines().all(|line| line.ends_with(":/")) => format!("{version}, own cgroup namespace"),
        Some(_) if Path::new("/sys/fs/cgroup").exists() => format!("{version}, the host's paths are visible"),
        Some(_) => format!("{version}, not mounted"),
    }
}
