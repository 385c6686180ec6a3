//! `berth logs`.

use std::io::Write;

use berth_api::models::ContainerInspectResponse;
use berth_api::stream::{Demultiplexer, Piece, Stream};
use berth_client::Method;

use super::Act;
use super::each::container;
use crate::session::Session;
use crate::streams::chunks;

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all", allow_negative_numbers = true)]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    container: String,
}

impl Act for Logs {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let client = &session.client;
        let inspected: ContainerInspectResponse = client.get(&container(&self.container, "json"), &()).await?;
        let raw = inspected.config.and_then(|config| config.tty) == Some(true);
        let moment = |text: &Option<String>| text.as_deref().map(crate::options::moment::parse).transpose();
        let flag = |set: bool| if set { "1" } else { "0" }.to_owned();
        let mut query = vec![
            ("stdout", flag(true)),
            ("stderr", flag(true)),
            ("follow", flag(self.follow)),
            ("timestamps", flag(self.timestamps)),
            ("details", flag(self.details)),
            ("tail", self.tail.clone()),
        ];
        query.extend(moment(&self.since)?.map(|time| ("since", time)));
        query.extend(moment(&self.until)?.map(|time| ("until", time)));
        let response = client.stream(Method::GET, &container(&self.container, "logs"), &query, None, None).await?;
        let mut demultiplexer = Demultiplexer::default();
        let (mut stdout, mut stderr) = (std::io::stdout().lock(), std::io::stderr().lock());
        chunks(response.into_body(), |chunk| {
            if raw {
                stdout.write_all(chunk)?;
                return stdout.flush();
            }
            let mut rest = chunk;
            while let Some(piece) = demultiplexer.next(&mut rest) {
                match piece {
                    Piece::Data(Stream::Stderr, data) => stderr.write_all(data)?,
                    Piece::Data(_, data) => stdout.write_all(data)?,
                    Piece::Broken(kind) => return Err(std::io::Error::other(format!("unrecognized stream: {kind}"))),
                }
            }
            stdout.flush()
        })
        .await?;
        Ok(0)
    }
}
