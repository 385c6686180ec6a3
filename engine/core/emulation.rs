//! Images for other machines: how this host runs their programs, what a container needs for it, and the interpreters that
//! were installed for it.
//!
//! `emulation/` below the state folder has an interpreter by QEMU's name for the machine, a copy or a link. It says that
//! the machine is to be registered with the kernel, which forgets at each boot: the first container that needs it
//! after that registers it again.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use berth_api::emulation::{Emulator, How};
use berth_api::models::{ContainerCreateBody, HostConfig};
use berth_arch::emulation::{self, MACHINES, Machine, Support};
use berth_arch::host::Platform;
use berth_fs_drivers::Access;
use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{Mode, OFlags};

use crate::spec::init;
use crate::{Container, Engine, Error, RemoveOptions, Result};

/// berth in the role that starts a program by the interpreter, and the interpreter, where nothing is registered.
const STARTER: &str = "/sbin/berth-emulate";
const INTERPRETER: &str = "/sbin/berth-qemu";

/// Where images have QEMU.
const PLACES: &[&str] = &["usr/bin", "bin", "usr/local/bin", "."];
/// Bytes that an image's QEMU may have; a build with everything in has some 10 MiB.
const MOST: u64 = 256 << 20;

/// Where an interpreter comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// QEMU as this host has it installed.
    Host,
    File(PathBuf),
    /// An image that has it.
    Image(String),
}

/// A QEMU that is to be kept.
enum Interpreter {
    OnTheHost(PathBuf),
    /// Out of an image, in the folder of those that are kept.
    Copy(PathBuf),
}

/// What a container of a foreign image has beside the others.
#[derive(Debug, Default)]
pub(crate) struct Emulation {
    /// Files of the host, and where they are inside.
    files: Vec<(PathBuf, PathBuf)>,
    /// Its programs are started by the interpreter and not by the kernel.
    started: bool,
}

impl Engine {
    /// What the container needs, or why its programs do not run here. Registers what was installed and is not
    /// registered any more.
    pub(crate) fn emulation(&self, container: &Container) -> Result<Emulation> {
        let Some(machine) = container.machine() else { return Ok(Emulation::default()) };
        self.renew(machine);
        match emulation::support(machine, Some(&self.kept())) {
            Ok(Support::Direct) => Ok(Emulation::default()),
            Ok(Support::Registered(registration)) if registration.fixed => Ok(Emulation::default()),
            // It is looked for in the container's root.
            Ok(Support::Registered(registration)) => {
                let path = registration.interpreter;
                emulation::of_static_program(&path).map_err(|reason| {
                    let remedy = format!("run `berth emulation install {}`", machine.architecture);
                    cannot_run(machine, &format!("the interpreter that is registered does not do: {reason}"), &remedy)
                })?;
                Ok(Emulation { files: vec![(path.clone(), path)], started: false })
            }
            Ok(Support::Interpreter(path)) => Ok(Emulation {
                files: vec![(path, INTERPRETER.into()), (init::source(), STARTER.into())],
                started: true,
            }),
            Err((reason, remedy)) => Err(cannot_run(machine, &reason, &remedy)),
        }
    }

    /// What whoever makes a container for the machine should know.
    pub(crate) fn emulation_warning(&self, machine: &Machine) -> Option<String> {
        match emulation::support(machine, Some(&self.kept())) {
            Ok(Support::Interpreter(_)) if self.is_kept(machine) => None,
            Ok(Support::Interpreter(path)) => Some(format!(
                "no interpreter is registered with the kernel for {0} programs: {1} starts the container's program, which \
                cannot start other {0} programs; `berth emulation install {0}` mends that",
                machine.architecture,
                path.display()
            )),
            Ok(_) => None,
            Err((reason, remedy)) => Some(cannot_run(machine, &reason, &remedy).to_string()),
        }
    }

    /// By machine, this one's own first.
    pub fn emulators(&self) -> Vec<Emulator> {
        let mut list: Vec<_> = MACHINES.iter().map(|machine| self.emulator(machine)).collect();
        list.sort_by_key(|emulator| emulator.how);
        list
    }

