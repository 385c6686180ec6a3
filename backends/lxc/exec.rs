//! Further programs in a running container, brought in by `lxc-attach`.
//!
//! Of what it starts, only this process knows the end of a child, and `lxc-attach` gives an exit code alone. So it is sent away when it
//! has done its work, and its child becomes this process's, as an orphan does (PR_SET_CHILD_SUBREAPER, Linux 3.4).

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio as To};

use berth_arch::process;
use berth_arch::program::first_line;
use oci_spec::runtime::{Capability, Spec};

use super::role::{FURTHER, ROLE};
use super::sandbox::Container;
use super::tools::Tools;
use super::{PROGRAM_INSIDE, own_program};
use crate::namespace::foreign::{Further, Line};
use crate::namespace::setup;
use crate::namespace::task::{self, Streams, Task};
use crate::{Error, ExecChild, Result, Stdio};

pub(super) fn run(
    container: &Container,
    tools: &Tools,
    spec: &Spec,
    program: &oci_spec::runtime::Process,
    io: Stdio,
    preserved: Vec<OwnedFd>,
) -> Result<Box<dyn ExecChild>> {
    become_subreaper()?;
    let streams = Streams::of(&io);
    let further = Further::new(program, spec, io, preserved)?;
    let (mut ours, theirs) = task::pair().map_err(setup("make a socket pair"))?;
    let (line, end) = Line::pair()?;
    let lxcpath = container.folder.parent().unwrap_or(&container.folder);
    let mut command = Command::new(&tools.attach);
    command.arg("-P").arg(lxcpath).arg(format!("--name={}", container.name));
    if may_be_elevated(spec) {
        command.arg("--elevated-privileges=CAP");
    }
    command.args(["--", PROGRAM_INSIDE, ROLE, FURTHER]).env_clear();
    let mut attach = command
        .stdin(OwnedFd::from(theirs))
        .stdout(own_program(&container.folder)?)
        .stderr(To::piped())
        .spawn()
        .map_err(setup(format!("execute {}", tools.attach.display())))?;
    // The command holds copies of what it was given.
    drop(command);
    let met = task::meet(&ours, || false);
    // A process that it has entered the namespaces with, and perhaps not waited for yet.
    let helpers = process::children(attach.id() as i32).unwrap_or_default();
    let _ = attach.kill();
    let mut said = Vec::new();
    if met.is_err()
        && let Some(errors) = &mut attach.stderr
    {
        let _ = errors.read_to_end(&mut said);
    }
    let _ = attach.wait();
    for helper in helpers.into_iter().filter(|helper| met.as_ref().ok() != Some(helper)) {
        let _ = process::wait(helper);
    }
    let Ok(pid) = met else {
        return Err(Error::Setup {
            step: format!("bring a program into container {} by lxc-attach", container.name),
            source: std::io::Error::other(first_line(&said)),
        });
    };
    let task = Task::Further {
        process: Box::new(program.clone()),
        spec: Box::new(spec.clone()),
        devices_enforced: container.devices_enforced,
        streams,
    };
    let mut given = vec![end.as_fd()];
    given.extend(further.descriptors());
    // Into the groups of the first process: on v2 some versions have put it into one below.
    let moved = container.cgroup.entry_fds_beside(container.pid).and_then(|entries| {
        let enter = |entry| rustix::io::write(entry, pid.to_string().as_bytes()).map(drop);
        entries.iter().try_for_each(enter).map_err(setup("enter the control groups"))
    });
    let told = moved.and_then(|()| task::give(&mut ours, &task, &given).map_err(setup("tell a program what it is")));
    drop(given);
    drop((end, ours));
    if let Err(error) = told {
        let _ = process::wait(pid);
        return Err(error);
    }
    further.run(&line, pid)
}

fn become_subreaper() -> Result<()> {
    let this = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(this)).map_err(|_| {
        Error::Unavailable(
            "the lxc backend cannot run further programs: that takes Linux 3.4; use a newer kernel, or run the \
             program by the container's first process"
                .into(),
        )
    })
}

/// Whether the process may have all rights until it gives up those that the program is not to have. It is executed by a
/// name that the container's root could have made another's, and could be traced: not if the container may mount or trace.
fn may_be_elevated(spec: &Spec) -> bool {
    let capabilities = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    let bounding = capabilities.and_then(|sets| sets.bounding().as_ref());
    bounding.is_some_and(|set| !set.contains(&Capability::SysAdmin) && !set.contains(&Capability::SysPtrace))
}
