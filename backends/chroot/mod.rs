//! Containers of chroot(2): for hosts without namespaces, or without the right to make them.
//!
//! The steps are the namespace backend's (`super::namespace`). What differs is here: `level.rs` finds out what this host
//! lets us do, `mark.rs` tells a container's processes from all others, `processes.rs` lists and kills them, `place.rs`
//! takes off what was mounted on the host, `request.rs` judges the specification, and `sandbox.rs` is the container.
//!
//! Such a container has a file system, limits, capabilities, seccomp and an identity of its own. It has the host's
//! processes, network, host name and IPC: docs/backends.md says what that means.

mod level;
mod mark;
mod place;
mod processes;
mod request;
mod sandbox;

use std::path::{Path, PathBuf};

use berth_arch::kernel::cgroup::{Cgroups, Layout};
use berth_arch::{Host, Probe};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use self::level::Level;
use self::mark::Mark;
use self::sandbox::Container;
use crate::cgroup::Cgroup;
use crate::{Backend, Bundle, ContainerId, Error, Isolation, Result, Sandbox, SavedSandbox, Stdio, namespace};

pub(crate) const NAME: &str = "chroot";

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Chroot;

/// What is kept of a container of this backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    pub(crate) mark: Mark,
    /// Where its mounts are, if they are the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<PathBuf>,
}

impl Backend for Chroot {
    fn name(&self) -> &str {
        NAME
    }

    /// Forks once in the life of a process.
    fn probe(&self, host: &Host) -> Probe<Isolation> {
        let level = match level::find(host) {
            Probe::Available { detail } => detail,
            Probe::Unavailable { reason, hint } => return Probe::Unavailable { reason, hint },
        };
        let groups =
            Cgroups::detect().unwrap_or(Cgroups { layout: Layout::None, hierarchies: vec![], unmounted: vec![] });
        let controllers = namespace::controllers(&groups);
        Probe::available(Isolation {
            mount: level == Level::OwnMounts,
            pause: controllers.iter().any(|name| name == "freezer") || groups.layout == Layout::V2,
            checkpoint: false,
            stats: !controllers.is_empty(),
            controllers,
            capabilities: true,
            no_new_privileges: host.kernel.version >= (3, 5),
            seccomp: berth_arch::kernel::seccomp::probe().is_available(),
            ..Isolation::default()
        })
    }

    fn create(&self, id: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Box<dyn Sandbox>> {
        let own_mounts = match level::find(&Host::detect()) {
            Probe::Available { detail } => detail == Level::OwnMounts,
            Probe::Unavailable { reason, .. } => {
                return Err(Error::Unavailable(format!("the {NAME} backend cannot make a container: {reason}")));
            }
        };
        let (bundle, warnings) = request::judge(bundle, own_mounts)?;
        let place = if own_mounts { None } else { Some(place::of(&bundle.mount_point)?) };
        if let Some(place) = &place {
            // Of a creator that was killed.
            sweep(place)?;
        }
        let made = namespace::make(id, &bundle, io, own_mounts).map_err(in_our_name);
        let made = made.and_then(|made| Container::new(made, place.clone(), warnings));
        if made.is_err()
            && let Some(place) = &place
        {
            let _ = place::clear(place);
        }
        Ok(Box::new(made?))
    }

    fn load(&self, id: &ContainerId, saved: &SavedSandbox, spec: Option<&Spec>) -> Result<Box<dyn Sandbox>> {
        let Some(own) = saved.chroot.as_ref().filter(|_| saved.backend == NAME) else {
            return Err(Error::InvalidArgument(format!(
                "container {id}: backend {} made it, not {NAME}",
                saved.backend
            )));
        };
        let found = namespace::find(id, saved, spec, own.place.is_none())?;
        Ok(Box::new(Container::loaded(found, own.clone())))
    }

    fn clear(&self, id: &ContainerId, saved: &SavedSandbox) -> Result<()> {
        let groups = Cgroup::load(&saved.cgroups);
        groups.kill_all()?;
        if let Some(own) = &saved.chroot {
            processes::kill_all(&own.mark, None).map_err(|error| named(id, &error))?;
            own.place.as_deref().map_or(Ok(()), place::clear)?;
        }
        groups.delete()
    }
}

/// Ends what is left of a container whose mounts are the host's, at `mount_point`, if nobody lived to save more of it: its
/// processes and its mounts. Idempotent. The folder itself stays.
pub fn clear_place(mount_point: &Path) -> Result<()> {
    if !mount_point.exists() {
        return Ok(());
    }
    sweep(&place::of(mount_point)?)
}

/// Whoever has a root there has it mounted.
fn sweep(place: &Path) -> Result<()> {
    if place::is_mounted(place)? {
        processes::kill_all(&Mark::below(place), None)?;
    }
    place::clear(place)
}

/// Whether there is something for [`clear_place`] to take off.
pub fn has_mounts(mount_point: &Path) -> Result<bool> {
    place::is_mounted(&place::of(mount_point)?)
}

fn named(id: &ContainerId, error: &Error) -> Error {
    Error::Unavailable(format!("container {id}: {error}"))
}

/// The steps that the backends share speak of the other one.
fn in_our_name(error: Error) -> Error {
    let ours =
        |text: &str| text.replacen(&format!("the {} backend", namespace::NAME), &format!("the {NAME} backend"), 1);
    match error {
        Error::Unavailable(text) => Error::Unavailable(ours(&text)),
        Error::InvalidArgument(text) => Error::InvalidArgument(ours(&text)),
        other => other,
    }
}
