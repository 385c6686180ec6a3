//! `berth volume inspect`.

use crate::commands::Act;
use crate::commands::inspect::inspect;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct InspectVolume {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<String>,
}

impl Act for InspectVolume {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        inspect(&session.client, &["volume"], false, self.format.as_deref(), &self.names).await
    }
}
