//! What every verb is called, alone and below its groups.

use clap::Command;

use super::{
    Verb, attach, check, checkpoint, commit, completion, config, cp, create, df, diff, emulation, events, exec, export,
    hello, history, images, import, info, inspect, kill, login, logs, manifest, network, pause, port, prune, ps, pull,
    reap, rename, rm, rmi, run, serve, start, stats, stop, storage, top, unpause, update, verb, version, volume, wait,
    with_verbs,
};

const RUN: Verb = verb::<run::Run>("run", &[], "Create and run a new container from an image");
const CREATE: Verb = verb::<create::Create>("create", &[], "Create a new container");
const START: Verb = verb::<start::Start>("start", &[], "Start one or more stopped containers");
const STOP: Verb = verb::<stop::Stop>("stop", &[], "Stop one or more running containers");
const RESTART: Verb = verb::<stop::Restart>("restart", &[], "Restart one or more containers");
const KILL: Verb = verb::<kill::Kill>("kill", &[], "Kill one or more running containers");
const ATTACH: Verb = verb::<attach::Attach>("attach", &[], "Attach local streams to a running container");
const EXEC: Verb = verb::<exec::Exec>("exec", &[], "Execute a command in a running container");
const LOGS: Verb = verb::<logs::Logs>("logs", &[], "Fetch the logs of a container");
const TOP_PROCESSES: Verb = verb::<top::Top>("top", &[], "Display the running processes of a container");
const STATS: Verb = verb::<stats::Stats>("stats", &[], "Display a live stream of resource usage statistics");
const PAUSE: Verb = verb::<pause::Pause>("pause", &[], "Pause all processes within one or more containers");
const UNPAUSE: Verb = verb::<unpause::Unpause>("unpause", &[], "Unpause all processes within one or more containers");
const WAIT: Verb = verb::<wait::Wait>("wait", &[], "Block until containers stop, then print their exit codes");
const RENAME: Verb = verb::<rename::Rename>("rename", &[], "Rename a container");
const UPDATE: Verb = verb::<update::Update>("update", &[], "Update configuration of one or more containers");
const PORT: Verb = verb::<port::Port>("port", &[], "List port mappings or a specific mapping for the container");
const CP: Verb = verb::<cp::Cp>("cp", &[], "Copy files between a container and the local file system");
const DIFF: Verb = verb::<diff::Diff>("diff", &[], "Inspect changes to files or directories of a container");
const EXPORT: Verb = verb::<export::Export>("export", &[], "Export a container's file system as a tar archive");
const COMMIT: Verb = verb::<commit::Commit>("commit", &[], "Create a new image from a container's changes");
const IMPORT: Verb = verb::<import::Import>("import", &[], "Import a tarball to create a file-system image");
const LOAD: Verb = verb::<import::Load>("load", &[], "Load images from a tar archive or STDIN");
const SAVE: Verb = verb::<export::Save>("save", &[], "Save one or more images to a tar archive");
const HISTORY: Verb = verb::<history::History>("history", &[], "Show the history of an image");
const TAG: Verb = verb::<rmi::Tag>("tag", &[], "Create a tag that refers to an image");
const EVENTS: Verb = verb::<events::Events>("events", &[], "Get real time events from the engine");
const PULL: Verb = verb::<pull::Pull>("pull", &[], "Download an image from a registry");
const PUSH: Verb = verb::<pull::Push>("push", &[], "Upload an image to a registry");
const INFO: Verb = verb::<info::Info>("info", &[], "Display system-wide information");
const DOCTOR: Verb = verb::<info::Doctor>("doctor", &[], "Say what this host offers, what was picked and why");

/// Verbs without a group.
pub(super) const TOP: &[Verb] = &[
    RUN,
    EXEC,
    verb::<ps::Ps>("ps", &[], "List containers"),
    PULL,
    PUSH,
    verb::<images::Images>("images", &[], "List images"),
    INFO,
    DOCTOR,
    verb::<login::Login>("login", &[], "Authenticate to a registry"),
    verb::<login::Logout>("logout", &[], "Log out from a registry"),
    verb::<version::Version>("version", &[], "Show the version information"),
    verb::<serve::Serve>("serve", &[], "Run the engine for others, on a socket"),
    ATTACH,
    COMMIT,
    CP,
    CREATE,
    DIFF,
    EVENTS,
    EXPORT,
    HISTORY,
    IMPORT,
    verb::<inspect::Inspect>("inspect", &[], "Return low-level information on objects"),
    KILL,
    LOAD,
    LOGS,
    PAUSE,
    PORT,
    RENAME,
    RESTART,
    verb::<rm::Rm>("rm", &[], "Remove one or more containers"),
    verb::<rmi::Rmi>("rmi", &[], "Remove one or more images"),
    SAVE,
    START,
    STATS,
    STOP,
    TAG,
    TOP_PROCESSES,
    UNPAUSE,
    UPDATE,
    WAIT,
];

