//! `berth volume inspect`.

use crate::commands::Act;
use crate::commands::inspect::{Wanted, inspect};
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
        let wanted = Wanted { kinds: &["volume"], query: &[] };
        inspect(&session.client, wanted, self.format.as_deref(), &self.names).await
    }
}
