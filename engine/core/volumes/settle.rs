//! What a container has mounted, settled when it is made: Docker's order of what wins over what.

use std::collections::BTreeMap;

use berth_api::models::{ContainerConfig, HostConfig, MountType};

use crate::containers::random_id;
use crate::settings::mounts::{self, Kind, Point};
use crate::settings::volumes::{self, ANONYMOUS, LOCAL, VolumeMount};
use crate::{Engine, Result};

impl Engine {
    /// Everything that is mounted, if that is more than `host` says by itself. Places of other containers (`VolumesFrom`)
    /// give way to `-v` and `--mount`, and the image's and `-v /PATH`'s anonymous volumes to all of these.
    pub(crate) fn settle_points(&self, config: &ContainerConfig, host: &HostConfig) -> Result<Option<Vec<Point>>> {
        if !asks_for_volumes(config, host) {
            return Ok(None);
        }
        let mut points = BTreeMap::new();
        for text in host.volumes_from.iter().flatten() {
            let (name, read_only) = volumes::from_container(text)?;
            for mut point in self.find(name)?.points()? {
                point.read_only |= read_only;
                match &mut point.kind {
                    // It was filled, if it was to be.
                    Kind::Volume(volume) => volume.no_copy = true,
                    Kind::Bind(_) => {}
                    // A tmpfs is each container's own.
                    Kind::Tmpfs(_) => continue,
                }
                points.insert(point.destination.clone(), point);
            }
        }
        for point in mounts::parse(host)? {
            points.insert(point.destination.clone(), point);
        }
        let driver = host.volume_driver.as_deref().unwrap_or_default();
        for path in config.volumes.iter().flatten() {
            let destination = mounts::destination(path)?;
            points.entry(destination.clone()).or_insert_with(|| Point {
                destination,
                kind: Kind::Volume(VolumeMount::anonymous(driver)),
                read_only: false,
                mode: String::new(),
            });
        }
        let mut points: Vec<Point> = points.into_values().collect();
        for point in &mut points {
            if let Kind::Volume(volume) = &mut point.kind
                && volume.name.is_empty()
            {
                volume.name = random_id()?;
                volume.labels.insert(ANONYMOUS.to_owned(), String::new());
            }
        }
        Ok(Some(points))
    }
}

/// Most containers do not, and pay no more than this for it.
fn asks_for_volumes(config: &ContainerConfig, host: &HostConfig) -> bool {
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    some(&config.volumes)
        || some(&host.volumes_from)
        || host.binds.iter().flatten().any(|bind| !bind.starts_with('/') || !bind.contains(':'))
        || host.mounts.iter().flatten().any(|mount| mount.typ == Some(MountType::VOLUME))
}

/// The volumes among `points`, each once.
pub(super) fn volumes_of(points: &[Point]) -> impl Iterator<Item = (&Point, &VolumeMount)> {
    points.iter().filter_map(|point| match &point.kind {
        Kind::Volume(volume) => Some((point, volume)),
        _ => None,
    })
}

/// The driver that a mount asks for.
pub(super) fn driver_of(wanted: &str) -> &str {
    if wanted.is_empty() { LOCAL } else { wanted }
}
