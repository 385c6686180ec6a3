//! What the engine says about itself and its host, what everything takes, and what may go.

use std::collections::HashMap;

use berth_api::Filters;
use berth_api::models::{
    ContainerPruneResponse, ContainerSummary, ContainerSummaryStateEnum, LocalNodeState, PluginsInfo,
    RegistryServiceConfig, Runtime, SwarmInfo, SystemInfo, SystemInfoCgroupDriverEnum, SystemInfoCgroupVersionEnum,
    SystemVersion, SystemVersionComponents, SystemVersionPlatform,
};
use berth_arch::kernel::cgroup::{self, Layout};
use berth_backends::{AnyBackend, Isolation};
use berth_fs_drivers::registry::Refused;
use berth_image::{ImageUsage, LayerUsage};
use serde_json::{Value, json};

use crate::storage;
use crate::{Engine, EngineConfig, Error, ListOptions, RemoveOptions, Result, VolumeInfo};

/// Docker's answer where there is nothing to say.
const INDEX_SERVER: &str = "https://index.docker.io/v1/";

/// What everything takes. Kinds that were not asked for are empty.
#[derive(Debug, Default)]
pub struct DiskUsage {
    /// Bytes of all image layers, each once.
    pub layers: u64,
    pub images: Vec<ImageUsage>,
    /// What the storage driver keeps, if that was asked for.
    pub storage: Vec<LayerUsage>,
    /// Bytes that are free where it keeps it; what root alone may take does not count.
    pub free: u64,
    pub containers: Vec<ContainerSummary>,
    pub volumes: Vec<VolumeInfo>,
}

fn signed(number: impl TryInto<i64>) -> Option<i64> {
    Some(number.try_into().unwrap_or(i64::MAX))
}

impl Engine {
    pub fn version(&self) -> SystemVersion {
        let host = self.host();
        let build = &self.config().build;
        let details = [
            ("Os", "linux"),
            ("Arch", &host.platform.architecture),
            ("KernelVersion", &host.kernel.release),
            ("GitCommit", &build.commit),
            ("BuildTime", &build.date),
        ];
        let engine = SystemVersionComponents {
            name: "Engine".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            details: Some(details.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()),
        };
        SystemVersion {
            platform: Some(SystemVersionPlatform { name: "berth".to_owned() }),
            version: Some(engine.version.clone()),
            components: Some(vec![engine]),
            os: Some(host.platform.os.clone()),
            arch: Some(host.platform.architecture.clone()),
            kernel_version: Some(host.kernel.release.clone()),
            experimental: Some(true),
            git_commit: Some(build.commit.clone()),
            go_version: Some(String::new()),
            build_time: Some(build.date.clone()),
            ..SystemVersion::default()
        }
    }

