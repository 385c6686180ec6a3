//! Everything about one container, as Docker shows it.

use std::collections::HashMap;
use std::path::Path;

use berth_api::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, DriverData, MountPoint, NetworkSettings,
    PortBinding, PortMap,
};
use berth_fs_drivers::Access;
use berth_monitor::config::LogDriver;
use berth_monitor::{State, Status};

use super::record::Container;
use crate::networks::ports;
use crate::settings::{modes, mounts};
use crate::spec::files::FILES;
use crate::{Engine, Result, time};

impl Engine {
    /// `size`: compute SizeRw and SizeRootFs.
    pub fn inspect(&self, name: &str, size: bool) -> Result<ContainerInspectResponse> {
        let container = self.find(name)?;
        let state = self.state(&container)?;
        let folder = self.folder(&container);
        let file = |index: usize| {
            let path = folder.join(FILES[index].0);
            if path.exists() { path.to_string_lossy().into_owned() } else { String::new() }
        };
        let mut command = container.command().into_iter();
        let log = self.log_config(&container).ok().filter(|log| log.driver == LogDriver::JsonFile);
        let (size_rw, size_root_fs) = if size { self.sizes(&container)? } else { (None, None) };
        let mut host_config = container.host_config.clone();
        if let Some(sandbox) = &state.sandbox {
            host_config.runtime = Some(sandbox.backend.clone());
        }
        Ok(ContainerInspectResponse {
            id: Some(container.id.clone()),
            created: Some(time::rfc3339(container.created)),
            path: Some(command.next().unwrap_or_default()),
            args: Some(command.collect()),
            state: Some(wire_state(&state)),
            image: Some(container.image.clone()),
            hosts_path: Some(file(0)),
            hostname_path: Some(file(1)),
            resolv_conf_path: Some(file(2)),
            log_path: Some(log.map(|log| log.path.to_string_lossy().into_owned()).unwrap_or_default()),
            name: Some(format!("/{}", container.name)),
            restart_count: Some(state.restart_count.into()),
            driver: Some(self.driver().name().to_owned()),
            platform: Some("linux".to_owned()),
            mount_label: Some(String::new()),
            process_label: Some(String::new()),
            app_armor_profile: Some(String::new()),
            exec_ids: Some(self.exec_ids(&container)).filter(|ids| !ids.is_empty()),
            host_config: Some(host_config),
            graph_driver: Some(self.graph_driver(&container)),
            size_rw,
            size_root_fs,
            mounts: Some(self.mount_points(&container)),
            config: Some(container.config.clone()),
            network_settings: Some(self.network_settings(&container, &state)?),
            ..ContainerInspectResponse::default()
        })
    }

    pub(super) fn mount_points(&self, container: &Container) -> Vec<MountPoint> {
        mount_points(self, container)
    }

    /// Bytes: what the container wrote, and that with its image. None of one that is being removed.
    pub(super) fn sizes(&self, container: &Container) -> Result<(Option<i64>, Option<i64>)> {
        let Some(number) = container.layer else { return Ok((None, None)) };
        let own = match self.images().container_usage(number) {
            Ok(usage) => usage.bytes,
            Err(berth_image::Error::Driver(berth_fs_drivers::Error::NotFound(_))) => return Ok((None, None)),
            Err(error) => return Err(error.into()),
        };
        let image =
            container.image.parse().ok().and_then(|id| self.images().get(&id).ok()).map_or(0, |image| image.size);
        let bytes = |number: u64| i64::try_from(number).ok();
        Ok((bytes(own), bytes(own.saturating_add(image))))
    }

    /// Docker's names for the directories of an overlay.
    fn graph_driver(&self, container: &Container) -> DriverData {
        let mut data = HashMap::new();
        if let Ok(mounts) = self.rootfs(container, Access::ReadWrite)
            && let [mount] = mounts.as_slice()
        {
            let base = mount.base.as_deref().unwrap_or(Path::new("/"));
            let absolute = |name: &str| base.join(name).to_string_lossy().into_owned();
            for option in &mount.options {
                let (key, names) = match option.split_once('=') {
                    Some(("lowerdir", names)) => ("LowerDir", names),
                    Some(("upperdir", names)) => ("UpperDir", names),
                    Some(("workdir", names)) => ("WorkDir", names),
                    _ => continue,
                };
                let paths: Vec<_> = names.split(':').map(absolute).collect();
                data.insert(key.to_owned(), paths.join(":"));
            }
            if mount.fstype == "bind" {
                data.insert("UpperDir".to_owned(), absolute(&mount.source.to_string_lossy()));
            }
        }
        if let Some(map) = &container.users {
            data.insert("Owners".to_owned(), map.to_string());
        }
        if let Some(layer) = container.layer {
            data.insert("ID".to_owned(), layer.to_string());
        }
        DriverData { name: self.driver().name().to_owned(), data }
    }
}

