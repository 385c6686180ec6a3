//! Standard output and standard error, written by a thread each, so that a slow reader holds up nothing else.

use std::io::{self, Write};

use tokio::sync::{mpsc, oneshot};

/// Starts its thread with the first chunk.
pub(super) struct Output {
    name: &'static str,
    open: fn() -> Box<dyn Write>,
    thread: Option<Thread>,
}

struct Thread {
    chunks: mpsc::Sender<Vec<u8>>,
    finished: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self { name: "stdout", open: || Box::new(io::stdout()), thread: None }
    }

    pub(super) fn stderr() -> Self {
        Self { name: "stderr", open: || Box::new(io::stderr()), thread: None }
    }

    /// Hands over a chunk; waits while the reader is behind. False when nobody reads any more.
    pub(super) async fn send(&mut self, chunk: Vec<u8>) -> io::Result<bool> {
        let thread = match &mut self.thread {
            Some(thread) => thread,
            None => self.thread.insert(start(self.name, self.open)?),
        };
        Ok(thread.chunks.send(chunk).await.is_ok())
    }

    /// Waits until everything is written.
    pub(super) async fn finish(self) -> io::Result<()> {
        let Some(Thread { chunks, finished }) = self.thread else { return Ok(()) };
        drop(chunks);
        finished.await.unwrap_or(Ok(()))
    }
}

fn start(name: &str, open: fn() -> Box<dyn Write>) -> io::Result<Thread> {
    let (chunks, mut queue) = mpsc::channel::<Vec<u8>>(8);
    let (sender, finished) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut target = open();
        let mut outcome = Ok(());
        while let Some(chunk) = queue.blocking_recv() {
            outcome = target.write_all(&chunk).and_then(|()| target.flush());
            if outcome.is_err() {
                break;
            }
        }
        let _ = sender.send(outcome);
    })?;
    Ok(Thread { chunks, finished })
}
