//! `berth emulation rm`.

use crate::commands::Act;
use crate::commands::each::each;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Everything that was installed
    #[arg(short, long, conflicts_with = "architectures")]
    all: bool,
    #[arg(value_name = "ARCHITECTURE", required_unless_present = "all")]
    architectures: Vec<String>,
}

impl Act for Remove {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let remove = async |name: &str| -> anyhow::Result<String> {
            let removed: Vec<String> = session.client.delete("/berth/emulation", &[("architectures", name)]).await?;
            Ok(removed.join("\n"))
        };
        if self.all {
            let removed = remove("").await?;
            if !removed.is_empty() {
                println!("{removed}");
            }
            return Ok(0);
        }
        each(&self.architectures, remove).await
    }
}