    fn emulator(&self, machine: &Machine) -> Emulator {
        let kept = self.kept();
        let support = emulation::support(machine, Some(&kept));
        let mut found = Emulator {
            architecture: machine.architecture.to_owned(),
            installed: self.is_kept(machine),
            ..Emulator::default()
        };
        match support {
            Ok(Support::Direct) if machine.architecture == emulation::own() => found.how = How::Native,
            Ok(Support::Direct) => found.how = How::Kernel,
            Ok(Support::Registered(registration)) => {
                found.how = How::Registered;
                found.interpreter = Some(registration.interpreter.display().to_string());
                found.registration = Some(registration.name);
                found.fixed = registration.fixed;
            }
            Ok(Support::Interpreter(path)) => {
                found.how = How::Interpreter;
                found.interpreter = Some(path.display().to_string());
            }
            Err((reason, remedy)) => (found.reason, found.remedy) = (Some(reason), Some(remedy)),
        }
        found
    }

    /// Keeps an interpreter for each machine and registers it. `architectures`: none means all that one is found for.
    /// `from`: a file on this host, or an image that has QEMU; else the host's QEMU is taken.
    pub fn install_emulation(&self, architectures: &[String], from: &Source) -> Result<Vec<Emulator>> {
        let mut machines = named(architectures)?;
        let all = machines.is_empty();
        if all {
            machines.extend(MACHINES.iter().filter(|machine| machine.architecture != emulation::own()));
        }
        if let Source::File(_) = from
            && (all || machines.len() > 1)
        {
            return Err(Error::invalid("a file of QEMU emulates one architecture: name it"));
        }
        machines.retain(|machine| !emulation::runs_directly(machine.architecture));
        let mut interpreters = Vec::new();
        for &machine in &machines {
            match self.interpreter(machine, from) {
                Ok(interpreter) => interpreters.push((machine, interpreter)),
                // Of all, those that there is a QEMU for.
                Err(Error::Unavailable(_)) if all => {}
                Err(error) => return Err(error),
            }
        }
        if interpreters.is_empty() && all {
            return Err(Error::Unavailable(
                "emulation: no static QEMU was found; install Debian's qemu-user-static, or name an image that has one by \
                 --image"
                    .to_owned(),
            ));
        }
        for (machine, interpreter) in &interpreters {
            self.keep(machine, interpreter)?;
        }
        Ok(interpreters.iter().map(|(machine, _)| self.emulator(machine)).collect())
    }

    /// Nothing is changed yet.
    fn interpreter(&self, machine: &'static Machine, from: &Source) -> Result<Interpreter> {
        match from {
            Source::Host => {
                let found = emulation::interpreter(machine, None);
                let unavailable = |(reason, remedy): (String, String)| {
                    Error::Unavailable(format!("emulation of {}: {reason}; {remedy}", machine.architecture))
                };
                found.map(Interpreter::OnTheHost).map_err(unavailable)
            }
            Source::File(path) => {
                let whole = fs::canonicalize(path);
                let whole = whole.map_err(|error| Error::invalid(format!("emulation: {}: {error}", path.display())))?;
                fit(&whole).map(|()| Interpreter::OnTheHost(whole))
            }
            Source::Image(image) => {
                let folder = self.kept();
                berth_store::create_private(&folder).map_err(Error::io("create", &folder))?;
                let copy = folder.join(format!(".{}.copy", machine.qemu));
                let _ = fs::remove_file(&copy);
                let made = self.copy_from_image(machine, image, &copy).and_then(|()| fit(&copy));
                made.inspect_err(|_| drop(fs::remove_file(&copy)))?;
                Ok(Interpreter::Copy(copy))
            }
        }
    }

    /// What cannot be registered is taken back, unless another one was there before.
    fn keep(&self, machine: &Machine, interpreter: &Interpreter) -> Result<()> {
        let folder = self.kept();
        berth_store::create_private(&folder).map_err(Error::io("create", &folder))?;
        let place = folder.join(machine.qemu);
        let was_kept = self.is_kept(machine);
        match interpreter {
            Interpreter::Copy(copy) => fs::rename(copy, &place),
            Interpreter::OnTheHost(path) => {
                let link = folder.join(format!(".{}.link", machine.qemu));
                let _ = fs::remove_file(&link);
                symlink(path, &link).and_then(|()| fs::rename(&link, &place))
            }
        }
        .map_err(Error::io("write", &place))?;
        self.register(machine).inspect_err(|_| {
            if !was_kept {
                let _ = fs::remove_file(&place);
            }
        })
    }

