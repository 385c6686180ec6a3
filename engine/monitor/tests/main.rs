//! Drives whole monitors, as the engine does. The test binary is the monitor, too; see `fake.rs` for the backend.

mod driver;
mod fake;
mod life;
mod many;
mod real;
mod streams;

use std::process::ExitCode;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| name == berth_monitor::ROLE) {
        return berth_monitor::main_with(std::env::args_os().skip(1), fake::find);
    }
    let tests: Vec<Test> = [life::TESTS, streams::TESTS, many::TESTS, real::TESTS].concat();
    let filter: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if std::env::args().any(|arg| arg == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if std::env::var_os("BERTH_TEST_EMULATED").is_some() {
        println!("skipped: QEMU's user mode does not start this program as a monitor");
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in tests {
        if !filter.is_empty() && !filter.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let started = std::time::Instant::now();
        let ok = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {} ({:.2?})", if ok { "ok" } else { "FAILED" }, started.elapsed());
        failed += usize::from(!ok);
    }
    println!("{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Names tests after their functions.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[(&str, fn())] = &[$((stringify!($name), $name as fn())),*];
    };
}
