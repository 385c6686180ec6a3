//! The agent that decides about system calls (OCI runtime specification, "The Container Process State"): it listens on a
//! socket, and gets the filter's other end and what container that is.

use std::os::fd::OwnedFd;
use std::path::Path;

use berth_arch::fd::send_with;
use oci_spec::runtime::{ContainerProcessState, ContainerState, SECCOMP_FD_NAME, Spec, State};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, connect, socket_with};

use super::gate::with_address;
use super::process::setup;
use crate::{Error, Result};

/// Who a process belongs to.
pub(super) struct Of<'c> {
    pub(super) name: &'c str,
    pub(super) spec: &'c Spec,
    /// The OCI bundle's folder, where there is one.
    pub(super) bundle: Option<&'c Path>,
    /// The container's first process.
    pub(super) init: i32,
    pub(super) status: ContainerState,
}

/// Gives the agent its end for the process `pid`.
pub(super) fn hand_over(listener: &OwnedFd, of: &Of<'_>, pid: i32) -> Result<()> {
    let policy = of.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let path = policy.and_then(|policy| policy.listener_path().as_ref());
    let path = path.ok_or_else(|| Error::InvalidArgument("seccomp policy: it names no listenerPath".into()))?;
    let mut state = State::default();
    state.set_version(of.spec.version().clone()).set_id(of.name.to_owned()).set_status(of.status);
    state.set_pid(Some(of.init)).set_annotations(of.spec.annotations().clone());
    state.set_bundle(of.bundle.unwrap_or(Path::new("")).to_owned());
    let mut told = ContainerProcessState::default();
    told.set_version(of.spec.version().clone()).set_fds(vec![SECCOMP_FD_NAME.to_owned()]).set_pid(pid);
    told.set_metadata(policy.and_then(|policy| policy.listener_metadata().clone())).set_state(state);
    let step = || format!("hand the seccomp agent at {} its end", path.display());
    let text = serde_json::to_vec(&told).map_err(std::io::Error::from).map_err(setup(step()))?;

    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(setup(step()))?;
    with_address(path, |address| rustix::io::retry_on_intr(|| connect(&socket, address))).map_err(setup(step()))?;
    let mut sent = send_with(&socket, &text, listener).map_err(setup(step()))?;
    while sent < text.len() {
        sent += rustix::net::send(&socket, &text[sent..], SendFlags::NOSIGNAL).map_err(setup(step()))?;
    }
    Ok(())
}