    /// Takes away what was installed, and its registration. What others registered stays.
    pub fn remove_emulation(&self, architectures: &[String]) -> Result<Vec<String>> {
        let mut machines = named(architectures)?;
        if machines.is_empty() {
            // What is kept may be a link to what is no longer there.
            let is_ours = |machine: &&Machine| {
                self.kept().join(machine.qemu).symlink_metadata().is_ok()
                    || emulation::is_registered(&registered_name(machine))
            };
            machines.extend(MACHINES.iter().filter(is_ours));
        }
        let mut removed = Vec::new();
        for machine in machines {
            let place = self.kept().join(machine.qemu);
            let was_kept = match fs::remove_file(&place) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(Error::io("remove", &place)(error)),
            };
            let was_registered = emulation::is_mounted()
                && emulation::unregister(&registered_name(machine)).map_err(cannot_register(machine))?;
            if !was_kept && !was_registered {
                let other = emulation::registration(machine);
                return Err(Error::NotFound(match other {
                    Some(other) => format!(
                        "emulation of {} is not berth's: it is registered as {}; whoever did that can remove it",
                        machine.architecture, other.name
                    ),
                    None => format!("emulation of {} is not installed", machine.architecture),
                }));
            }
            removed.push(machine.architecture.to_owned());
        }
        Ok(removed)
    }

    fn kept(&self) -> PathBuf {
        self.paths().emulation()
    }

    fn is_kept(&self, machine: &Machine) -> bool {
        self.kept().join(machine.qemu).exists()
    }

    /// What fails here is seen by whoever looks how the machine's programs run.
    fn renew(&self, machine: &Machine) {
        if self.is_kept(machine)
            && emulation::registration(machine).is_none()
            && let Err(error) = self.register(machine)
        {
            tracing::warn!("register the interpreter for {} again: {error}", machine.architecture);
        }
    }

    /// Engines do the same at the same time: the later one replaces what it finds by the same.
    fn register(&self, machine: &Machine) -> Result<()> {
        let path = self.kept().join(machine.qemu);
        // What is registered is what `ls` shows, and outlives this state's folder.
        let path = fs::canonicalize(&path).map_err(Error::io("resolve", &path))?;
        self.mount_registrations()?;
        emulation::register(&registered_name(machine), machine, &path).map_err(cannot_register(machine))
    }

    /// Makes it so that this user's registrations can be made. An ordinary user's are those of the engine's user namespace,
    /// which hide the host's: those are made again in it.
    fn mount_registrations(&self) -> Result<()> {
        if emulation::is_open() {
            return Ok(());
        }
        let earlier = MACHINES.iter().filter_map(|machine| Some((machine, emulation::registration(machine)?)));
        let earlier: Vec<_> = earlier.collect();
        emulation::mount().map_err(|error| {
            let remedy = match self.host().user.in_user_namespace {
                true => "in a user namespace that needs Linux 6.7; the host's root can do it for all",
                false => "that needs root and CONFIG_BINFMT_MISC (modprobe binfmt_misc)",
            };
            Error::Unavailable(format!("emulation: mount binfmt_misc: {error}; {remedy}"))
        })?;
        for (machine, registration) in earlier {
            if let Err(error) = emulation::register(&registration.name, machine, &registration.interpreter) {
                tracing::warn!("register {} again: {error}", registration.name);
            }
        }
        Ok(())
    }

    /// Looks for QEMU where images have it: `/usr/bin/qemu-aarch64-static`, `/usr/bin/qemu-aarch64`, or in the root.
    fn copy_from_image(&self, machine: &Machine, image: &str, to: &Path) -> Result<()> {
        // Its files are looked at; none of it runs, as whoever.
        let host_config = HostConfig { userns_mode: Some("host".to_owned()), ..HostConfig::default() };
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(vec!["-".to_owned()]),
            host_config: Some(host_config),
            ..ContainerCreateBody::default()
        };
        let made = self.create(None, None, body)?;
        let container = self.find(&made.id)?;
        let names = [format!("qemu-{}-static", machine.qemu), format!("qemu-{}", machine.qemu)];
        let copied = self.in_root(&container, Access::ReadOnly, |root| {
            let places = PLACES.iter().flat_map(|folder| names.iter().map(move |name| Path::new(folder).join(name)));
            for place in places {
                match root.open_at(&place, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
                    Ok(file) => return copy(file.into(), to).map(|()| true),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(Error::io("open", &place)(error)),
                }
            }
            Ok(false)
        });
        if let Err(left) = self.remove(&made.id, RemoveOptions::default()) {
            tracing::warn!("remove the container that showed {image}: {left}");
        }
        match copied? {
            true => Ok(()),
            false => Err(Error::Unavailable(format!(
                "emulation of {}: the image {image} has no {} in {}; name another one",
                machine.architecture,
                names.join(" and no "),
                PLACES.join(", ")
            ))),
        }
    }
}

