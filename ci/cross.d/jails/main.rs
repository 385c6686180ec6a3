//! berth's lower half without its engine: says what this host can isolate and store with, and runs a container of an OCI
//! bundle by whatever backend is picked. It is what is built for FreeBSD, where the engine does not go yet, and works on Linux
//! too.
//!
//!     berth-jails                       the host, its storage drivers and its backends
//!     berth-jails BUNDLE [BACKEND]      a container of BUNDLE/config.json; its exit code

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use berth_arch::{Host, Probe};
use berth_backends::{Bundle, ContainerId, Lent, Registry, Sandbox, Stdio};
use oci_spec::runtime::Spec;
use rustix::event::{PollFd, PollFlags, Timespec};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    act(&arguments).unwrap_or_else(|error| {
        eprintln!("berth-jails: {error:#}");
        ExitCode::FAILURE
    })
}

fn act(arguments: &[String]) -> Result<ExitCode> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            report();
            Ok(ExitCode::SUCCESS)
        }
        [bundle] => run(Path::new(bundle), None),
        [bundle, backend] => run(Path::new(bundle), Some(backend)),
        _ => bail!("usage: berth-jails [BUNDLE [BACKEND]]"),
    }
}

fn report() {
    let host = Host::detect();
    println!("host: {}, {}, {}", host.operating_system, host.kernel.release, host.platform);
    println!("      {} processors, {} MiB, user {}", host.cpus, host.memory >> 20, host.user.uid);
    let root = std::env::temp_dir().join(format!("berth-jails-{}", std::process::id()));
    for (name, probe) in berth_fs_drivers::registry::report(&root) {
        line("storage driver", name, &probe.map(|found| found.join(", ")));
    }
    let _ = std::fs::remove_dir_all(&root);
    for backend in Registry::default().all() {
        line("backend", backend.name(), &backend.probe(&host).map(|isolation| format!("{isolation:?}")));
    }
}

fn line(what: &str, name: &str, probe: &Probe<String>) {
    match probe {
        Probe::Available { detail } => println!("{what} {name}: yes {detail}"),
        Probe::Unavailable { reason, hint } => {
            println!("{what} {name}: no, {reason}; {}", hint.as_deref().unwrap_or("-"))
        }
    }
}

fn run(folder: &Path, backend: Option<&str>) -> Result<ExitCode> {
    let folder = std::fs::canonicalize(folder).with_context(|| format!("find {}", folder.display()))?;
    let mut spec = Spec::load(folder.join("config.json")).context("read config.json")?;
    if let Some(root) = spec.root_mut() {
        let path: PathBuf = folder.join(root.path());
        root.set_path(path);
    }
    // Beside the bundle's own things, and gone with the container.
    let mount_point = folder.join(format!(".root-{}", std::process::id()));
    std::fs::create_dir(&mount_point).with_context(|| format!("create {}", mount_point.display()))?;
    let bundle =
        Bundle { mount_point: mount_point.clone(), rootfs: Vec::new(), lent: Lent::default(), spec, standalone: None };
    let answer = contain(&bundle, backend);
    let removed = std::fs::remove_dir(&mount_point).with_context(|| format!("remove {}", mount_point.display()));
    let code = answer?;
    removed?;
    Ok(code)
}

fn contain(bundle: &Bundle, backend: Option<&str>) -> Result<ExitCode> {
    let selection = Registry::default().select(&Host::detect(), backend)?;
    for refused in &selection.refused {
        eprintln!("passed over: {refused}");
    }
    eprintln!("backend: {}", selection.backend.name());
    let id: ContainerId = format!("jails-{}", std::process::id()).parse()?;
    let copy = |fd: &dyn AsFd| rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 3).context("duplicate a stream");
    let io = Stdio::Pipes {
        stdin: copy(&std::io::stdin())?,
        stdout: copy(&std::io::stdout())?,
        stderr: copy(&std::io::stderr())?,
    };
    let mut sandbox = selection.backend.create(&id, bundle, io)?;
    for warning in sandbox.warnings() {
        eprintln!("warning: {warning}");
    }
    let ended = sandbox.start().map_err(Into::into).and_then(|()| wait(&mut *sandbox));
    sandbox.delete()?;
    Ok(ended?.try_into().map_or(ExitCode::FAILURE, |code: u8| ExitCode::from(code)))
}

/// The exit code, or 128 and the signal.
fn wait(sandbox: &mut dyn Sandbox) -> Result<i32> {
    const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    loop {
        if let Some(status) = sandbox.try_wait()? {
            return Ok(status.code);
        }
        match sandbox.exit_fd() {
            Some(fd) => {
                let _ = rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], None);
            }
            // A kernel without pidfds.
            None => drop(rustix::event::poll(&mut [], Some(&TICK))),
        }
    }
}
