//! Answers of long work: Docker's lines of progress.

use std::io::Write;

use berth_core::{Engine, Error};
use berth_image::Progress;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::blocking::{self, BodyReader, BodyWriter};
use crate::call::Call;
use crate::reply::{self, JSON, Reply};
use crate::status::Failure;

/// Writes Docker's progress lines. A client that does not listen does not stop the work.
pub(crate) struct Lines<'a> {
    writer: &'a mut BodyWriter,
    /// Gone once the answer has begun.
    begin: Option<oneshot::Sender<Result<(), Error>>>,
}

impl Lines<'_> {
    pub(crate) fn send(&mut self, value: &Value) {
        self.begin(Ok(()));
        let _ = writeln!(self.writer, "{value}").and_then(|()| self.writer.flush());
    }

    /// Asks whether nobody listens any more.
    pub(crate) fn watcher(&self) -> impl Fn() -> bool + use<> {
        self.writer.watcher()
    }

    fn begin(&mut self, with: Result<(), Error>) {
        if let Some(begin) = self.begin.take() {
            let _ = begin.send(with);
        }
    }

    pub(crate) fn progress(&mut self, step: Progress<'_>) {
        let detail = match step.total {
            Some(total) => json!({ "current": step.current, "total": total }),
            None => json!({ "current": step.current }),
        };
        let mut line = json!({ "status": step.action, "progressDetail": detail });
        if !step.object.is_empty() {
            line["id"] = json!(step.object);
        }
        self.send(&line);
    }

    /// Once the status is on its way, an error is a line too.
    fn error(&mut self, error: Error) {
        if self.begin.is_some() {
            return self.begin(Err(error));
        }
        let message = error.to_string();
        self.send(&json!({ "errorDetail": { "message": message }, "error": message }));
    }
}

/// Answers with the lines that `f` writes while it reads the body. An error before the first line has its status.
pub(crate) async fn told<F>(call: Call, f: F) -> Result<Reply, Failure>
where
    F: FnOnce(&Engine, &mut BodyReader, &mut Lines<'_>) -> Result<(), Error> + Send + 'static,
{
    let mut body = BodyReader::new(call.body);
    let engine = call.engine;
    let (begin, begun) = oneshot::channel();
    let chunks = blocking::chunks(move |writer| {
        let mut lines = Lines { writer, begin: Some(begin) };
        match f(&engine, &mut body, &mut lines) {
            Ok(()) => lines.begin(Ok(())),
            Err(error) => {
                lines.error(error);
                body.drain();
            }
        }
        Ok::<_, std::io::Error>(())
    });
    let lost = |_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the work broke off before it began");
    begun.await.map_err(lost)??;
    Ok(reply::streamed(JSON, chunks))
}
