//! Talking to a container's monitor, and what its refusals mean here.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use berth_monitor::protocol::{Refusal, RefusalKind, Request, Response};
use berth_monitor::{Error as Failure, client};

use crate::{Container, Engine, Error, Result};

/// Docker's words for a verb that needs a running container.
pub(crate) fn not_running(container: &Container) -> Error {
    Error::Conflict(format!("container {} is not running", container.id))
}

pub(crate) fn refusal(refusal: Refusal) -> Error {
    let message = refusal.message;
    match refusal.kind {
        RefusalKind::Conflict => Error::Conflict(message),
        RefusalKind::NotFound => Error::NotFound(message),
        RefusalKind::InvalidArgument => Error::InvalidArgument(message),
        RefusalKind::ProgramNotFound => Error::Program { message, code: 127 },
        RefusalKind::CannotExecute => Error::Program { message, code: 126 },
        RefusalKind::Failed => Error::Internal(message),
    }
}

pub(crate) fn failure(failure: Failure) -> Error {
    match failure {
        Failure::Io { action, path, source } => Error::Io { action, path, source },
        other => Error::Internal(other.to_string()),
    }
}

impl Engine {
    pub(crate) fn folder(&self, container: &Container) -> PathBuf {
        self.paths().container(&container.id)
    }

    pub(crate) fn run_folder(&self, container: &Container) -> PathBuf {
        self.paths().container_run(&container.id)
    }

    pub(crate) fn ask(&self, container: &Container, request: &Request) -> Result<Response> {
        self.ask_with_stream(container, request).map(|(_, response)| response)
    }

    /// The positive answer, and the stream it came over.
    pub(crate) fn ask_with_stream(&self, container: &Container, request: &Request) -> Result<(UnixStream, Response)> {
        match client::open(&self.run_folder(container), request) {
            Ok((_, Response::Refused(why))) => Err(refusal(why)),
            Ok(answer) => Ok(answer),
            Err(Failure::NotFound(_)) => Err(not_running(container)),
            Err(other) => Err(failure(other)),
        }
    }
}