    /// Docker's `SystemInfo`, and under `Berth` what Docker has no place for.
    pub fn info(&self) -> Result<Value> {
        let host = self.host();
        let config = self.config();
        let backends = &config.backends;
        let backend = backends.select(host, config.isolation.as_deref());
        let isolation = backend.as_ref().map(|selection| selection.isolation.clone()).unwrap_or_default();
        let picked = backend.as_ref().ok().map(|selection| selection.backend.name().to_owned());
        let layout = cgroup::probe();
        let has = |controller: &str| Some(isolation.controllers.iter().any(|name| name == controller));
        let states = self.states()?;
        let count =
            |wanted: &[ContainerSummaryStateEnum]| signed(states.iter().filter(|state| wanted.contains(state)).count());
        use ContainerSummaryStateEnum as State;
        let up = [State::RUNNING, State::RESTARTING];
        let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
        let mut warnings = warnings(&isolation);
        warnings.extend(single_user().map(|reason| format!("WARNING: {reason}")));
        warnings.extend(self.storage().caution.map(|caution| format!("WARNING: {caution}")));
        warnings.extend(self.storage().unusable.iter().map(|reason| format!("WARNING: {reason}")));
        if let Err(error) = &backend {
            warnings.push(format!("WARNING: no container can be started: {error}"));
        }
        let descriptors = std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default();
        let info = SystemInfo {
            id: Some(self.state_id()?),
            containers: signed(states.len()),
            containers_running: count(&up),
            containers_paused: count(&[State::PAUSED]),
            containers_stopped: signed(states.iter().filter(|s| !up.contains(s) && **s != State::PAUSED).count()),
            images: signed(self.images().list(&berth_image::Filter::default())?.len()),
            driver: Some(self.storage().name.to_owned()),
            driver_status: Some(self.driver_status()),
            docker_root_dir: Some(self.paths().state.display().to_string()),
            plugins: Some(PluginsInfo {
                volume: Some(self.volume_drivers()?),
                network: Some(crate::networks::DRIVERS.iter().map(|&name| name.to_owned()).collect()),
                authorization: None,
                log: Some(vec!["json-file".to_owned(), "none".to_owned()]),
            }),
            memory_limit: has("memory"),
            swap_limit: Some(swap_is_limited(&layout)),
            cpu_cfs_period: has("cpu"),
            cpu_cfs_quota: has("cpu"),
            cpu_shares: has("cpu"),
            cpu_set: has("cpuset"),
            pids_limit: has("pids"),
            oom_kill_disable: Some(oom_can_be_disabled(&layout)),
            ipv4_forwarding: Some(forwarding.trim() == "1"),
            debug: Some(false),
            nfd: signed(descriptors),
            n_goroutines: Some(0),
            n_events_listener: Some(0),
            system_time: Some(crate::time::rfc3339(crate::time::now())),
            logging_driver: Some(self.config().log_driver.clone()),
            cgroup_driver: Some(match &layout {
                berth_arch::Probe::Available { .. } => SystemInfoCgroupDriverEnum::CGROUPFS,
                berth_arch::Probe::Unavailable { .. } => SystemInfoCgroupDriverEnum::NONE,
            }),
            cgroup_version: layout.detail().map(|found| match found.layout {
                Layout::V2 => SystemInfoCgroupVersionEnum::_2,
                _ => SystemInfoCgroupVersionEnum::_1,
            }),
            kernel_version: Some(host.kernel.release.clone()),
            operating_system: Some(host.operating_system.to_string()),
            os_version: Some(String::new()),
            os_type: Some("linux".to_owned()),
            architecture: Some(rustix::system::uname().machine().to_string_lossy().into_owned()),
            ncpu: signed(host.cpus),
            mem_total: signed(host.memory),
            index_server_address: Some(INDEX_SERVER.to_owned()),
            registry_config: Some(RegistryServiceConfig {
                insecure_registry_cidrs: Some(
                    std::iter::once("127.0.0.0/8")
                        .chain(
                            self.config()
                                .registries
                                .insecure
                                .iter()
                                .map(String::as_str)
                                .filter(|name| name.contains('/')),
                        )
                        .map(str::to_owned)
                        .collect(),
                ),
                index_configs: Some(HashMap::new()),
                mirrors: self.config().registries.mirrors.get("docker.io").cloned().or(Some(Vec::new())),
            }),
            http_proxy: Some(String::new()),
            https_proxy: Some(String::new()),
            no_proxy: Some(String::new()),
            name: Some(host.hostname.clone()),
            labels: Some(Vec::new()),
            experimental_build: Some(true),
            server_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            runtimes: Some(backends.all().iter().map(described).collect()),
            default_runtime: picked.clone(),
            swarm: Some(SwarmInfo {
                local_node_state: Some(LocalNodeState::INACTIVE),
                control_available: Some(false),
                ..SwarmInfo::default()
            }),
            live_restore_enabled: Some(true),
            init_binary: Some("berth".to_owned()),
            security_options: Some(security(&isolation, &self.config())),
            warnings: Some(warnings),
            ..SystemInfo::default()
        };
        let encode = |error| Error::Internal(format!("encode the engine's description: {error}"));
        let mut value = serde_json::to_value(info).map_err(encode)?;
        let packets = self.packet_path_choice();
        value["Berth"] = json!({
            "IsolationBackend": picked,
            "Isolation": isolation,
            "RefusedBackends": backend.as_ref().map(|found| found.refused.clone()).unwrap_or_default(),
            "RefusedStorageDrivers": self.refused_drivers(),
            "StateRoot": self.paths().state,
            "RunRoot": self.paths().run,
            "PacketPath": packets.as_ref().map(|found| found.0.clone()).ok(),
            "RefusedPacketPaths": packets.as_ref().map(|found| found.1.clone()).unwrap_or_default(),
            "Strict": self.config().strict,
            "Host": host,
            "Pretending": berth_arch::pretend::FACILITIES.iter().filter(|name| berth_arch::pretend::without(name))
                .collect::<Vec<_>>(),
        });
        Ok(value)
    }

