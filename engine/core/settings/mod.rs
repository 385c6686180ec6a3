//! What a user may ask of a container, and how it is judged.
//!
//! [`check`] takes the body of a create request and the image, and gives what is kept: Docker's shapes with Docker's
//! defaults filled in, and the warnings. The parsers beside it are used again when the OCI Spec is made. What berth
//! does not do yet is refused here by name, never ignored.

pub(crate) mod capabilities;
pub(crate) mod defaults;
pub(crate) mod devices;
pub(crate) mod isolation;
pub(crate) mod log;
pub(crate) mod merge;
pub(crate) mod modes;
pub(crate) mod mounts;
pub(crate) mod names;
pub(crate) mod ports;
pub(crate) mod resources;
pub(crate) mod restart;
pub(crate) mod security;
pub(crate) mod signals;
pub(crate) mod storage;
pub(crate) mod sysctls;
pub(crate) mod users;
pub(crate) mod volumes;

use berth_api::models::{ContainerConfig, ContainerCreateBody, HostConfig, NetworkingConfig};
use berth_arch::{Host, Probe};
use berth_backends::Isolation;
use berth_image::RunConfig;

use crate::{EngineConfig, Error, Result};

/// What is kept of a create request.
#[derive(Debug)]
pub(crate) struct Checked {
    pub config: ContainerConfig,
    pub host: HostConfig,
    pub warnings: Vec<String>,
    pub network: modes::Network,
    /// What was asked of single networks.
    pub networking: Option<NetworkingConfig>,
    /// Nobody named one: the default.
    pub network_was_left_open: bool,
    pub users: users::Users,
}