pub(super) fn wire_state(state: &State) -> ContainerState {
    let status = match state.status {
        Status::Created => ContainerStateStatusEnum::CREATED,
        Status::Running => ContainerStateStatusEnum::RUNNING,
        Status::Paused => ContainerStateStatusEnum::PAUSED,
        Status::Restarting => ContainerStateStatusEnum::RESTARTING,
        Status::Exited => ContainerStateStatusEnum::EXITED,
        Status::Dead => ContainerStateStatusEnum::DEAD,
    };
    ContainerState {
        status: Some(status),
        running: Some(state.status.is_up()),
        paused: Some(state.status == Status::Paused),
        restarting: Some(state.status == Status::Restarting),
        oom_killed: Some(state.out_of_memory),
        dead: Some(state.status == Status::Dead),
        pid: Some(state.pid.into()),
        exit_code: Some(state.exit_code.into()),
        error: Some(state.error.clone()),
        started_at: Some(time::rfc3339(state.started_at)),
        finished_at: Some(time::rfc3339(state.finished_at)),
        health: None,
    }
}

/// Bind mounts and volumes; a tmpfs of `--mount` is among them and one of `--tmpfs` is not, as in Docker.
fn mount_points(engine: &Engine, container: &Container) -> Vec<MountPoint> {
    let host = &container.host_config;
    let in_mounts = |path: &Path| {
        host.mounts
            .iter()
            .flatten()
            .any(|mount| mount.target.as_deref().and_then(mounts::clean).as_deref() == Some(path))
    };
    let points = container.points().unwrap_or_default();
    let wire = |point: mounts::Point| {
        let destination = point.destination.to_string_lossy().into_owned();
        let common = MountPoint {
            destination: Some(destination),
            rw: Some(!point.read_only),
            mode: Some(point.mode),
            propagation: Some(String::new()),
            ..MountPoint::default()
        };
        match point.kind {
            mounts::Kind::Bind(bind) => Some(MountPoint {
                typ: Some("bind".to_owned()),
                source: Some(bind.source.to_string_lossy().into_owned()),
                propagation: Some(bind.propagation),
                ..common
            }),
            mounts::Kind::Tmpfs(_) if in_mounts(&point.destination) => {
                Some(MountPoint { typ: Some("tmpfs".to_owned()), source: Some(String::new()), ..common })
            }
            mounts::Kind::Tmpfs(_) => None,
            mounts::Kind::Volume(volume) => Some(MountPoint {
                typ: Some("volume".to_owned()),
                source: Some(engine.volume_source(container, &volume)),
                // As Docker has it for those that somebody named.
                mode: common.mode.filter(|mode| !mode.is_empty() || volume.anonymous).or(Some("z".to_owned())),
                name: Some(volume.name),
                driver: Some(volume.driver),
                ..common
            }),
        }
    };
    points.into_iter().filter_map(wire).collect()
}

impl Engine {
    fn network_settings(&self, container: &Container, state: &State) -> Result<NetworkSettings> {
        let running = state.status.is_up();
        let key = match state.pid {
            0 => String::new(),
            pid => format!("/proc/{pid}/ns/net"),
        };
        let networks = self.endpoint_settings(container, running)?;
        // Docker's name for it is of no use here; that there is one says that it runs.
        let id = networks.values().find_map(|end| end.endpoint_id.clone()).unwrap_or_default();
        Ok(NetworkSettings {
            sandbox_id: Some(id),
            sandbox_key: Some(key),
            ports: Some(if shows_ports(container, state) { self.port_map(container)? } else { HashMap::new() }),
            networks: Some(networks),
        })
    }

    /// What is exposed, and where it is public.
    fn port_map(&self, container: &Container) -> Result<PortMap> {
        let exposed = exposed_ports(container).iter();
        let mut map: PortMap = exposed.map(|port| (port.clone(), None)).collect();
        for lease in self.store().read(|connection| ports::of_container(connection, &container.id))? {
            let binding =
                PortBinding { host_ip: Some(lease.address.to_string()), host_port: Some(lease.port.to_string()) };
            let key = format!("{}/{}", lease.container_port, lease.protocol.name());
            map.entry(key).or_default().get_or_insert_default().push(binding);
        }
        Ok(map)
    }
}

/// Ports are shown while a container runs in networks of its own, or has leased them in the host's.
pub(super) fn shows_ports(container: &Container, state: &State) -> bool {
    let shown = |mode| matches!(mode, modes::Network::Named(_) | modes::Network::Host);
    state.status.is_up() && network_mode(container).is_some_and(shown)
}

/// What is shown though it is not public: nothing in the host's network.
pub(super) fn exposed_ports(container: &Container) -> &[String] {
    match network_mode(container) {
        Some(modes::Network::Host) => &[],
        _ => container.config.exposed_ports.as_deref().unwrap_or_default(),
    }
}

fn network_mode(container: &Container) -> Option<modes::Network> {
    modes::network(container.host_config.network_mode.as_deref().unwrap_or_default()).ok()
}
