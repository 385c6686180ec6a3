//! Networks: what is configured is in the store, what the kernel has is made by `berth-network` from it.

use berth_api::Filters;
use berth_api::models::{EndpointSettings, NetworkCreateRequest, NetworkCreateResponse, NetworkInspect};

use crate::{Engine, Error, Result};

fn later<T>() -> Result<T> {
    Err(Error::Unsupported("networks other than none and host are not supported yet".to_owned()))
}

impl Engine {
    pub fn create_network(&self, _request: NetworkCreateRequest) -> Result<NetworkCreateResponse> {
        later()
    }

    /// All that the filters let through (`dangling`, `driver`, `id`, `label`, `name`, `scope`, `type`), sorted by name,
    /// without their containers.
    pub fn networks(&self, _filters: &Filters) -> Result<Vec<NetworkInspect>> {
        later()
    }

    /// By ID, by name, or by a prefix of the ID that fits only one; with its running containers.
    pub fn inspect_network(&self, _name: &str) -> Result<NetworkInspect> {
        later()
    }

    pub fn remove_network(&self, _name: &str) -> Result<()> {
        later()
    }

    /// Removes user-defined networks that no container is in; returns their names. Filters: `until`, `label`, `label!`.
    pub fn prune_networks(&self, _filters: &Filters) -> Result<Vec<String>> {
        later()
    }

    pub fn connect_network(&self, _network: &str, _container: &str, _settings: EndpointSettings) -> Result<()> {
        later()
    }

    /// `force`: also a container that is not there any more, or that a running monitor does not answer for.
    pub fn disconnect_network(&self, _network: &str, _container: &str, _force: bool) -> Result<()> {
        later()
    }

    /// Compares the store with the kernel; with `repair`, brings back what is missing and removes what is left over.
    pub fn check_system(&self, _repair: bool) -> Result<berth_api::check::SystemCheck> {
        later()
    }
}