    /// Those that were tried when this engine chose, and those that come before the driver in the order of preference.
    fn refused_drivers(&self) -> Vec<Refused> {
        let storage = self.storage();
        let mut refused = storage.refused.clone();
        let passed = storage::passed_over(&self.paths().state, storage.name, self.asks_for_driver());
        let known = |name: &str| storage.refused.iter().any(|one| one.name == name);
        refused.extend(passed.into_iter().filter(|one| !known(one.name)));
        refused
    }

    /// Whether the configuration or the command line names storage drivers.
    pub(crate) fn asks_for_driver(&self) -> bool {
        self.config().storage_driver.is_some()
    }

    fn states(&self) -> Result<Vec<ContainerSummaryStateEnum>> {
        let all = self.list(&ListOptions { all: true, ..ListOptions::default() })?;
        Ok(all.into_iter().filter_map(|container| container.state).collect())
    }

    fn driver_status(&self) -> Vec<Vec<String>> {
        let pair = |name: &str, value: String| vec![name.to_owned(), value];
        let mut status = Vec::new();
        let mounts = berth_arch::mount::mounts().unwrap_or_default();
        let root = std::fs::canonicalize(&self.paths().state).unwrap_or_else(|_| self.paths().state.clone());
        if let Some(mount) = berth_arch::mount::find_mount(&mounts, &root) {
            status.push(pair("Backing Filesystem", mount.fstype.clone()));
        }
        let probe = berth_fs_drivers::registry::DRIVERS.iter().find(|entry| entry.name == self.storage().name);
        if let Some(berth_arch::Probe::Available { detail }) = probe.map(|entry| (entry.probe)(&self.paths().state)) {
            status.push(pair("Features", detail.join(", ")));
        }
        status.extend(self.images().driver().status().into_iter().map(|(name, value)| pair(name, value)));
        status
    }

    /// A name for this state that stays: made on the first call.
    fn state_id(&self) -> Result<String> {
        let mut random = [0u8; 16];
        berth_arch::random::fill(&mut random).map_err(Error::io("read", "/dev/urandom"))?;
        let number = u128::from_ne_bytes(random);
        let text = format!("{number:032x}");
        let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
        self.store().write(|transaction| {
            transaction.execute("INSERT OR IGNORE INTO meta VALUES ('id', ?1)", [parts.join("-")])?;
            Ok(transaction.query_row("SELECT value FROM meta WHERE key = 'id'", [], |row| row.get(0))?)
        })
    }

    /// `kinds`: `container`, `image`, ...; empty: all. `layers`: what each takes on the disk, too, for which the driver looks at
    /// every file.
    pub fn disk_usage(&self, kinds: &[String], layers: bool) -> Result<DiskUsage> {
        let wanted = |kind: &str| kinds.is_empty() || kinds.iter().any(|wanted| wanted == kind);
        let mut usage = DiskUsage::default();
        if wanted("image") {
            let images = self.images().disk_usage()?;
            (usage.layers, usage.images) = (images.layers, images.images);
        }
        if layers {
            usage.storage = self.images().layer_usage()?;
            let room = rustix::fs::statvfs(&self.paths().state).map_err(|error| Error::Io {
                action: "measure",
                path: self.paths().state.clone(),
                source: error.into(),
            })?;
            usage.free = room.f_bavail.saturating_mul(room.f_frsize);
        }
        if wanted("container") || wanted("image") {
            usage.containers = self.list(&ListOptions { all: true, size: true, ..ListOptions::default() })?;
        }
        if wanted("volume") {
            usage.volumes = self.volumes_usage()?;
        }
        Ok(usage)
    }

