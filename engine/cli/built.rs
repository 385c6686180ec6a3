//! How the program was built: what build.rs noted, and what is in it.

use berth_core::config::Overrides;
use berth_core::{Build, EngineConfig};
use serde_json::{Value, json};

/// Of a tree that was not clean, with `-dirty`; `unknown` outside of a checkout.
pub(crate) const COMMIT: &str = env!("BERTH_BUILT_COMMIT");
/// Seconds since 1970: the commit's date, or what SOURCE_DATE_EPOCH said.
const SOURCE_DATE: &str = env!("BERTH_BUILT_SOURCE_DATE");

/// The date of the source, as RFC 3339 has it. The date of the build itself is not in the program: built again, it is the same.
pub(crate) fn date() -> String {
    let instant = SOURCE_DATE.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    instant.map_or_else(|| "unknown".to_owned(), |instant| instant.to_string())
}

/// The configuration of an engine that is this program.
pub(crate) fn engine_config(overrides: &Overrides) -> berth_core::Result<EngineConfig> {
    let mut config = EngineConfig::load(overrides)?;
    config.build = Build { commit: COMMIT.to_owned(), date: date() };
    Ok(config)
}

/// What can be told, by its name in `version --format` and its name for people.
fn facts() -> Vec<(&'static str, &'static str, String)> {
    let linked = if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" };
    vec![
        ("Commit", "commit", COMMIT.to_owned()),
        ("SourceDate", "source date", date()),
        ("Target", "target", env!("BERTH_BUILT_TARGET").to_owned()),
        ("TargetFeatures", "target features", env!("BERTH_BUILT_TARGET_FEATURES").to_owned()),
        ("Profile", "profile", env!("BERTH_BUILT_PROFILE").to_owned()),
        ("Panic", "panic", if cfg!(panic = "abort") { "abort" } else { "unwind" }.to_owned()),
        ("Compiler", "compiler", env!("BERTH_BUILT_COMPILER").to_owned()),
        ("Libc", "libc", format!("{} ({linked})", env!("BERTH_BUILT_LIBC"))),
        ("Backends", "backends", berth_backends::ORDER.join(",")),
        ("StorageDrivers", "storage drivers", berth_fs_drivers::registry::ORDER.join(",")),
    ]
}

/// For `berth version --format`.
pub(crate) fn json() -> Value {
    Value::Object(facts().into_iter().map(|(name, _, text)| (name.to_owned(), json!(text))).collect())
}

/// For `berth --version --verbose`: a line a fact, as rustc's `-vV` has them.
pub(crate) fn lines() -> String {
    facts().into_iter().map(|(_, name, text)| format!("{name}: {text}\n")).collect()
}
