//! Packet paths on real packets: each test builds a small world of network namespaces and tries who reaches whom, on
//! every path whose probe passes there. Needs root; says so and passes without. Arguments: a part of the tests' names.

mod choice;
mod measure;
mod reach;
mod state;
mod world;

use std::process::ExitCode;

/// A name and what it does; a panic is a failure.
type Test = (&'static str, fn());

/// A name and what it does with one packet path.
type OnPath = (&'static str, fn(&str));

const PATHS: &[&str] = &["nft", "iptables-nft", "iptables-legacy"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mut tests: Vec<(String, Box<dyn Fn()>)> = Vec::new();
    for (name, test) in reach::TESTS.iter().chain(state::TESTS) {
        for path in PATHS {
            tests.push((format!("{path}: {name}"), Box::new(move || on_path(path, *test))));
        }
    }
    for (name, test) in choice::TESTS {
        tests.push(((*name).to_owned(), Box::new(test)));
    }
    if std::env::var_os("BERTH_TEST_EMULATED").is_some() {
        println!("skipped iptables: QEMU's user mode does not pass on what its tables are asked");
        tests.retain(|(name, _)| !name.contains("iptables"));
    }
    tests.retain(|(name, _)| arguments.is_empty() || arguments.iter().any(|part| name.contains(part.as_str())));
    if std::env::args().any(|argument| argument == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: making network namespaces takes root");
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|argument| argument == "--measure") {
        measure::run();
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in tests {
        let started = std::time::Instant::now();
        let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).is_ok();
        println!("test {name} ... {} ({:.2?})", if ok { "ok" } else { "FAILED" }, started.elapsed());
        failed += usize::from(!ok);
    }
    println!("{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// In a namespace that is thrown away: whether the path works at all.
fn on_path(path: &'static str, test: fn(&str)) {
    let answers = world::Space::new().run(berth_network::firewall::registry::probe_all);
    match answers.iter().find(|(name, _)| *name == path) {
        Some((_, answer)) if !answer.is_available() => {
            println!("skipped {path}: {}", answer.reason().unwrap_or_default());
        }
        _ => test(path),
    }
}
