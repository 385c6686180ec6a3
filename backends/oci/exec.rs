//! Further programs in a running container.

use std::os::fd::OwnedFd;

use berth_arch::process::Process;

use super::sandbox::{Container, streams};
use super::{adapt, explain};
use crate::children::Child;
use crate::namespace::setup;
use crate::{Error, ExecChild, Result, Stdio};

/// What the runtime is given, and where it writes the process's number.
const PROCESS: &str = "exec.json";
const PID: &str = "exec.pid";

pub(super) fn run(
    container: &Container,
    process: &oci_spec::runtime::Process,
    io: Stdio,
    preserved: Vec<OwnedFd>,
) -> Result<Box<dyn ExecChild>> {
    let Container { backend, id, folder, init, .. } = container;
    if !preserved.is_empty() {
        return Err(Error::Unavailable(format!(
            "--preserve-fds: the {} backend passes no descriptors on; use the namespace backend",
            backend.name
        )));
    }
    let ended = || Error::NotFound(format!("container {id}: it is not running"));
    if container.status.is_some() || !init.is_alive() {
        return Err(ended());
    }
    let _ = std::fs::remove_file(folder.file(PID));
    folder.write(PROCESS, &adapt::process(process, &io))?;
    let mut call = backend.call()?.in_folder(folder.path());
    call.push("exec").push("--detach").push("--process").push(folder.file(PROCESS));
    call.push("--pid-file").push(folder.file(PID));
    let (streams, console) = streams(io, folder)?;
    if let Some((console, _)) = &console {
        call.push("--console-socket").push(console.name());
    }
    call.push(id.as_str());
    let answer = call.run_with(streams);
    let _ = std::fs::remove_file(folder.file(PROCESS));
    let answer = answer?;
    if !answer.status.success() {
        if !init.is_alive() {
            return Err(ended());
        }
        return Err(explain::process(&format!("{} exec", backend.name), &answer.reason(), process));
    }
    let pid = folder.read_pid(PID)?;
    let _ = std::fs::remove_file(folder.file(PID));
    let opened = Process::open(pid, None).map_err(setup("open the process"))?;
    let terminal = console.map(|(console, size)| console.receive(size)).transpose()?;
    Ok(Box::new(Child::new(opened, terminal)))
}
