//! The bundle: a folder with `config.json`, and the root it names.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use berth_backends::{ContainerId, Lent, Standalone};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

/// What is read from a bundle, with every path made absolute.
pub(crate) struct Bundle {
    pub(crate) folder: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) spec: Spec,
}

/// How callers want a container to be made.
#[derive(clap::Args)]
pub(crate) struct Making {
    /// The bundle's folder
    #[arg(short, long, value_name = "FOLDER", default_value = ".")]
    pub(crate) bundle: PathBuf,
    /// Write the process number of the container's first process to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,
    /// Socket to which the terminal's controlling side is sent
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,
    /// Pass on so many descriptors from 3 on
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) preserve_fds: usize,
    /// Move the root over the host's instead of exchanging them, for a host that runs from its initramfs
    #[arg(long)]
    pub(crate) no_pivot: bool,
    /// Stay in the caller's session keyring
    #[arg(long)]
    pub(crate) no_new_keyring: bool,
}

impl Bundle {
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.canonicalize().with_context(|| format!("find the bundle {}", folder.display()))?;
        let path = folder.join("config.json");
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let mut spec: Spec = serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()))?;
        let version = spec.version();
        ensure!(version.starts_with("1."), "config.json: ociVersion {version:?}: versions 1.x are known");
        let root = spec.root().as_ref().context("config.json: it names no root")?;
        let rootfs = folder.join(root.path());
        let rootfs = rootfs.canonicalize().with_context(|| format!("find the root {}", rootfs.display()))?;
        ensure!(rootfs.is_dir(), "the root {} is not a folder", rootfs.display());
        ensure!(rootfs != Path::new("/"), "the root is the host's own; name a folder");
        if let Some(root) = spec.root_mut() {
            root.set_path(rootfs.clone());
        }
        for mount in spec.mounts_mut().iter_mut().flatten() {
            let bind = mount.options().iter().flatten().any(|word| matches!(word.as_str(), "bind" | "rbind"));
            let relative = mount.source().as_ref().filter(|source| source.is_relative()).cloned();
            if let (true, Some(source)) = (bind || mount.typ().as_deref() == Some("bind"), relative) {
                mount.set_source(Some(folder.join(source)));
            }
        }
        Ok(Self { folder, rootfs, spec })
    }

    /// Names the container's group, if the specification does not. With `--systemd-cgroup`, cgroupsPath is a unit's
    /// name; its group is made like any other, without systemd.
    pub(crate) fn name_group(&mut self, context: &crate::Context, id: &ContainerId) -> anyhow::Result<()> {
        let linux = self.spec.linux_mut().get_or_insert_default();
        let path = linux.cgroups_path().as_ref().and_then(|path| path.to_str()).unwrap_or_default();
        let name = context.root.group(id)?;
        let usual = match (path, context.systemd_cgroup) {
            ("", true) => format!("system.slice:berth:{name}"),
            ("", false) => format!("/berth-oci/{name}"),
            (path, true) if path.split(':').count() != 3 => {
                bail!("--systemd-cgroup: cgroupsPath {path:?} is not of the form slice:prefix:name")
            }
            _ => return Ok(()),
        };
        linux.set_cgroups_path(Some(usual.into()));
        Ok(())
    }

    /// For the backend, with the container's folder.
    pub(crate) fn for_backend(
        &self,
        state: &Path,
        gate: PathBuf,
        making: &Making,
        preserved: Vec<OwnedFd>,
    ) -> anyhow::Result<berth_backends::Bundle> {
        let namespaces = self.spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        let mapped = namespaces.into_iter().flatten().any(|one| one.typ() == LinuxNamespaceType::User);
        // Hooks that look for the root find it by the bundle's name for it, unless its users may not go there.
        let mount_point = if mapped { state.join("rootfs") } else { self.rootfs.clone() };
        if mapped {
            std::fs::create_dir(&mount_point).with_context(|| format!("create {}", mount_point.display()))?;
        }
        Ok(berth_backends::Bundle {
            mount_point,
            rootfs: Vec::new(),
            lent: Lent::default(),
            spec: self.spec.clone(),
            standalone: Some(Standalone {
                folder: self.folder.clone(),
                gate,
                preserved: Lent::new(preserved),
                keep_keyring: making.no_new_keyring,
                no_pivot: making.no_pivot,
            }),
        })
    }
}
