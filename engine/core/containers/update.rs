//! Changing limits and restart policy of a container.

use berth_api::models::{ContainerUpdateBody, ContainerUpdateResponse, HostConfig};
use berth_monitor::client;
use berth_monitor::protocol::Request;
use oci_spec::runtime::Spec;

use super::record;
use crate::settings::{resources as limits, restart};
use crate::spec::resources;
use crate::{Container, Engine, Error, Result};

impl Engine {
    pub fn update(&self, name: &str, body: ContainerUpdateBody) -> Result<ContainerUpdateResponse> {
        refuse_fixed(&body)?;
        let id = self.find(name)?.id;
        let _lock = self.lock(&id)?;
        let container = self.store().read(|connection| record::by_id(connection, &id))?;
        let state = self.settled_state(&container)?;
        let mut host = container.host_config.clone();
        let policy_changes = merge(&mut host, &body)?;
        limits::check(&mut host, true)?;
        check_memory(&host)?;
        let policy = restart::parse(host.restart_policy.as_ref())?;
        if host.auto_remove == Some(true) && policy != berth_monitor::config::RestartPolicy::No {
            return Err(Error::invalid(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        // First where it can fail: the kernel's answer.
        if state.status.is_up() {
            let told = self.ask(
                &container,
                &Request::Update {
                    resources: Some(Box::new(resources::limits(&host)?)),
                    restart: policy_changes.then_some(policy),
                    attributes: None,
                },
            );
            match told {
                // It has just ended by itself, and what is kept counts from its next start.
                Err(Error::Conflict(_)) if !client::is_alive(&self.run_folder(&container)) => {}
                other => drop(other?),
            }
        }
        let text = serde_json::to_string(&host)
            .map_err(|error| Error::Internal(format!("encode a container's configuration: {error}")))?;
        self.store().write(|transaction| {
            transaction
                .prepare_cached("UPDATE containers SET host_config = ?2 WHERE id = ?1")?
                .execute([&id, &text])?;
            Ok::<_, Error>(())
        })?;
        self.rewrite_limits(&container, &host)?;
        self.emit_container(&container, "update", &[]);
        Ok(ContainerUpdateResponse { warnings: None })
    }
}

impl Engine {
    /// The bundle on disk is what the monitor restarts the container from.
    fn rewrite_limits(&self, container: &Container, host: &HostConfig) -> Result<()> {
        let path = self.folder(container).join("config.json");
        let Some(mut spec) = berth_store::read_json::<Spec>(&path)? else { return Ok(()) };
        let Some(linux) = spec.linux_mut() else { return Ok(()) };
        let devices = linux.resources().as_ref().and_then(|resources| resources.devices().clone());
        let mut limits = resources::limits(host)?;
        limits.set_devices(devices);
        linux.set_resources(Some(limits));
        Ok(berth_store::write_json(&path, &spec, false)?)
    }
}

/// What Docker's update takes no notice of is refused here.
fn refuse_fixed(body: &ContainerUpdateBody) -> Result<()> {
    let some = |list: bool, name: &str| {
        if list { Err(Error::invalid(format!("{name} cannot be updated: make a new container"))) } else { Ok(()) }
    };
    some(body.cgroup_parent.as_ref().is_some_and(|text| !text.is_empty()), "the cgroup parent")?;
    some(body.devices.as_ref().is_some_and(|list| !list.is_empty()), "devices")?;
    some(body.device_cgroup_rules.as_ref().is_some_and(|list| !list.is_empty()), "device rules")?;
    some(body.device_requests.as_ref().is_some_and(|list| !list.is_empty()), "device requests")?;
    some(body.ulimits.as_ref().is_some_and(|list| !list.is_empty()), "ulimits")?;
    some(body.init.is_some(), "init")?;
    some(body.memory_swappiness.is_some_and(|value| value != -1), "memory swappiness")?;
    some(body.oom_kill_disable == Some(true), "the out-of-memory killer")
}

/// Zero and empty mean "as it is". Whether the restart policy is among what changes.
fn merge(host: &mut HostConfig, body: &ContainerUpdateBody) -> Result<bool> {
    fn set(own: &mut Option<i64>, new: Option<i64>) {
        if new.is_some_and(|value| value != 0) {
            *own = new;
        }
    }
    // One way to limit the processor replaces the other.
    if body.nano_cpus.unwrap_or(0) > 0 && (host.cpu_period.unwrap_or(0) > 0 || host.cpu_quota.unwrap_or(0) > 0) {
        return Err(Error::Conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period and CPU Quota have already been set"
                .to_owned(),
        ));
    }
    if (body.cpu_period.unwrap_or(0) > 0 || body.cpu_quota.unwrap_or(0) > 0) && host.nano_cpus.unwrap_or(0) > 0 {
        return Err(Error::Conflict(
            "Conflicting options: CPU Period and CPU Quota cannot be updated as NanoCPUs has already been set"
                .to_owned(),
        ));
    }
    set(&mut host.cpu_shares, body.cpu_shares);
    set(&mut host.memory, body.memory);
    set(&mut host.memory_swap, body.memory_swap);
    set(&mut host.memory_reservation, body.memory_reservation);
    set(&mut host.cpu_period, body.cpu_period);
    set(&mut host.cpu_quota, body.cpu_quota);
    set(&mut host.cpu_realtime_period, body.cpu_realtime_period);
    set(&mut host.cpu_realtime_runtime, body.cpu_realtime_runtime);
    set(&mut host.nano_cpus, body.nano_cpus);
    set(&mut host.pids_limit, body.pids_limit);
    if body.blkio_weight.is_some_and(|weight| weight != 0) {
        host.blkio_weight = body.blkio_weight;
    }
    for (own, new) in [(&mut host.cpuset_cpus, &body.cpuset_cpus), (&mut host.cpuset_mems, &body.cpuset_mems)] {
        if new.as_ref().is_some_and(|text| !text.is_empty()) {
            own.clone_from(new);
        }
    }
    for (own, new) in [
        (&mut host.blkio_device_read_bps, &body.blkio_device_read_bps),
        (&mut host.blkio_device_write_bps, &body.blkio_device_write_bps),
        (&mut host.blkio_device_read_iops, &body.blkio_device_read_iops),
        (&mut host.blkio_device_write_iops, &body.blkio_device_write_iops),
    ] {
        if new.as_ref().is_some_and(|list| !list.is_empty()) {
            own.clone_from(new);
        }
    }
    if body.blkio_weight_device.as_ref().is_some_and(|list| !list.is_empty()) {
        host.blkio_weight_device.clone_from(&body.blkio_weight_device);
    }
    let policy =
        body.restart_policy.as_ref().filter(|policy| policy.name.is_some_and(|name| !name.as_ref().is_empty()));
    if let Some(policy) = policy {
        host.restart_policy = Some(policy.clone());
    }
    Ok(policy.is_some())
}

/// A limit above the swap that stays would be refused by the kernel with nothing but EINVAL.
fn check_memory(host: &HostConfig) -> Result<()> {
    let (memory, swap) = (host.memory.unwrap_or(0), host.memory_swap.unwrap_or(0));
    if memory > 0 && swap > 0 && memory > swap {
        return Err(Error::Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
                .to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_leaves_a_limit_as_it_is() {
        let mut host = HostConfig { memory: Some(64 << 20), cpu_shares: Some(512), ..HostConfig::default() };
        let body = ContainerUpdateBody { memory: Some(0), cpu_shares: Some(1024), ..ContainerUpdateBody::default() };
        assert!(!merge(&mut host, &body).unwrap());
        assert_eq!((host.memory, host.cpu_shares), (Some(64 << 20), Some(1024)));
    }

    #[test]
    fn the_two_ways_to_limit_the_processor_exclude_each_other() {
        let mut host = HostConfig { cpu_quota: Some(50_000), ..HostConfig::default() };
        let body = ContainerUpdateBody { nano_cpus: Some(1_000_000_000), ..ContainerUpdateBody::default() };
        assert!(matches!(merge(&mut host, &body), Err(Error::Conflict(_))));
    }
}
