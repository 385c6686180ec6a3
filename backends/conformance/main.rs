//! The conformance suite of isolation backends: what every one has to do, tried on real containers of busybox.
//!
//! Each test runs in a process of its own with one thread, as the monitor has, and once more for each facility
//! that can be pretended away. Needs root; says so and passes without. Arguments: a part of the tests' names.

mod exec;
mod kit;
mod lifecycle;
mod measure;
mod processes;
mod raw;
mod restrictions;
mod root;
mod standalone;
mod user;

use std::process::{Command, ExitCode, Output};

use berth_backends::Registry;

/// A name and what it does; a panic is a failure.
type Test = (&'static str, fn());

const TESTS: &[&[Test]] =
    &[lifecycle::TESTS, exec::TESTS, processes::TESTS, root::TESTS, restrictions::TESTS, standalone::TESTS];

/// The backends, and what is pretended to be absent in each round with them. Those that do not work here are skipped, and
/// that is said.
const BACKENDS: &[(&str, &[&str])] = &[
    ("namespace", &["", "clone3", "pidfd", "openat2", "close_range", "pivot_root", "mount-api", "cgroup", "seccomp"]),
    ("lxc", &[""]),
    ("crun", &[""]),
    ("runc", &[""]),
    (
        "chroot",
        &[
            "",
            "mount-namespace",
            "cgroup",
            "mount-namespace,cgroup",
            "mount-namespace,cgroup,pidfd,openat2,close_range",
            "pivot_root",
            "clone3,cgroup",
        ],
    ),
];

/// Once more, as root of a user namespace of an ordinary user's, which an engine without root is.
const OF_USERS: &[&str] = &["namespace"];

const WORKER: &str = "--worker";
const AS_USER: &str = "--as-user";
const CALL: &str = "--call";
const BOMB: &str = "--bomb";
const MEASURE: &str = "--measure";
/// Each backend once, without pretending, and without what takes many processes: where the processor is emulated.
const SMALL: &str = "--small";
const LARGE: &[&str] = &["a_fork_bomb_ends_with_its_container"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == berth_backends::lxc::ROLE) {
        return berth_backends::lxc::main();
    }
    if let [flag, name] = arguments.as_slice()
        && flag == WORKER
    {
        return worker(name);
    }
    if let [flag, name] = arguments.as_slice()
        && flag == AS_USER
    {
        return user::run(name);
    }
    // Copied into a container, the suite makes a system call for it.
    if let [flag, number] = arguments.as_slice()
        && flag == CALL
    {
        println!("{}", raw::call(number.parse().unwrap_or(0)));
        return ExitCode::SUCCESS;
    }
    if arguments == [BOMB] {
        raw::fork_for_ever();
    }
    if let [flag, count] = arguments.as_slice()
        && flag == MEASURE
    {
        measure::run(count.parse().unwrap_or(1).max(1));
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: making containers takes root");
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let small = arguments.iter().any(|argument| argument == SMALL);
    let wanted = |name: &&Test| {
        (filters.is_empty() || filters.iter().any(|filter| name.0.contains(filter.as_str())))
            && !(small && LARGE.contains(&name.0))
    };
    let tests: Vec<&Test> = TESTS.iter().copied().flatten().filter(wanted).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        tests.iter().for_each(|test| println!("{}: test", test.0));
        return ExitCode::SUCCESS;
    }
    let only = std::env::var(kit::BACKEND).ok();
    let mut failed = 0;
    for (backend, rounds) in BACKENDS.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        if let Err(error) = Registry::default().select(&berth_arch::Host::detect(), Some(backend)) {
            println!("{backend}: skipped: {error}");
            continue;
        }
        let rounds = if small { &rounds[..1] } else { rounds };
        for without in rounds {
            failed += round(backend, without, WORKER, &tests);
        }
        if OF_USERS.contains(backend) {
            failed += round(backend, "", AS_USER, &tests);
        }
    }
    println!("\n{} tests, {failed} failed", tests.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn round(backend: &str, without: &str, how: &str, tests: &[&Test]) -> usize {
    let mut failed = 0;
    for (name, _) in tests {
        let mut round = if without.is_empty() { String::new() } else { format!(" without {without}") };
        if how == AS_USER {
            round.push_str(" rootless");
        }
        let label = format!("{name} ({backend}{round})");
        match run(backend, name, without, how) {
            Ok(output) if output.status.code() == Some(kit::SKIPPED.into()) => {
                println!("test {label} ... skipped: {}", String::from_utf8_lossy(&output.stdout).trim_end());
            }
            Ok(output) if output.status.success() => println!("test {label} ... ok"),
            Ok(output) => {
                failed += 1;
                println!("test {label} ... FAILED ({})", output.status);
                println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            }
            Err(error) => {
                failed += 1;
                println!("test {label} ... FAILED: {error}");
            }
        }
    }
    failed
}

fn run(backend: &str, name: &str, without: &str, how: &str) -> std::io::Result<Output> {
    Command::new(std::env::current_exe()?)
        .args([how, name])
        .env(kit::BACKEND, backend)
        .env("BERTH_PRETEND_WITHOUT", without)
        .env("RUST_BACKTRACE", "0")
        .output()
}

fn worker(name: &str) -> ExitCode {
    match TESTS.iter().copied().flatten().find(|test| test.0 == name) {
        Some((_, test)) => {
            raw::own_mounts();
            test();
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}
