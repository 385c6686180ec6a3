//! `berth import` and `berth load`: archives into the engine.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use berth_client::Method;
use berth_image::Reference;
use serde_json::Value;

use super::Act;
use crate::output::progress::Progress;
use crate::session::Session;
use crate::streams::{body_from, chunks};

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// A tarball, compressed or not; `-` for standard input
    #[arg(value_name = "FILE|-")]
    source: PathBuf,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// Read from tar archive file, instead of STDIN
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Load only the given platform variant
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Suppress the load output
    #[arg(short, long)]
    quiet: bool,
}

fn open(path: &PathBuf) -> anyhow::Result<(Box<dyn Read + Send>, Option<u64>)> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let found = file.metadata().with_context(|| format!("look at {}", path.display()))?;
    ensure!(!found.is_dir(), "{} is a folder: give a tar archive of it", path.display());
    let size = Some(found).filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
    Ok((Box::new(file), size))
}

impl Act for Import {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        // Not after the archive was sent.
        let reference = self.reference.as_deref().filter(|text| !text.is_empty());
        let reference = reference.map(str::parse::<Reference>).transpose()?;
        let (source, size): (Box<dyn Read + Send>, _) = if self.source.as_os_str() == "-" {
            (Box::new(std::io::stdin()), None)
        } else {
            let text = self.source.to_string_lossy();
            ensure!(
                !text.starts_with("http://") && !text.starts_with("https://"),
                "import from a URL is not supported: download {text} and import the file"
            );
            open(&self.source)?
        };
        let mut query = vec![("fromSrc", "-".to_owned())];
        query.extend(reference.map(|reference| ("repo", reference.familiar())));
        query.extend(self.message.map(|message| ("message", message)));
        query.extend(self.platform.map(|platform| ("platform", platform)));
        query.extend(self.change.into_iter().map(|change| ("changes", change)));
        let progress = Progress::bytes("read", size);
        let body = body_from(source, progress.noter());
        let response = session
            .client
            .stream(Method::POST, "/images/create", &query, Some("application/x-tar"), Some(body))
            .await?;
        let mut last = None;
        messages(response.into_body(), |message| last = message["status"].as_str().map(str::to_owned)).await?;
        drop(progress);
        println!("{}", last.context("the engine named no image")?);
        Ok(0)
    }
}

impl Act for Load {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let (source, size): (Box<dyn Read + Send>, _) = match &self.input {
            Some(path) => open(path)?,
            None => {
                ensure!(!std::io::stdin().is_terminal(), "requested load from stdin, but stdin is empty");
                (Box::new(std::io::stdin()), None)
            }
        };
        let progress = Progress::bytes("read", size.filter(|_| !self.quiet));
        let body = body_from(source, progress.noter());
        let mut query = vec![("quiet", u8::from(self.quiet).to_string())];
        query.extend(self.platform.map(|platform| ("platform", platform)));
        let response =
            session.client.stream(Method::POST, "/images/load", &query, Some("application/x-tar"), Some(body)).await?;
        let mut lines = Vec::new();
        messages(response.into_body(), |message| {
            lines.extend(message["stream"].as_str().map(str::to_owned));
        })
        .await?;
        drop(progress);
        lines.iter().for_each(|line| print!("{line}"));
        Ok(0)
    }
}

/// Hands on each message of a stream of JSON lines; an error among them ends it.
pub(super) async fn messages(body: berth_client::Incoming, mut each: impl FnMut(&Value)) -> anyhow::Result<()> {
    let mut pending = Vec::new();
    let mut failure = None;
    chunks(body, |chunk| {
        pending.extend_from_slice(chunk);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            if let Ok(message) = serde_json::from_slice::<Value>(&line) {
                match message["error"].as_str() {
                    Some(error) => failure = Some(error.to_owned()),
                    None => each(&message),
                }
            }
        }
        Ok(())
    })
    .await?;
    if let Some(failure) = failure {
        bail!("{failure}");
    }
    if let Ok(message) = serde_json::from_slice::<Value>(&pending) {
        match message["error"].as_str() {
            Some(error) => bail!("{error}"),
            None => each(&message),
        }
    }
    Ok(())
}
