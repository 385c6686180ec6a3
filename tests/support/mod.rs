//! The harness: worlds, commands, images, terminals, and the state of the host before and after.
//!
//! It starts the program under test and nothing else of berth; every process is kept by its id and ended by it.
//! The environment may say: `BERTH` (the program), `BERTH_TEST_DIR` (where state roots lie; on a disk),
//! `BERTH_TEST_CACHE` (Debian's root file system), `BERTH_TEST_SEED` (what a test drew), `BERTH_TEST_KEEP` (keep the
//! folder of a test that failed), `BERTH_TEST_FULL` (the million entries too), `BERTH_TEST_KERNEL` (which older kernel the program sees).

pub(crate) mod call;
pub(crate) mod covers;
pub(crate) mod criu;
pub(crate) mod debian;
pub(crate) mod docker;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod kernel;
pub(crate) mod lan;
pub(crate) mod net;
pub(crate) mod random;
pub(crate) mod recorder;
pub(crate) mod registry;
pub(crate) mod screen;
pub(crate) mod user;
pub(crate) mod world;

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub(crate) use call::Outcome;
pub(crate) use world::{Mode, World};

/// Test bodies that run in two worlds, each as two tests of these names.
macro_rules! twice {
    ($first:ident: $one:expr, $second:ident: $other:expr;
     $($(#[$meta:meta])* fn $name:ident($world:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            fn body($world: &crate::support::World) $body

            $(#[$meta])*
            #[test]
            fn $first() {
                body(&$one);
            }

            $(#[$meta])*
            #[test]
            fn $second() {
                body(&$other);
            }
        }
    )*};
}

/// Test bodies that run with embedded engines and through a daemon.
macro_rules! both {
    ($($tests:tt)*) => {
        twice! {
            embedded: crate::support::World::new(crate::support::Mode::Embedded),
            daemon: crate::support::World::new(crate::support::Mode::Daemon);
            $($tests)*
        }
    };
}

/// The program under test: `BERTH`, else the one that was built beside this binary.
pub(crate) fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let named = std::env::var_os("BERTH").map(PathBuf::from);
        let program = named.unwrap_or_else(|| {
            let own = std::env::current_exe().expect("the test binary's path");
            own.ancestors().nth(2).expect("target/TRIPLE/PROFILE/deps/TEST").join("berth")
        });
        assert!(program.is_file(), "{}: no such program; run `cargo build -p berth`, or set BERTH", program.display());
        assert!(rustix::process::geteuid().is_root(), "these tests run as root");
        program
    })
}

/// Says why a test did not run. The test counts as passed.
pub(crate) fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    // Straight to the terminal: the harness swallows what a passing test prints.
    let line = format!("skipped {test}: {reason}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
}

/// Whether a program is on the PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Waits until `condition` holds; a test that waits in vain fails with `what`.
#[track_caller]
pub(crate) fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