/// `id` gives the host name where none is asked for.
pub(crate) fn check(
    mut body: ContainerCreateBody,
    image: &RunConfig,
    id: &str,
    engine: &EngineConfig,
    machine: &Host,
) -> Result<Checked> {
    let mut warnings = Vec::new();
    let mut host = body.host_config.take().unwrap_or_default();
    let explicit_health = explicit_health(&body);
    let networking = body.networking_config.take();
    let mut config = merge::own(body);
    merge::image(&mut config, image);
    program(&config)?;
    texts(&config)?;
    refuse_what_is_to_come(&config, &host)?;
    health(&mut config, explicit_health, &mut warnings)?;

    if host.network_mode.as_deref().unwrap_or_default() != "host" && config.network_disabled == Some(true) {
        host.network_mode = Some("none".to_owned());
    }
    let was_left_open = matches!(host.network_mode.as_deref(), None | Some("" | "default"));
    if was_left_open {
        host.network_mode = Some("bridge".to_owned());
    }
    let backend = isolation::choose(&host, engine, machine, &mut warnings)?;
    let before = warnings.len();
    backend.check(&config, &mut host, was_left_open, &mut warnings)?;
    if engine.strict
        && let Some(warning) = warnings.get(before)
    {
        return Err(Error::Unavailable(format!("{warning} (strict = true)")));
    }
    let network_was_left_open = was_left_open && host.network_mode.as_deref() == Some("bridge");
    host.runtime = Some(backend.name.clone());
    host.isolation = None;
    let network = modes::network(host.network_mode.as_deref().unwrap_or_default())?;
    modes::pid(host.pid_mode.as_deref().unwrap_or_default())?;
    let ipc = modes::ipc(host.ipc_mode.as_deref().unwrap_or_default())?;
    let uts_host = modes::uts_is_host(host.uts_mode.as_deref().unwrap_or_default())?;
    let users = users::check(&host, engine, machine, &backend)?;
    if uts_host && config.hostname.as_ref().is_some_and(|name| !name.is_empty()) {
        return Err(Error::invalid("conflicting options: hostname and the UTS mode"));
    }
    if matches!(network, modes::Network::Container(_)) {
        for (given, what) in [
            (config.hostname.as_ref().is_some_and(|name| !name.is_empty()), "hostname and the network mode"),
            (host.dns.as_ref().is_some_and(|list| !list.is_empty()), "dns and the network mode"),
            (
                host.extra_hosts.as_ref().is_some_and(|list| !list.is_empty()),
                "custom host-to-IP mapping and the network mode",
            ),
            (host.links.as_ref().is_some_and(|list| !list.is_empty()), "links and the network mode"),
            (
                host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty())
                    || host.publish_all_ports == Some(true),
                "port publishing and the container type network mode",
            ),
        ] {
            if given {
                return Err(Error::invalid(format!("conflicting options: {what}")));
            }
        }
    }

    storage::layer_options(host.storage_opt.as_ref(), &engine.storage_options)?;
    resources::check(&mut host, false)?;
    for limit in host.ulimits.iter().flatten() {
        if let Some(short) = resources::ulimit_out_of_reach(limit, machine)? {
            if engine.strict {
                return Err(Error::Unavailable(format!("{short} (strict = true)")));
            }
            warnings.push(short);
        }
    }
    sysctls::check(&host, &network, &ipc, uts_host)?;
    capabilities::compute(
        host.cap_add.as_deref().unwrap_or_default(),
        host.cap_drop.as_deref().unwrap_or_default(),
        host.privileged == Some(true),
        &backend.isolation,
    )?;
    let security = security::parse(host.security_opt.as_deref().unwrap_or_default())?;
    if let security::Seccomp::Profile(json) = &security.seccomp {
        berth_backends::seccomp::parse_profile(json, &capabilities::available())
            .map_err(|error| Error::invalid(format!("Decoding seccomp profile failed: {error}")))?;
    }
    seccomp_in_force(&security.seccomp, &host, engine, &mut warnings)?;
    warnings.extend(security.warnings);
    for device in host.devices.iter().flatten() {
        devices::check(device)?;
    }
    for rule in host.device_cgroup_rules.iter().flatten() {
        devices::rule(rule)?;
    }
    for point in mounts::parse(&host)? {
        if let mounts::Kind::Bind(bind) = &point.kind
            && !bind.create_source
            && std::fs::symlink_metadata(&bind.source).is_err()
        {
            let message = format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                bind.source.display()
            );
            return Err(Error::invalid(message));
        }
    }
    if host.shm_size.unwrap_or(0) < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    if host.oom_score_adj.is_some_and(|score| !(-1000..=1000).contains(&score)) {
        let score = host.oom_score_adj.unwrap_or(0);
        return Err(Error::invalid(format!("Invalid value {score}, range for oom score adj is [-1000, 1000]")));
    }
    host_names(&host)?;
    crate::networks::ports::check(&host)?;
    for link in host.links.iter().flatten() {
        crate::networks::links::parse(link)?;
    }
    if network == modes::Network::Host
        && backend.isolation.network
        && host.port_bindings.as_ref().is_some_and(|ports| !ports.is_empty())
    {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }

    let restart = restart::parse(host.restart_policy.as_ref())?;
    if host.auto_remove == Some(true) && restart != berth_monitor::config::RestartPolicy::No {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    if let Some(signal) = config.stop_signal.as_deref().filter(|signal| !signal.is_empty()) {
        signals::parse(signal)?;
    }
    let mut ports = Vec::new();
    for text in config.exposed_ports.iter().flatten() {
        ports.extend(ports::expand(text)?);
    }
    ports.sort();
    ports.dedup();
    config.exposed_ports = (!ports.is_empty()).then_some(ports);

    defaults::config(&mut config, id, &network, uts_host);
    defaults::host(&mut host, engine);
    // What the options speak of is known at start; here only their form is judged.
    let empty = std::collections::HashMap::new();
    let subject = log::Subject { id, name: "", image: "", image_id: "", labels: &empty, env: &[] };
    log::resolve(host.log_config.as_ref().unwrap_or(&Default::default()), std::path::Path::new(""), &subject)?;
    limits_in_force(&host, engine, &backend.isolation, &mut warnings)?;
    Ok(Checked { config, host, warnings, network, networking, network_was_left_open, users })
}

