//! `berth port`.

use anyhow::{bail, ensure};
use berth_api::models::{ContainerInspectResponse, PortBinding};

use super::Act;
use super::each::container;
use crate::options::ports::number;
use crate::output::natural;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Port {
    container: String,
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    port: Option<String>,
}

impl Act for Port {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let inspected: ContainerInspectResponse = session.client.get(&container(&self.container, "json"), &()).await?;
        let ports = inspected.network_settings.and_then(|network| network.ports).unwrap_or_default();
        let outside = |binding: PortBinding| {
            let (ip, port) = (binding.host_ip.unwrap_or_default(), binding.host_port.unwrap_or_default());
            if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
        };
        let mut lines: Vec<String> = Vec::new();
        match &self.port {
            Some(asked) => {
                let (port, protocol) = asked.split_once('/').unwrap_or((asked, ""));
                let protocol = if protocol.is_empty() { "tcp" } else { protocol };
                if let Err(why) = number(port) {
                    bail!("Error: invalid port ({port}): {why}");
                }
                let wanted = format!("{port}/{protocol}");
                let bindings = ports.into_iter().find(|(name, _)| *name == wanted).and_then(|(_, bindings)| bindings);
                lines.extend(bindings.unwrap_or_default().into_iter().map(outside));
                ensure!(!lines.is_empty(), "Error: No public port '{asked}' published for {}", self.container);
            }
            None => {
                for (port, bindings) in ports {
                    let bindings = bindings.unwrap_or_default().into_iter();
                    lines.extend(bindings.map(|binding| format!("{port} -> {}", outside(binding))));
                }
            }
        }
        lines.sort_by(|one, other| natural::order(one, other));
        lines.iter().for_each(|line| println!("{line}"));
        Ok(0)
    }
}
