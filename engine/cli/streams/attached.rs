//! A connection that carries a program's streams, between the engine and the user's own.

use std::io;

use anyhow::Context;
use berth_api::stream::{Demultiplexer, Piece, RAW, Stream};
use berth_client::Upgraded;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

use super::detach_keys::Scanner;
use super::input::Input;
use super::output::Output;

const CHUNK: usize = 64 * 1024;

/// What is carried.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    /// The program has a terminal: one raw stream, and detach keys are looked for.
    pub(crate) terminal: bool,
    pub(crate) detach_keys: Vec<u8>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The engine closed the streams: the program has ended, or somebody detached elsewhere.
    Closed,
    /// The user typed the detach keys.
    Detached,
}

/// Carries until the engine closes the streams or the user detaches.
pub(crate) async fn carry(connection: Upgraded, kind: Option<&str>, streams: Streams) -> anyhow::Result<Ended> {
    let (from_engine, to_engine) = split(connection);
    let raw = streams.terminal || kind == Some(RAW);
    let output = receive(from_engine, raw, streams.clone());
    if !streams.stdin {
        // The other side must not see an end of input; the half stays open.
        let outcome = output.await;
        drop(to_engine);
        return outcome.map(|()| Ended::Closed);
    }
    let input = send(to_engine, streams);
    tokio::pin!(output, input);
    tokio::select! {
        outcome = &mut output => return outcome.map(|()| Ended::Closed),
        detached = &mut input => if detached? { return Ok(Ended::Detached) },
    }
    output.await.map(|()| Ended::Closed)
}

/// Sends standard input. True when the detach keys were typed; false at its end.
async fn send(mut to_engine: WriteHalf<Upgraded>, streams: Streams) -> anyhow::Result<bool> {
    let mut input = Input::start().context("read standard input")?;
    let mut scanner = streams.terminal.then(|| Scanner::new(streams.detach_keys));
    while let Some(chunk) = input.chunks.recv().await {
        let (chunk, detached) = match &mut scanner {
            Some(scanner) => scanner.scan(&chunk),
            None => (chunk, false),
        };
        // A program that no longer reads is no error: its output still counts.
        if to_engine.write_all(&chunk).await.is_err() {
            std::future::pending::<()>().await;
        }
        if detached {
            return Ok(true);
        }
    }
    let _ = to_engine.shutdown().await;
    Ok(false)
}

async fn receive(mut from_engine: ReadHalf<Upgraded>, raw: bool, streams: Streams) -> anyhow::Result<()> {
    let (mut stdout, mut stderr) = (Output::stdout(), Output::stderr());
    let mut demultiplexer = Demultiplexer::default();
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = match from_engine.read(&mut buffer).await {
            Ok(0) => break,
            Ok(length) => length,
            // Everything has been read by then; the engine closed over input that came too late.
            Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                break;
            }
            Err(error) => return Err(error).context("read the container's output"),
        };
        let mut rest = &buffer[..length];
        if raw {
            if streams.stdout && !stdout.send(rest.to_vec()).await? {
                break;
            }
            continue;
        }
        while let Some(piece) = demultiplexer.next(&mut rest) {
            let written = match piece {
                Piece::Data(Stream::Stdout, data) => !streams.stdout || stdout.send(data.to_vec()).await?,
                Piece::Data(Stream::Stderr, data) => !streams.stderr || stderr.send(data.to_vec()).await?,
                Piece::Data(Stream::System, data) => {
                    anyhow::bail!("error from daemon in stream: {}", String::from_utf8_lossy(data))
                }
                Piece::Data(Stream::Stdin, _) => true,
                Piece::Broken(kind) => anyhow::bail!("unrecognized stream: {kind}"),
            };
            if !written {
                die_of_broken_pipe(stdout).await;
                return Ok(());
            }
        }
    }
    for output in [stdout, stderr] {
        match output.finish().await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => broken_pipe(),
            other => other.context("write the container's output")?,
        }
    }
    Ok(())
}

async fn die_of_broken_pipe(output: Output) {
    if let Err(error) = output.finish().await
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        broken_pipe();
    }
}

/// Ends as programs do whose reader has gone (`berth run ... | head -1`); the container goes on.
fn broken_pipe() -> ! {
    std::process::exit(128 + libc::SIGPIPE)
}
