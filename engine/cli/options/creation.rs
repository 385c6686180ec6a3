//! From flags to the body of `POST /containers/create`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use berth_api::models::{
    ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig,
    NetworkingConfig, PortBinding, ResourcesBlkioWeightDevice, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
    ThrottleDevice,
};

use super::container::ContainerArgs;
use super::map::{labels, map};
use super::{bytes, duration, mount, names, network, ports};
use crate::commands::Exit;

/// A container to be made, and what the command line itself does about it.
pub(crate) struct Creation {
    pub(crate) body: ContainerCreateBody,
    pub(crate) name: Option<String>,
    pub(crate) platform: Option<String>,
    pub(crate) id_file: Option<PathBuf>,
    /// `always`, `missing` or `never`.
    pub(crate) pull: String,
    pub(crate) quiet: bool,
    /// Streams that the user wants to be attached to; all unset when it runs in the background.
    pub(crate) attached: Attached,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attached {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

const BARE_SYSTEM_PATHS: &str = "systempaths=unconfined";

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn each<T>(list: &[String], parse: impl Fn(&str) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    list.iter().map(|text| parse(text)).collect()
}

impl ContainerArgs {
    /// `detach`: whether `run -d` was asked for; `None` for `create`.
    pub(crate) fn creation(self, detach: Option<bool>) -> anyhow::Result<Creation> {
        let attached = self.attached(detach)?;
        let mut command = self.command.iter();
        let image = command.next().cloned().filter(|image| !image.is_empty()).context("invalid reference format")?;
        // No image begins with a dash: it is a flag that does not exist.
        ensure!(!image.starts_with('-'), "unknown flag: {}", image.split('=').next().unwrap_or(&image));
        let command: Vec<String> = command.cloned().collect();
        network::check_mac_address(self.mac_address.as_deref())?;
        let networks = self.networks()?;
        let network_mode = networks.first().map_or("default", |network| &network.name).to_owned();
        let (exposed, port_bindings) = self.ports()?;
        let (binds, anonymous) = self.volumes()?;
        let body = ContainerCreateBody {
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            user: self.user.clone(),
            attach_stdin: Some(attached.stdin),
            attach_stdout: Some(attached.stdout),
            attach_stderr: Some(attached.stderr),
            exposed_ports: some(exposed),
            tty: Some(self.tty),
            open_stdin: Some(self.interactive),
            stdin_once: Some(self.interactive && attached.stdin),
            env: some(self.environment()?),
            cmd: some(command),
            healthcheck: self.health()?,
            image: Some(image),
            volumes: some(anonymous),
            working_dir: self.workdir.clone(),
            entrypoint: self.entrypoint.clone().map(|program| vec![program]),
            labels: Some(self.labels()?),
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout,
            host_config: Some(self.host_config(binds, port_bindings, network_mode)?),
            networking_config: Some(self.networking(networks)?),
            ..ContainerCreateBody::default()
        };
        Ok(Creation {
            body,
            name: self.name,
            platform: self.platform,
            id_file: self.cidfile,
            pull: self.pull,
            quiet: self.quiet,
            attached,
        })
    }

    fn attached(&self, detach: Option<bool>) -> anyhow::Result<Attached> {
        if detach == Some(true) {
            if self.attach.is_empty() {
                return Ok(Attached::default());
            }
            let error = anyhow!("conflicting options: cannot specify both --attach and --detach");
            return Err(Exit { code: 1, error }.into());
        }
        let mut attached = Attached::default();
        if self.attach.is_empty() {
            attached = Attached { stdin: self.interactive, stdout: true, stderr: true };
        }
        for stream in &self.attach {
            match stream.to_ascii_lowercase().as_str() {
                "stdin" => attached.stdin = true,
                "stdout" => attached.stdout = true,
                "stderr" => attached.stderr = true,
                _ => bail!("invalid argument {stream:?} for -a: valid streams are STDIN, STDOUT and STDERR"),
            }
        }
        Ok(attached)
    }

    fn host_config(
        &self,
        binds: Vec<String>,
        port_bindings: HashMap<String, Option<Vec<PortBinding>>>,
        network_mode: String,
    ) -> anyhow::Result<HostConfig> {
        let restart_policy = restart_policy(&self.restart)?;
        ensure!(
            !self.rm || restart_policy.name == Some(RestartPolicyNameEnum::NO),
            "conflicting options: cannot specify both --restart and --rm"
        );
        Ok(HostConfig {
            cpu_shares: self.cpu_shares,
            memory: self.memory,
            cgroup_parent: self.cgroup_parent.clone(),
            blkio_weight: self.blkio_weight,
            blkio_weight_device: some(device_weights(&self.blkio_weight_device)?),
            blkio_device_read_bps: some(throttles(&self.device_read_bps, bytes::parse)?),
            blkio_device_write_bps: some(throttles(&self.device_write_bps, bytes::parse)?),
            blkio_device_read_iops: some(throttles(&self.device_read_iops, count)?),
            blkio_device_write_iops: some(throttles(&self.device_write_iops, count)?),
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cpu_realtime_period: self.cpu_rt_period,
            cpu_realtime_runtime: self.cpu_rt_runtime,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            devices: some(each(&self.device, device)?),
            device_cgroup_rules: some(self.device_cgroup_rule.clone()),
            memory_reservation: self.memory_reservation,
            memory_swap: self.memory_swap,
            memory_swappiness: self.memory_swappiness,
            nano_cpus: self.cpus,
            oom_kill_disable: self.oom_kill_disable.then_some(true),
            init: self.init.then_some(true),
            pids_limit: self.pids_limit,
            ulimits: some(each(&self.ulimit, ulimit)?),
            binds: some(binds),
            container_id_file: self.cidfile.as_ref().map(|path| path.display().to_string()),
            log_config: Some(HostConfigLogConfig {
                typ: Some(self.log_driver.clone().unwrap_or_default()),
                config: Some(pairs(&self.log_opt, "log option")?),
            }),
            network_mode: Some(network_mode),
            port_bindings: Some(port_bindings),
            restart_policy: Some(restart_policy),
            auto_remove: Some(self.rm),
            volume_driver: self.volume_driver.clone(),
            volumes_from: some(self.volumes_from.clone()),
            mounts: some(
                self.mount
                    .iter()
                    .map(|text| {
                        mount::parse(text).with_context(|| format!("invalid argument {text:?} for \"--mount\" flag"))
                    })
                    .collect::<anyhow::Result<_>>()?,
            ),
            console_size: berth_arch::terminal::size().map(|(columns, rows)| vec![rows.into(), columns.into()]),
            annotations: (!self.annotation.is_empty()).then(|| map(&self.annotation)),
            cap_add: some(self.cap_add.clone()),
            cap_drop: some(self.cap_drop.clone()),
            cgroupns_mode: self.cgroup_namespace()?,
            dns: some(each(&self.dns, names::server)?),
            dns_options: some(self.dns_option.clone()),
            dns_search: some(each(&self.dns_search, names::search_domain)?),
            extra_hosts: some(each(&self.add_host, names::extra_host)?),
            group_add: some(self.group_add.clone()),
            ipc_mode: self.ipc.clone(),
            links: some(each(&self.link, names::link)?),
            oom_score_adj: self.oom_score_adj,
            pid_mode: self.pid.clone(),
            privileged: Some(self.privileged),
            publish_all_ports: Some(self.publish_all),
            readonly_rootfs: Some(self.read_only),
            security_opt: some(self.security_opts()?),
            masked_paths: self.system_paths_are_bare().then(Vec::new),
            readonly_paths: self.system_paths_are_bare().then(Vec::new),
            storage_opt: (!self.storage_opt.is_empty())
                .then(|| pairs(&self.storage_opt, "storage option"))
                .transpose()?,
            tmpfs: (!self.tmpfs.is_empty()).then(|| {
                let split = |text: &String| {
                    let (path, options) = text.split_once(':').unwrap_or((text, ""));
                    (path.to_owned(), options.to_owned())
                };
                self.tmpfs.iter().map(split).collect()
            }),
            uts_mode: self.uts.clone(),
            userns_mode: self.userns.clone(),
            shm_size: self.shm_size,
            sysctls: (!self.sysctl.is_empty()).then(|| pairs(&self.sysctl, "sysctl")).transpose()?,
            runtime: self.isolation.clone().or_else(|| self.runtime.clone()),
            ..HostConfig::default()
        })
    }

    fn cgroup_namespace(&self) -> anyhow::Result<Option<HostConfigCgroupnsModeEnum>> {
        Ok(match self.cgroupns.as_deref() {
            None | Some("") => None,
            Some("host") => Some(HostConfigCgroupnsModeEnum::HOST),
            Some("private") => Some(HostConfigCgroupnsModeEnum::PRIVATE),
            Some(_) => bail!("--cgroupns: invalid CGROUP mode"),
        })
    }

    fn environment(&self) -> anyhow::Result<Vec<String>> {
        let mut all = Vec::new();
        for path in &self.env_file {
            all.extend(variables_file(path, true)?);
        }
        for text in &self.env {
            all.extend(variable(text)?);
        }
        Ok(all)
    }

    fn labels(&self) -> anyhow::Result<HashMap<String, String>> {
        let mut all = HashMap::new();
        for path in &self.label_file {
            all.extend(map(&variables_file(path, false)?));
        }
        all.extend(labels("-l, --label", &self.label)?);
        Ok(all)
    }

    fn volumes(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let whole = |text: &String| match text.split_once(':') {
            Some((source, rest)) => Ok(format!("{}:{rest}", mount::from_here(source)?)),
            None => Ok(text.clone()),
        };
        let mut volumes = self.volume.iter().map(whole).collect::<anyhow::Result<Vec<_>>>()?;
        // One that is said twice is one.
        let mut seen = HashSet::new();
        volumes.retain(|text| seen.insert(text.clone()));
        Ok(volumes.into_iter().partition(|text| text.contains(':')))
    }

    #[expect(clippy::type_complexity, reason = "the two maps of the API")]
    fn ports(&self) -> anyhow::Result<(Vec<String>, HashMap<String, Option<Vec<PortBinding>>>)> {
        let mut exposed = Vec::new();
        for text in &self.expose {
            exposed.extend(ports::parse_exposed(text)?);
        }
        let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
        for text in &self.publish {
            for published in ports::parse_published(text)? {
                exposed.push(published.container.clone());
                bindings
                    .entry(published.container)
                    .or_default()
                    .get_or_insert_default()
                    .push(PortBinding { host_ip: Some(published.host_ip), host_port: Some(published.host_port) });
            }
        }
        exposed.sort();
        exposed.dedup();
        Ok((exposed, bindings))
    }

    fn networks(&self) -> anyhow::Result<Vec<network::Attachment>> {
        self.network.iter().map(|text| network::parse(text)).collect()
    }

    fn networking(&self, networks: Vec<network::Attachment>) -> anyhow::Result<NetworkingConfig> {
        let first = network::First {
            aliases: &self.network_alias,
            links: &self.link,
            ip: self.ip.as_deref(),
            ip6: self.ip6.as_deref(),
            link_local_ips: &self.link_local_ip,
            mac_address: self.mac_address.as_deref(),
        };
        Ok(NetworkingConfig { endpoints_config: Some(network::endpoints(networks, first)?) })
    }

    fn health(&self) -> anyhow::Result<Option<HealthConfig>> {
        let tuned = self.health_cmd.is_some()
            || self.health_interval.is_some()
            || self.health_retries.is_some()
            || self.health_start_interval.is_some()
            || self.health_start_period.is_some()
            || self.health_timeout.is_some();
        if self.no_healthcheck {
            ensure!(!tuned, "--no-healthcheck conflicts with --health-* options");
            return Ok(Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }));
        }
        let nanoseconds = |text: &Option<String>| text.as_deref().map(duration::nanoseconds).transpose();
        Ok(tuned.then_some(HealthConfig {
            test: self.health_cmd.as_ref().map(|command| vec!["CMD-SHELL".to_owned(), command.clone()]),
            interval: nanoseconds(&self.health_interval)?,
            timeout: nanoseconds(&self.health_timeout)?,
            retries: self.health_retries,
            start_period: nanoseconds(&self.health_start_period)?,
            start_interval: nanoseconds(&self.health_start_interval)?,
        }))
    }

