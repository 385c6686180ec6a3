//! Tells the program how it is built (`built.rs` shows it). Everything here follows from the source and from what was asked of
//! the compiler: the clock, the folder and the user are left out, so that the same source gives the same program.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let (commit, date) = source();
    tell("COMMIT", &commit);
    tell("SOURCE_DATE", &date);
    for (name, variable) in [("TARGET", "TARGET"), ("TARGET_FEATURES", "CARGO_CFG_TARGET_FEATURE")] {
        tell(name, &env::var(variable).unwrap_or_default());
    }
    // The folder's name is the profile's; the variable PROFILE knows two of them.
    let folder = env::var("OUT_DIR").unwrap_or_default();
    let profile = Path::new(&folder).iter().rev().nth(3).and_then(|name| name.to_str()).unwrap_or_default();
    tell("PROFILE", if profile == "debug" { "dev" } else { profile });
    tell("COMPILER", &said(&env::var("RUSTC").unwrap_or_default(), &["--version"]).unwrap_or_default());
    println!("cargo:rerun-if-env-changed=BERTH_LIBC");
    tell("LIBC", &env::var("BERTH_LIBC").or_else(|_| env::var("CARGO_CFG_TARGET_ENV")).unwrap_or_default());
}

fn tell(name: &str, value: &str) {
    println!("cargo:rustc-env=BERTH_BUILT_{name}={}", if value.is_empty() { "unknown" } else { value });
}

/// The commit and its date in seconds since 1970: what BERTH_COMMIT and SOURCE_DATE_EPOCH say, else git's, else what
/// `git archive` wrote into ci/commit.
fn source() -> (String, String) {
    for name in ["BERTH_COMMIT", "SOURCE_DATE_EPOCH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let archived = "../../ci/commit";
    println!("cargo:rerun-if-changed={archived}");
    // The log of HEAD grows with each commit and checkout, and is left alone otherwise.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
    let told = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let archive = std::fs::read_to_string(archived).unwrap_or_default();
    let mut archive = archive.split_whitespace().filter(|word| !word.contains('$')).map(str::to_owned);
    let commit = archive.next();
    let date = archive.next();
    let commit = told("BERTH_COMMIT")
        .or_else(|| git(&["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]))
        .or(commit);
    let date = told("SOURCE_DATE_EPOCH").or_else(|| git(&["log", "-1", "--format=%ct"])).or(date);
    (commit.unwrap_or_default(), date.unwrap_or_default())
}

/// Asks git, if the source is a checkout of its own and no folder below somebody else's.
fn git(arguments: &[&str]) -> Option<String> {
    Path::new("../../.git").exists().then(|| said("git", arguments))?
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
