//! Answers of long work: Docker's lines of progress.

use std::io::Write;

use berth_core::Engine;
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
    begin: Option<oneshot::Sender<Result<(), Failure>>>,
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

    fn begin(&mut self, with: Result<(), Failure>) {
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
    fn error(&mut self, failure: Failure) {
        if self.begin.is_some() {
            return self.begin(Err(failure));
        }
        let message = failure.message;
        self.send(&json!({ "errorDetail": { "message": message }, "error": message }));
    }
}

/// Answers with the lines that `f` writes while it reads the body. An error before the first line has its status; what is
/// refused without a look at the body belongs into `f` too, as the body of a refused request is read for a while.
pub(crate) async fn told<F>(call: Call, f: F) -> Result<Reply, Failure>
where
    F: FnOnce(&Engine, &mut BodyReader, &mut Lines<'_>) -> Result<(), Failure> + Send + 'static,
{
    let mut body = BodyReader::new(call.body);
    let engine = call.engine;
    let (begin, begun) = oneshot::channel();
    let chunks = blocking::chunks(move |writer| {
        let mut lines = Lines { writer, begin: Some(begin) };
        match f(&engine, &mut body, &mut lines) {
            Ok(()) => lines.begin(Ok(())),
            Err(failure) => {
                lines.error(failure);
                body.drain();
            }
        }
        Ok::<_, std::io::Error>(())
    });
    let lost = |_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the work broke off before it began");
    begun.await.map_err(lost)??;
    Ok(reply::streamed(JSON, chunks))
}
