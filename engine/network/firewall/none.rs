//! No packet filter at all: the monitors relay published ports, and send what containers say to the outside
//! ([`crate::masquerade`]). What a kernel without any of the others is left with.

use berth_arch::Probe;

use super::registry::Abilities;
use super::{NetworkRules, Owner, PacketPath, PortRule, Wanted};
use crate::Result;

pub(super) const NAME: &str = "relay";

#[derive(Debug, Default)]
pub(super) struct Relay;

pub(super) fn probe() -> Probe<Abilities> {
    Probe::available(Abilities { ipv6: true })
}

impl PacketPath for Relay {
    fn name(&self) -> &'static str {
        NAME
    }

    fn add_network(&self, _: &Owner, _: &NetworkRules) -> Result<()> {
        Ok(())
    }

    fn remove_network(&self, _: &Owner, _: &NetworkRules) -> Result<()> {
        Ok(())
    }

    fn publish(&self, _: &Owner, _: &[PortRule]) -> Result<()> {
        Ok(())
    }

    fn unpublish(&self, _: &Owner, _: &[PortRule]) -> Result<()> {
        Ok(())
    }

    fn is_intact(&self, _: &Owner, _: &Wanted) -> Result<bool> {
        Ok(true)
    }

    fn restore(&self, _: &Owner, _: &Wanted) -> Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Owner) -> Result<()> {
        Ok(())
    }

    fn found(&self, _: &Owner) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
