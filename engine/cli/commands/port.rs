//! `berth port`.

use anyhow::bail;
use berth_api::models::ContainerInspectResponse;

use super::Act;
use super::each::container;
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
        let wanted = self.port.map(|port| if port.contains('/') { port } else { format!("{port}/tcp") });
        let mut lines = Vec::new();
        for (port, bindings) in ports {
            if wanted.as_ref().is_some_and(|wanted| *wanted != port) {
                continue;
            }
            for binding in bindings.unwrap_or_default() {
                let (ip, host) = (binding.host_ip.unwrap_or_default(), binding.host_port.unwrap_or_default());
                let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
                lines.push(match wanted {
                    Some(_) => format!("{ip}:{host}"),
                    None => format!("{port} -> {ip}:{host}"),
                });
            }
        }
        if let (Some(wanted), true) = (wanted, lines.is_empty()) {
            bail!("no public port '{wanted}' published for {}", self.container);
        }
        lines.sort();
        lines.iter().for_each(|line| println!("{line}"));
        Ok(0)
    }
}