    /// Removes containers that do not run. Filters: `until`, `label`, `label!`.
    pub fn prune_containers(&self, filters: &Filters) -> Result<ContainerPruneResponse> {
        let invalid = |error: berth_api::query::InvalidQuery| Error::InvalidArgument(error.0);
        filters.expect(&["until", "label", "label!"]).map_err(invalid)?;
        let until = filters.get("until").first().map(|text| crate::parse_time(text)).transpose().map_err(invalid)?;
        let (mut deleted, mut reclaimed) = (Vec::new(), 0);
        for found in self.list(&ListOptions { all: true, size: true, ..ListOptions::default() })? {
            use ContainerSummaryStateEnum as State;
            let Some(id) = found.id else { continue };
            let labels = found.labels.unwrap_or_default();
            let ended = matches!(found.state, Some(State::CREATED | State::EXITED | State::DEAD));
            let created = found.created.unwrap_or_default().saturating_mul(1_000_000_000);
            let old = until.is_none_or(|until| created < until);
            if !ended || !old || !filters.allows_labels(|key| labels.get(key).map(String::as_str)) {
                continue;
            }
            match self.remove(&id, RemoveOptions::default()) {
                Ok(()) => {
                    reclaimed += found.size_rw.unwrap_or_default();
                    deleted.push(id);
                }
                // It was started, or removed by somebody else, in between.
                Err(Error::Conflict(_) | Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let attributes = [("reclaimed".to_owned(), reclaimed.to_string())];
        self.emit("container", "prune", "", attributes.into_iter().collect());
        Ok(ContainerPruneResponse {
            containers_deleted: (!deleted.is_empty()).then_some(deleted),
            space_reclaimed: Some(reclaimed),
        })
    }

    /// ID and name of the running containers on a network.
    pub fn containers_on_network(&self, network: &str) -> Result<Vec<(String, String)>> {
        let mut found = Vec::new();
        for container in self.containers()? {
            let on = container.host_config.network_mode.as_deref() == Some(network);
            if on && self.state(&container)?.status == berth_monitor::Status::Running {
                found.push((container.id, container.name));
            }
        }
        Ok(found)
    }
}

fn described(backend: &AnyBackend) -> (String, Runtime) {
    let (path, args) = match backend.runtime() {
        Some(runtime) => (runtime.path.display().to_string(), Some(runtime.args.clone())),
        None => ("berth".to_owned(), None),
    };
    (backend.name().to_owned(), Runtime { path: Some(path), runtime_args: args, status: None })
}

/// What containers of an engine without root lack, if no other users were given to it.
pub(crate) fn single_user() -> Option<String> {
    let reason = berth_rootless::inside()?.single()?;
    Some(format!("containers have only one user, root, and files of others become root's: {reason}"))
}

fn security(isolation: &Isolation, config: &EngineConfig) -> Vec<String> {
    let rootless = berth_rootless::inside().is_some();
    let options = [
        (isolation.seccomp, "name=seccomp,profile=builtin"),
        (isolation.cgroup_namespace, "name=cgroupns"),
        (rootless, "name=rootless"),
        (config.userns_remap.is_some() && !rootless, "name=userns"),
    ];
    options.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()).collect()
}

/// Docker's words for limits that are not to be had.
fn warnings(isolation: &Isolation) -> Vec<String> {
    let words = [
        ("memory", "No memory limit support"),
        ("cpu", "No cpu cfs quota support"),
        ("cpu", "No cpu cfs period support"),
        ("cpu", "No cpu shares support"),
        ("cpuset", "No cpuset support"),
        ("pids", "No pids limit support"),
        ("io", "No block I/O limit support"),
    ];
    let missing = |controller: &str| {
        let same = |name: &String| name == controller || (controller == "io" && name == "blkio");
        !isolation.controllers.iter().any(same)
    };
    words.iter().filter(|(name, _)| missing(name)).map(|(_, text)| format!("WARNING: {text}")).collect()
}

fn memory_file(layout: &berth_arch::Probe<cgroup::Cgroups>, name: &str) -> bool {
    let hierarchy = layout.detail().and_then(|found| found.with_controller("memory"));
    hierarchy.is_some_and(|memory| memory.mount_point.join(name).exists())
}

fn swap_is_limited(layout: &berth_arch::Probe<cgroup::Cgroups>) -> bool {
    match layout.detail().map(|found| found.layout) {
        // The root group has no such file on v2; every group below has it if the kernel counts swap.
        Some(Layout::V2) => std::path::Path::new("/proc/swaps").exists(),
        Some(_) => memory_file(layout, "memory.memsw.limit_in_bytes"),
        None => false,
    }
}

/// v1 alone has the switch.
fn oom_can_be_disabled(layout: &berth_arch::Probe<cgroup::Cgroups>) -> bool {
    memory_file(layout, "memory.oom_control")
}