    /// A seccomp profile is read here and travels with the request: the engine may be elsewhere.
    fn security_opts(&self) -> anyhow::Result<Vec<String>> {
        let read = |text: &String| -> anyhow::Result<String> {
            let (name, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
            if name != "seccomp" || matches!(value, "unconfined" | "builtin") {
                return Ok(text.clone());
            }
            let profile =
                std::fs::read_to_string(value).with_context(|| format!("opening seccomp profile ({value}) failed"))?;
            let compact: serde_json::Value = serde_json::from_str(&profile)
                .with_context(|| format!("compacting json for seccomp profile ({value}) failed"))?;
            Ok(format!("seccomp={compact}"))
        };
        self.security_opt.iter().filter(|text| *text != BARE_SYSTEM_PATHS).map(read).collect()
    }

    /// The one security option that is no option of the API.
    fn system_paths_are_bare(&self) -> bool {
        self.security_opt.iter().any(|text| text == BARE_SYSTEM_PATHS)
    }
}

/// `NAME=VALUE`, or `NAME` with the value of our own environment (nothing when it has none).
pub(crate) fn variable(text: &str) -> anyhow::Result<Option<String>> {
    ensure!(!text.is_empty() && !text.starts_with('='), "invalid environment variable: {text}");
    if text.contains('=') {
        return Ok(Some(text.to_owned()));
    }
    Ok(std::env::var(text).ok().map(|value| format!("{text}={value}")))
}

/// A file of `NAME=VALUE` lines; `#` starts a comment line.
pub(crate) fn variables_file(path: &Path, from_environment: bool) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("open {}", path.display()))?;
    let mut all = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        ensure!(
            !name.is_empty() && !name.contains(char::is_whitespace),
            "invalid variable in {} line {}: '{name}' contains whitespaces or is empty",
            path.display(),
            number + 1
        );
        if line.contains('=') || !from_environment {
            all.push(line.to_owned());
        } else {
            all.extend(variable(line)?);
        }
    }
    Ok(all)
}

