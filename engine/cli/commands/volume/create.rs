//! `berth volume create`.

use berth_api::models::VolumeCreateRequest;
use serde_json::Value;

use crate::commands::Act;
use crate::options::map::{labels, map};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct CreateVolume {
    /// Specify volume driver name
    #[arg(short, long, value_name = "NAME", default_value = "local")]
    driver: String,
    /// Set metadata for a volume
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Specify volume name
    #[arg(long = "name", value_name = "NAME", hide = true)]
    flag_name: Option<String>,
    /// Set driver specific options
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

impl Act for CreateVolume {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        anyhow::ensure!(
            self.name.is_none() || self.flag_name.is_none(),
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        );
        let request = VolumeCreateRequest {
            name: self.name.or(self.flag_name),
            driver: Some(self.driver),
            driver_opts: Some(map(&self.opt)),
            labels: Some(labels("--label", &self.label)?),
            cluster_volume_spec: None,
        };
        let made: Value = session.client.post("/volumes/create", &(), &request).await?;
        println!("{}", made["Name"].as_str().unwrap_or_default());
        Ok(0)
    }
}