const CONTAINER: &[Verb] = &[
    ATTACH,
    COMMIT,
    CP,
    CREATE,
    DIFF,
    EXEC,
    EXPORT,
    verb::<inspect::InspectContainer>("inspect", &[], "Display detailed information on one or more containers"),
    KILL,
    LOGS,
    verb::<ps::Ps>("ls", &["list", "ps"], "List containers"),
    PAUSE,
    PORT,
    verb::<prune::PruneContainers>("prune", &[], "Remove all stopped containers"),
    RENAME,
    RESTART,
    verb::<rm::Rm>("rm", &["remove"], "Remove one or more containers"),
    RUN,
    START,
    STATS,
    STOP,
    TOP_PROCESSES,
    UNPAUSE,
    UPDATE,
    WAIT,
];

const IMAGE: &[Verb] = &[
    HISTORY,
    IMPORT,
    verb::<inspect::InspectImage>("inspect", &[], "Display detailed information on one or more images"),
    LOAD,
    verb::<images::Images>("ls", &["list"], "List images"),
    verb::<prune::PruneImages>("prune", &[], "Remove unused images"),
    PULL,
    PUSH,
    verb::<rmi::Rmi>("rm", &["remove"], "Remove one or more images"),
    SAVE,
    TAG,
];

const SYSTEM: &[Verb] = &[
    verb::<check::Check>("check", &[], "Compare what should be there with what the host has"),
    verb::<df::Df>("df", &[], "Show disk usage"),
    DOCTOR,
    EVENTS,
    INFO,
    verb::<prune::PruneSystem>("prune", &[], "Remove unused data"),
];

const VOLUME: &[Verb] = &[
    verb::<volume::create::CreateVolume>("create", &[], "Create a volume"),
    verb::<volume::inspect::InspectVolume>("inspect", &[], "Display detailed information on one or more volumes"),
    verb::<volume::ls::Volumes>("ls", &["list"], "List volumes"),
    verb::<volume::prune::PruneVolumes>("prune", &[], "Remove unused local volumes"),
    verb::<volume::rm::RemoveVolumes>("rm", &["remove"], "Remove one or more volumes"),
];

const STORAGE: &[Verb] = &[
    verb::<storage::CheckStorage>("check", &[], "Compare every layer with what was recorded of it"),
    verb::<storage::Migrate>("migrate", &[], "Move images and containers to another storage driver"),
];

const CONFIG: &[Verb] = &[
    verb::<config::CheckConfig>("check", &[], "Say what is wrong with the configuration, or with a file of it"),
    verb::<config::ShowConfig>("show", &[], "Show the configuration that is in force on this host"),
];

/// Verbs under a common name.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) verbs: &'static [Verb],
    pub(super) define: fn(Command) -> Command,
}

/// `clap` takes a plain function, which a list of verbs cannot be handed to.
macro_rules! group {
    ($name:literal, $about:literal, $verbs:path) => {
        Group {
            name: $name,
            about: $about,
            verbs: $verbs,
            define: |command| with_verbs(command, $verbs, false, &|_| true),
        }
    };
}

pub(super) const GROUPS: &[Group] = &[
    group!("checkpoint", "Manage checkpoints", checkpoint::VERBS),
    group!("completion", "Generate the autocompletion script for the specified shell", completion::VERBS),
    group!("config", "Manage the configuration of the engine", CONFIG),
    group!("container", "Manage containers", CONTAINER),
    group!("emulation", "Manage the emulation of other architectures", emulation::VERBS),
    group!("image", "Manage images", IMAGE),
    group!("manifest", "Manage manifests and manifest lists", manifest::VERBS),
    group!("network", "Manage networks", network::VERBS),
    group!("storage", "Manage the storage of images and containers", STORAGE),
    group!("system", "Manage the engine", SYSTEM),
    group!("volume", "Manage volumes", VOLUME),
];

/// Roles of the program that people do not type.
pub(super) const HIDDEN: &[Verb] = &[
    verb::<hello::Hello>("hello", &[], "Say which isolation is seen from here"),
    #[cfg(feature = "manual")]
    verb::<super::manual::Manual>("manual", &[], "Write the manual pages"),
    verb::<reap::Reap>("monitor-reap", &[], "Remove a container that has ended"),
];
