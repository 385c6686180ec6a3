//! Volumes at a container's start and end.
//!
//! A local volume with a file system of its own is mounted by the container's monitor, in a mount namespace that ends
//! with it. A plugin mounts on the host and has to be told when the container has ended: what it was asked for is written
//! to the container's run folder before it is asked, so that whoever finds an ended container can tell it.

use std::path::{Path, PathBuf};

use berth_arch::mount::Mount;
use berth_arch::root_dir::RootDir;
use berth_monitor::config::VolumeUse;
use serde::{Deserialize, Serialize};

use super::local::{self, Backing};
use super::record::Volume;
use super::settle::volumes_of;
use crate::settings::mounts::Point;
use crate::settings::volumes::{LOCAL, VolumeMount};
use crate::{Container, Engine, Error, Result};

/// In the container's run folder: what plugins have mounted for it.
const FILE: &str = "volumes.json";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Held {
    volume: String,
    driver: String,
    /// Empty until the plugin has answered.
    path: PathBuf,
}

/// What a container's volumes come to at a start.
#[derive(Debug, Default)]
pub(crate) struct Mounted {
    places: Vec<(String, Place)>,
    /// For the monitor to mount before anything else.
    pub mounts: Vec<Mount>,
    /// For the events at its end.
    pub uses: Vec<VolumeUse>,
    /// Whether plugins have to hear of its end.
    pub by_plugins: bool,
}

/// Where a volume is on the host, or in the monitor's view of it, and further words of its mount.
#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
    words: Vec<String>,
    /// Whether it is there already.
    seen: bool,
}

impl Mounted {
    /// Source and options of the bind mount.
    pub(crate) fn bind(&self, point: &Point, volume: &VolumeMount) -> Result<(&Path, Vec<String>)> {
        let place = self.places.iter().find(|(name, _)| *name == volume.name).map(|(_, place)| place);
        let place = place.ok_or_else(|| Error::Internal(format!("volume {} is not mounted", volume.name)))?;
        let mut options = vec!["rbind".to_owned(), "rprivate".to_owned()];
        options.extend(place.words.iter().cloned());
        if point.read_only {
            options.push("ro".to_owned());
        }
        if let Some(subpath) = &volume.subpath {
            if place.seen {
                check_subpath(&place.path, subpath, &volume.name)?;
            }
            // Resolved by the backend when it is mounted: another container may exchange what is there meanwhile.
            options.push(format!("{}{subpath}", berth_backends::SUBPATH));
        }
        Ok((&place.path, options))
    }
}

fn check_subpath(volume: &Path, subpath: &str, name: &str) -> Result<()> {
    let root = RootDir::open(volume).map_err(Error::io("open", volume))?;
    root.stat(Path::new(subpath)).map(drop).map_err(|error| {
        Error::invalid(format!(
            "cannot access path {subpath} in volume {name}: {error}; it has to be there before the start"
        ))
    })
}

impl Engine {
    /// Gets the volumes of a container ready, with the container's lock.
    pub(crate) fn mount_volumes(&self, container: &Container) -> Result<Mounted> {
        let mut mounted = Mounted::default();
        let Some(points) = &container.mounts else { return Ok(mounted) };
        // Of a run that nobody saw end.
        self.release_volumes(container);
        for (point, mount) in volumes_of(points) {
            let volume = self.find_volume(&mount.name)?;
            if !mounted.places.iter().any(|(name, _)| *name == volume.name) {
                let place = self.mount_volume(container, &volume, &mut mounted)?;
                mounted.places.push((volume.name.clone(), place));
                mounted.uses.push(VolumeUse { name: volume.name.clone(), driver: volume.driver.clone() });
            }
            self.emit_mount(container, &volume, point);
        }
        Ok(mounted)
    }

    fn mount_volume(&self, container: &Container, volume: &Volume, mounted: &mut Mounted) -> Result<Place> {
        let here = |path: PathBuf| Place { path, words: Vec::new(), seen: true };
        if !volume.is_local() {
            mounted.by_plugins = true;
            return self.mount_by_plugin(container, volume).map(here);
        }
        match local::backing(&volume.options)? {
            Backing::Folder => {
                self.finish_filling(volume)?;
                let path = self.data_folder(&volume.name);
                if !path.is_dir() {
                    self.make_volume_folder(volume, container.root_outside())?;
                }
                Ok(here(path))
            }
            Backing::Host { path, words } => {
                let wrong = |error: std::io::Error| {
                    Error::invalid(format!(
                        "failed to mount local volume {}: mount {}: {error}",
                        volume.name,
                        path.display()
                    ))
                };
                std::fs::metadata(&path).map_err(wrong)?;
                let words = words.into_iter().filter(|word| !matches!(word.as_str(), "bind" | "rbind")).collect();
                Ok(Place { path, words, seen: true })
            }
            Backing::FileSystem { kind, device, words } => {
                let path = self.run_folder(container).join("volumes").join(mounted.mounts.len().to_string());
                berth_store::create_private(&path).map_err(Error::io("create", &path))?;
                mounted.mounts.push(local::file_system(&kind, &device, &words, &path)?);
                Ok(Place { path, words: Vec::new(), seen: false })
            }
        }
    }

