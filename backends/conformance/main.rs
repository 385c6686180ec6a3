//! The conformance suite of isolation backends: what every one has to do, tried on real containers of busybox.
//!
//! Each test runs in a process of its own with one thread, as the monitor has, and once more for each facility
//! that can be pretended away. Needs root; says so and passes without. Arguments: a part of the tests' names.

mod exec;
mod kit;
mod lifecycle;
mod measure;
mod raw;
mod restrictions;
mod root;
mod standalone;

use std::process::{Command, ExitCode, Output};

/// A name and what it does; a panic is a failure.
type Test = (&'static str, fn());

const TESTS: &[&[Test]] = &[lifecycle::TESTS, exec::TESTS, root::TESTS, restrictions::TESTS, standalone::TESTS];

/// What is pretended to be absent in each round.
const ROUNDS: &[&str] =
    &["", "clone3", "pidfd", "openat2", "close_range", "pivot_root", "mount-api", "cgroup", "seccomp"];

const WORKER: &str = "--worker";
const CALL: &str = "--call";
const MEASURE: &str = "--measure";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = arguments.as_slice()
        && flag == WORKER
    {
        return worker(name);
    }
    // Copied into a container, the suite makes a system call for it.
    if let [flag, number] = arguments.as_slice()
        && flag == CALL
    {
        println!("{}", raw::call(number.parse().unwrap_or(0)));
        return ExitCode::SUCCESS;
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
    let wanted = |name: &&Test| filters.is_empty() || filters.iter().any(|filter| name.0.contains(filter.as_str()));
    let tests: Vec<&Test> = TESTS.iter().copied().flatten().filter(wanted).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        tests.iter().for_each(|test| println!("{}: test", test.0));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for without in ROUNDS {
        failed += round(without, &tests);
    }
    println!("\n{} tests in {} rounds, {failed} failed", tests.len(), ROUNDS.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn round(without: &str, tests: &[&Test]) -> usize {
    let mut failed = 0;
    for (name, _) in tests {
        let label = if without.is_empty() { (*name).to_owned() } else { format!("{name} (without {without})") };
        match run(name, without) {
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

fn run(name: &str, without: &str) -> std::io::Result<Output> {
    Command::new(std::env::current_exe()?)
        .args([WORKER, name])
        .env("BERTH_PRETEND_WITHOUT", without)
        .env("RUST_BACKTRACE", "0")
        .output()
}

fn worker(name: &str) -> ExitCode {
    match TESTS.iter().copied().flatten().find(|test| test.0 == name) {
        Some((_, test)) => {
            test();
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    }
}
