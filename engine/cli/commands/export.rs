//! `berth export` and `berth save`: archives out of the engine.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use berth_client::{Client, Method};

use super::Act;
use super::each::container;
use crate::output::progress::Progress;
use crate::session::Session;
use crate::streams::body_reader;

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    container: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Save {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

impl Act for Export {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        download(&session.client, &container(&self.container, "export"), &[], self.output.as_deref()).await
    }
}

impl Act for Save {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let names: Vec<_> = self.images.into_iter().map(|name| ("names", name)).collect();
        download(&session.client, "/images/get", &names, self.output.as_deref()).await
    }
}

/// Writes an archive whole or not at all: a file appears under its name when it is complete.
async fn download(client: &Client, path: &str, query: &[(&str, String)], output: Option<&Path>) -> anyhow::Result<u8> {
    let Some(output) = output else {
        ensure!(
            !std::io::stdout().is_terminal(),
            "cowardly refusing to save to a terminal. Use the -o flag or redirect"
        );
        let response = client.stream(Method::GET, path, &query, None, None).await?;
        copy(response.into_body(), std::io::stdout()).await?;
        return Ok(0);
    };
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(folder.is_dir(), "invalid output path: directory {:?} does not exist", folder.display());
    if output.exists() && !output.is_file() {
        // A device or a pipe is written to as it is.
        let target = File::options().write(true).open(output).with_context(|| format!("open {}", output.display()))?;
        let response = client.stream(Method::GET, path, &query, None, None).await?;
        copy(response.into_body(), target).await?;
        return Ok(0);
    }
    let response = client.stream(Method::GET, path, &query, None, None).await?;
    let temporary = output.with_extension(format!("berth-{}.tmp", std::process::id()));
    let target = File::create(&temporary).with_context(|| format!("create {}", temporary.display()))?;
    let copied = copy(response.into_body(), target).await;
    let moved = copied
        .and_then(|()| std::fs::rename(&temporary, output).with_context(|| format!("write {}", output.display())));
    if moved.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    moved.map(|()| 0)
}

pub(super) async fn copy(body: berth_client::Incoming, mut target: impl Write + Send + 'static) -> anyhow::Result<()> {
    let (mut reader, pump) = body_reader(body);
    let progress = Progress::bytes("written", None);
    let writer = tokio::task::spawn_blocking(move || {
        std::io::copy(&mut progress.reader(&mut reader), &mut target)?;
        target.flush()
    });
    let (_, written) = tokio::join!(pump, writer);
    match written.context("write the archive")? {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(128 + libc::SIGPIPE),
        other => other.context("write the archive"),
    }
}