fn program(config: &ContainerConfig) -> Result<()> {
    let words = |list: &Option<Vec<String>>| list.as_ref().is_none_or(|list| list.iter().all(String::is_empty));
    if words(&config.entrypoint) && config.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::invalid("no command specified"));
    }
    Ok(())
}

/// Nothing that becomes a C string may hold a NUL, and variables must have a name.
fn texts(config: &ContainerConfig) -> Result<()> {
    let lists = [&config.entrypoint, &config.cmd, &config.env];
    for text in lists.into_iter().flatten().flatten() {
        if text.contains('\0') {
            return Err(Error::invalid(format!("invalid text {text:?}: it holds a NUL byte")));
        }
    }
    if let Some(variable) = config.env.iter().flatten().find(|pair| pair.is_empty() || pair.starts_with('=')) {
        return Err(Error::invalid(format!("invalid environment variable: {variable}")));
    }
    if let Some(folder) = config.working_dir.as_deref().filter(|folder| !folder.is_empty())
        && mounts::clean(folder).is_none()
    {
        return Err(Error::invalid(format!(
            "the working directory '{folder}' is invalid, it needs to be an absolute path"
        )));
    }
    if let Some(name) = config.hostname.as_deref().filter(|name| !name.is_empty()) {
        let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
        if name.len() > 63 || name.starts_with(['-', '.']) || name.ends_with(['-', '.']) || !name.bytes().all(fits) {
            return Err(Error::invalid(format!("invalid hostname format: {name}")));
        }
    }
    if config.domainname.as_deref().is_some_and(|name| name.len() > 64 || name.contains(['\0', '\n'])) {
        return Err(Error::invalid("invalid domain name format: it has at most 64 characters"));
    }
    if config.stop_timeout.is_some_and(|seconds| seconds < -1) {
        return Err(Error::invalid("invalid stop timeout: it is -1 or a number of seconds"));
    }
    Ok(())
}

fn refuse_what_is_to_come(config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    for (given, option, why) in [(
        host.device_requests.as_ref().is_some_and(|list| !list.is_empty()),
        "--gpus",
        "device drivers come with a later version of berth; name the device with --device",
    )] {
        if given {
            return Err(Error::Unsupported(format!("{option}: {why}")));
        }
    }
    for path in config.volumes.iter().flatten() {
        mounts::destination(path)?;
    }
    for text in host.volumes_from.iter().flatten() {
        volumes::from_container(text)?;
    }
    Ok(())
}

fn explicit_health(body: &ContainerCreateBody) -> bool {
    body.healthcheck.as_ref().is_some_and(|check| {
        let none = check.test.as_ref().is_some_and(|test| test.first().is_some_and(|word| word == "NONE"));
        *check != Default::default() && !none
    })
}

fn health(config: &mut ContainerConfig, explicit: bool, warnings: &mut Vec<String>) -> Result<()> {
    if explicit {
        return Err(Error::Unsupported(
            "health checks come with a later version of berth; use --no-healthcheck".to_owned(),
        ));
    }
    let test = config.healthcheck.as_ref().and_then(|check| check.test.as_ref()).and_then(|test| test.first());
    if test.is_some_and(|word| word != "NONE") {
        warnings
            .push("the image's health check is not run: health checks come with a later version of berth".to_owned());
    }
    Ok(())
}

fn host_names(host: &HostConfig) -> Result<()> {
    for server in host.dns.iter().flatten() {
        if server.parse::<std::net::IpAddr>().is_err() {
            return Err(Error::invalid(format!("{server} is not an ip address")));
        }
    }
    for line in host.dns_search.iter().flatten().chain(host.dns_options.iter().flatten()) {
        if line.contains(['\n', '\0']) {
            return Err(Error::invalid(format!("invalid name-server setting {line:?}")));
        }
    }
    for line in host.extra_hosts.iter().flatten() {
        extra_host(line)?;
    }
    for group in host.group_add.iter().flatten() {
        if group.is_empty() || group.contains([':', '\n']) {
            return Err(Error::invalid(format!("invalid group {group:?}")));
        }
    }
    Ok(())
}