    fn mount_by_plugin(&self, container: &Container, volume: &Volume) -> Result<PathBuf> {
        let plugin = self.plugin(&volume.driver)?;
        let mut held = self.held(container);
        held.push(Held { volume: volume.name.clone(), driver: volume.driver.clone(), path: PathBuf::new() });
        self.note_held(container, &held)?;
        let path = plugin.mount(&volume.name, &container.id)?;
        if let Err(error) = std::fs::metadata(&path) {
            return Err(Error::Unavailable(format!(
                "plugin {} mounted volume {} at {}: {error}",
                volume.driver,
                volume.name,
                path.display()
            )));
        }
        if let Some(last) = held.last_mut() {
            last.path.clone_from(&path);
        }
        self.note_held(container, &held)?;
        Ok(path)
    }

    fn held_file(&self, container: &Container) -> PathBuf {
        self.run_folder(container).join(FILE)
    }

    fn held(&self, container: &Container) -> Vec<Held> {
        berth_store::read_json(&self.held_file(container)).ok().flatten().unwrap_or_default()
    }

    fn note_held(&self, container: &Container, held: &[Held]) -> Result<()> {
        if held.is_empty() {
            let _ = std::fs::remove_file(self.held_file(container));
            return Ok(());
        }
        Ok(berth_store::write_json(&self.held_file(container), &held, false)?)
    }

    /// With the lock of a container that does not run: tells plugins that it has ended. Idempotent. A plugin that does
    /// not hear it is told again before the next start.
    pub(crate) fn release_volumes(&self, container: &Container) {
        if !uses_plugins(container) {
            return;
        }
        let mut held = self.held(container);
        if held.is_empty() {
            return;
        }
        held.retain(|one| {
            let told = self.plugin(&one.driver).and_then(|plugin| plugin.unmount(&one.volume, &container.id));
            if let Err(error) = &told {
                tracing::warn!("unmount volume {} of container {}: {error}", one.volume, container.short_id());
            }
            told.is_err()
        });
        if let Err(error) = self.note_held(container, &held) {
            tracing::warn!("note what is mounted for container {}: {error}", container.short_id());
        }
    }

    /// What `inspect` shows as the source of a volume's mount.
    pub(crate) fn volume_source(&self, container: &Container, volume: &VolumeMount) -> String {
        let path = match volume.driver.as_str() {
            "" | LOCAL => self.data_folder(&volume.name),
            _ => {
                let held = self.held(container).into_iter().find(|one| one.volume == volume.name);
                held.map(|one| one.path).unwrap_or_default()
            }
        };
        path.display().to_string()
    }

    fn emit_mount(&self, container: &Container, volume: &Volume, point: &Point) {
        let attributes = [
            ("container", container.id.clone()),
            ("destination", point.destination.display().to_string()),
            ("driver", volume.driver.clone()),
            ("propagation", String::new()),
            ("read/write", (!point.read_only).to_string()),
        ];
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        self.emit("volume", "mount", &volume.name, attributes);
    }
}

pub(crate) fn uses_plugins(container: &Container) -> bool {
    volumes_of(container.mounts.as_deref().unwrap_or_default())
        .any(|(_, mount)| !matches!(mount.driver.as_str(), "" | LOCAL))
}

/// A volume for a look into a container that does not run (`cp`).
pub(crate) enum Glimpse {
    Path(PathBuf),
    FileSystem(Mount),
    /// With the driver's and the volume's name, for [`Engine::end_glimpse`].
    Plugin {
        path: PathBuf,
        driver: String,
        volume: String,
        id: String,
    },
}

impl Engine {
    /// `None` for what is empty at each start.
    pub(crate) fn glimpse(&self, mount: &VolumeMount) -> Result<Option<Glimpse>> {
        let volume = self.find_volume(&mount.name)?;
        if !volume.is_local() {
            let id = crate::containers::random_id()?;
            let path = self.plugin(&volume.driver)?.mount(&volume.name, &id)?;
            return Ok(Some(Glimpse::Plugin { path, driver: volume.driver, volume: volume.name, id }));
        }
        Ok(match local::backing(&volume.options)? {
            Backing::Folder => {
                self.finish_filling(&volume)?;
                Some(Glimpse::Path(self.data_folder(&volume.name)))
            }
            Backing::Host { path, .. } => Some(Glimpse::Path(path)),
            Backing::FileSystem { kind, .. } if kind == "tmpfs" || kind == "ramfs" => None,
            Backing::FileSystem { kind, device, words } => {
                Some(Glimpse::FileSystem(local::file_system(&kind, &device, &words, Path::new("/"))?))
            }
        })
    }

    pub(crate) fn end_glimpse(&self, glimpse: &Glimpse) {
        let Glimpse::Plugin { driver, volume, id, .. } = glimpse else { return };
        if let Err(error) = self.plugin(driver).and_then(|plugin| plugin.unmount(volume, id)) {
            tracing::warn!("unmount volume {volume}: {error}");
        }
    }
}

/// Opened inside the volume, whose links lead nowhere else; good as a source for a bind mount of the same thread.
pub(crate) fn open_subpath(volume: &Path, subpath: &str) -> Result<std::os::fd::OwnedFd> {
    let root = RootDir::open(volume).map_err(Error::io("open", volume))?;
    let path = Path::new(subpath);
    root.open_at(path, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).map_err(Error::io("open", path))
}
