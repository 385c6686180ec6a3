//! `berth commit`.

use berth_api::models::IdResponse;

use super::Act;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Commit {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Pause container during commit (default: where the host can)
    #[arg(short, long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pause: Option<bool>,
    container: String,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

impl Act for Commit {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let mut query = vec![("container", self.container)];
        query.extend(self.pause.map(|pause| ("pause", u8::from(pause).to_string())));
        query.extend(self.author.map(|author| ("author", author)));
        query.extend(self.message.map(|message| ("comment", message)));
        query.extend(self.change.into_iter().map(|change| ("changes", change)));
        query.extend(self.reference.map(|reference| ("repo", reference)));
        let image: IdResponse = session.client.post("/commit", &query, &serde_json::json!({})).await?;
        println!("{}", image.id);
        Ok(0)
    }
}