impl Container {
    /// Of an image for another machine than this one.
    fn machine(&self) -> Option<&'static Machine> {
        foreign(self.platform.as_deref()?)
    }
}

/// The machine of a platform (`linux/arm64/v8`) that is not this one's.
pub(crate) fn foreign(platform: &str) -> Option<&'static Machine> {
    let architecture = platform.split('/').nth(1)?;
    Machine::find(architecture).filter(|machine| machine.architecture != emulation::own())
}

impl Emulation {
    /// Adds what is mounted, and the starter before the program. `has_init`: the program stands behind one and `--`.
    pub(crate) fn apply(self, spec: &mut Spec, has_init: bool) -> Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        for (source, inside) in self.files {
            mounts.push(crate::spec::program_mount(&inside, &source)?);
        }
        spec.set_mounts(Some(mounts));
        if self.started
            && let Some(process) = spec.process_mut()
        {
            let mut args = process.args().clone().unwrap_or_default();
            args.insert(if has_init { 2 } else { 0 }, STARTER.to_owned());
            process.set_args(Some(args));
        }
        Ok(())
    }
}

/// The command of an execution in a container with this spec.
pub(crate) fn execution(spec: &Spec, mut command: Vec<String>) -> Vec<String> {
    let starter = |mount: &Mount| mount.destination() == Path::new(STARTER);
    if spec.mounts().iter().flatten().any(starter) {
        command.insert(0, STARTER.to_owned());
    }
    command
}

fn copy(file: fs::File, to: &Path) -> Result<()> {
    let information = file.metadata().map_err(Error::io("look at", to))?;
    if !information.is_file() || information.len() > MOST {
        return Err(Error::invalid("the image's QEMU is no plain file, or larger than 256 MiB"));
    }
    let written = fs::File::create_new(to).and_then(|mut copy| {
        io::copy(&mut file.take(MOST), &mut copy)?;
        copy.set_permissions(fs::Permissions::from_mode(0o755))?;
        copy.sync_all()
    });
    written.map_err(Error::io("write", to))
}

/// That the program emulates, and can be used in every root. Its name does not say which machine's programs it runs.
fn fit(path: &Path) -> Result<()> {
    let machine =
        emulation::of_static_program(path).map_err(|reason| Error::invalid(format!("emulation: {reason}")))?;
    if machine.architecture == emulation::own() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "emulation: {} is a program for {}, and this host runs {}",
        path.display(),
        machine.architecture,
        emulation::own()
    )))
}

fn named(architectures: &[String]) -> Result<Vec<&'static Machine>> {
    let mut machines = Vec::new();
    for name in architectures.iter().filter(|name| *name != "all") {
        // QEMU's own names too, beside those of platforms.
        let platform = || name.parse::<Platform>().ok().and_then(|platform| Machine::find(&platform.architecture));
        machines.push(Machine::find(name).or_else(platform).ok_or_else(|| {
            let known: Vec<_> = MACHINES.iter().map(|machine| machine.architecture).collect();
            Error::invalid(format!("unknown architecture {name:?}; known are {}", known.join(", ")))
        })?);
    }
    Ok(machines)
}

fn registered_name(machine: &Machine) -> String {
    format!("berth-{}", machine.qemu)
}

fn cannot_register(machine: &Machine) -> impl FnOnce(io::Error) -> Error {
    let architecture = machine.architecture;
    move |error| {
        let remedy = if error.kind() == io::ErrorKind::PermissionDenied { "; only root can" } else { "" };
        Error::Unavailable(format!("emulation of {architecture}: register the interpreter: {error}{remedy}"))
    }
}

fn cannot_run(machine: &Machine, reason: &str, remedy: &str) -> Error {
    let (wanted, own) = (machine.architecture, emulation::own());
    Error::Unavailable(format!(
        "the image is for linux/{wanted} and this host runs linux/{own}: {reason}. Remedy: {remedy}"
    ))
}