fn pairs(list: &[String], what: &str) -> anyhow::Result<HashMap<String, String>> {
    list.iter()
        .map(|text| {
            let (name, value) =
                text.split_once('=').with_context(|| format!("invalid {what}: {text}: expected KEY=VALUE"))?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

pub(crate) fn restart_policy(text: &str) -> anyhow::Result<RestartPolicy> {
    let (name, maximum) = text.split_once(':').map_or((text, None), |(name, maximum)| (name, Some(maximum)));
    let name = match name {
        "" | "no" => RestartPolicyNameEnum::NO,
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        _ => bail!(
            "invalid restart policy: unknown policy '{text}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        ),
    };
    let maximum = match maximum {
        None => 0,
        Some(_) if name != RestartPolicyNameEnum::ON_FAILURE => {
            bail!("invalid restart policy: maximum retry count can only be used with 'on-failure'")
        }
        Some(count) => count
            .parse::<u32>()
            .map_err(|_| anyhow!("invalid restart policy format: maximum retry count must be an integer"))?,
    };
    Ok(RestartPolicy { name: Some(name), maximum_retry_count: Some(maximum.into()) })
}

fn device(text: &str) -> anyhow::Result<DeviceMapping> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_mode = |word: &str| !word.is_empty() && word.chars().all(|c| "rwm".contains(c));
    let (source, target, permissions) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, mode] if is_mode(mode) => (source, source, mode),
        [source, target] => (source, target, "rwm"),
        [source, target, mode] if is_mode(mode) => (source, target, mode),
        _ => bail!("invalid device specification: {text}"),
    };
    ensure!(!source.is_empty() && !target.is_empty(), "invalid device specification: {text}");
    Ok(DeviceMapping {
        path_on_host: Some(source.to_owned()),
        path_in_container: Some(target.to_owned()),
        cgroup_permissions: Some(permissions.to_owned()),
    })
}

fn ulimit(text: &str) -> anyhow::Result<ResourcesUlimits> {
    let (name, value) = text.split_once('=').with_context(|| format!("invalid ulimit argument: {text}"))?;
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let number = |text: &str| text.parse::<i64>().with_context(|| format!("invalid ulimit argument: {text}"));
    let (soft, hard) = (number(soft)?, number(hard)?);
    ensure!(
        hard == -1 || (soft != -1 && soft <= hard),
        "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
    );
    Ok(ResourcesUlimits { name: Some(name.to_owned()), soft: Some(soft), hard: Some(hard) })
}

fn split_device(text: &str) -> anyhow::Result<(String, &str)> {
    let (path, value) = text.rsplit_once(':').with_context(|| format!("bad format: {text}"))?;
    ensure!(path.starts_with("/dev/"), "bad format for device path: {text}");
    Ok((path.to_owned(), value))
}

fn device_weights(list: &[String]) -> anyhow::Result<Vec<ResourcesBlkioWeightDevice>> {
    list.iter()
        .map(|text| {
            let (path, value) = split_device(text)?;
            let weight = value.parse::<usize>().with_context(|| format!("invalid weight for device: {text}"))?;
            ensure!(weight == 0 || (10..=1000).contains(&weight), "invalid weight for device: {text}");
            Ok(ResourcesBlkioWeightDevice { path: Some(path), weight: Some(weight) })
        })
        .collect()
}

fn count(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("invalid rate: '{text}'"))
}

fn throttles(list: &[String], parse: fn(&str) -> Result<i64, String>) -> anyhow::Result<Vec<ThrottleDevice>> {
    list.iter()
        .map(|text| {
            let (path, value) = split_device(text)?;
            let rate = parse(value).map_err(|_| {
                anyhow::anyhow!("invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]")
            })?;
            ensure!(rate >= 0, "invalid rate for device: {text}");
            Ok(ThrottleDevice { path: Some(path), rate: Some(rate) })
        })
        .collect()
}
