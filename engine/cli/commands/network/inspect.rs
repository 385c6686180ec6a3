//! `berth network inspect`.

use crate::commands::Act;
use crate::commands::inspect::{Wanted, inspect};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Only a network of this scope
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
    /// Verbose output for diagnostics
    #[arg(short, long)]
    verbose: bool,
    #[arg(value_name = "NETWORK", required = true)]
    names: Vec<String>,
}

impl Act for Inspect {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let mut query = Vec::new();
        if self.verbose {
            query.push(("verbose", "true"));
        }
        query.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        let wanted = Wanted { kinds: &["network"], query: &query };
        inspect(&session.client, wanted, self.format.as_deref(), &self.names).await
    }
}