/// An address of /etc/hosts that was given by the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostAddress {
    Address(std::net::IpAddr),
    /// `host-gateway`: where the container finds this host.
    Gateway,
}

/// `name:address` or `name=address`.
pub(crate) fn extra_host(line: &str) -> Result<(&str, HostAddress)> {
    let invalid = || Error::invalid(format!("bad format for add-host: \"{line}\""));
    let (name, address) = line.split_once('=').or_else(|| line.split_once(':')).ok_or_else(invalid)?;
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(invalid());
    }
    if address == "host-gateway" {
        return Ok((name, HostAddress::Gateway));
    }
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let address =
        address.parse().map_err(|_| Error::invalid(format!("invalid IP address in add-host: \"{address}\"")))?;
    Ok((name, HostAddress::Address(address)))
}

/// A filter that nobody asked for by name and that the kernel does not have is done without, and that is said.
fn seccomp_in_force(
    wanted: &security::Seccomp,
    host: &HostConfig,
    engine: &EngineConfig,
    warnings: &mut Vec<String>,
) -> Result<()> {
    if matches!(wanted, security::Seccomp::Unconfined) || host.privileged == Some(true) && !is_profile(wanted) {
        return Ok(());
    }
    let Probe::Unavailable { reason, .. } = berth_arch::kernel::seccomp::filters() else { return Ok(()) };
    if is_profile(wanted) {
        return Err(Error::Unavailable(format!(
            "--security-opt seccomp: {reason}; leave the profile out, or use a kernel with seccomp filters"
        )));
    }
    let message = format!("this kernel has no seccomp filters, so system calls are not restricted: {reason}");
    if engine.strict {
        return Err(Error::Unavailable(format!(
            "{message}; --security-opt seccomp=unconfined takes that (strict = true)"
        )));
    }
    warnings.push(message);
    Ok(())
}

fn is_profile(wanted: &security::Seccomp) -> bool {
    matches!(wanted, security::Seccomp::Profile(_))
}

/// Limits that the backend cannot enforce here are warnings, or refusals if the configuration says `strict`.
fn limits_in_force(
    host: &HostConfig,
    engine: &EngineConfig,
    backend: &Isolation,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let number = |value: Option<i64>| value.is_some_and(|value| value != 0);
    let wanted = [
        (number(host.memory) || number(host.memory_reservation), "memory", "memory limits (--memory)"),
        (host.memory_swappiness.is_some(), "memory", "memory swappiness (--memory-swappiness)"),
        (host.oom_kill_disable == Some(true), "memory", "switching the OOM killer off (--oom-kill-disable)"),
        (
            [host.cpu_shares, host.cpu_quota, host.cpu_period, host.nano_cpus].into_iter().any(number),
            "cpu",
            "CPU limits (--cpus)",
        ),
        (
            [&host.cpuset_cpus, &host.cpuset_mems].into_iter().flatten().any(|text| !text.is_empty()),
            "cpuset",
            "CPU sets (--cpuset-cpus)",
        ),
        (host.pids_limit.is_some_and(|limit| limit > 0), "pids", "process limits (--pids-limit)"),
        (host.blkio_weight.is_some_and(|weight| weight > 0), "io", "block I/O limits (--blkio-weight)"),
        (
            [
                &host.blkio_device_read_bps,
                &host.blkio_device_write_bps,
                &host.blkio_device_read_iops,
                &host.blkio_device_write_iops,
            ]
            .into_iter()
            .flatten()
            .any(|list| !list.is_empty()),
            "io",
            "block I/O rates (--device-read-bps)",
        ),
    ];
    for (_, controller, option) in wanted.iter().filter(|(given, ..)| *given) {
        let there = |name: &String| name == controller || (*controller == "io" && name == "blkio");
        if backend.controllers.iter().any(there) {
            continue;
        }
        let message = format!("Your kernel does not support {option}: it has no {controller} controller");
        if engine.strict {
            return Err(Error::Unavailable(format!("{message}; enable it or leave the limit out (strict = true)")));
        }
        warnings.push(format!("{message}. The limit was discarded."));
    }
    Ok(())
}
