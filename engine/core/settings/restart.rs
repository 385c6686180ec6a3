//! Restart policies.

use berth_api::models::{RestartPolicy as Wire, RestartPolicyNameEnum as Name};
use berth_monitor::config::RestartPolicy;

use crate::{Error, Result};

pub(crate) fn parse(wire: Option<&Wire>) -> Result<RestartPolicy> {
    let Some(wire) = wire else { return Ok(RestartPolicy::No) };
    let count = wire.maximum_retry_count.unwrap_or(0);
    let name = wire.name.unwrap_or(Name::EMPTY);
    if count < 0 {
        return Err(Error::invalid("invalid restart policy: maximum retry count cannot be negative"));
    }
    if count != 0 && name != Name::ON_FAILURE {
        return Err(Error::invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'"));
    }
    Ok(match name {
        Name::EMPTY | Name::NO => RestartPolicy::No,
        Name::ALWAYS => RestartPolicy::Always,
        Name::UNLESS_STOPPED => RestartPolicy::UnlessStopped,
        Name::ON_FAILURE => RestartPolicy::OnFailure { maximum: u32::try_from(count).unwrap_or(u32::MAX) },
    })
}

/// As Docker shows a container without one.
pub(crate) fn none() -> Wire {
    Wire { name: Some(Name::NO), maximum_retry_count: Some(0) }
}
