//! The one place where errors get their HTTP statuses.

use berth_api::ErrorBody;
use berth_api::query::InvalidQuery;
use berth_core::Error;
use hyper::StatusCode;

use crate::reply::{self, Reply};

/// An answer that is not a result.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// An answer that could not be written as JSON.
    pub(crate) fn encode(error: serde_json::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("encode the answer: {error}"))
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// Docker's answer to a path or method that does not exist.
    pub(crate) fn no_such_page() -> Self {
        Self::new(StatusCode::NOT_FOUND, "page not found")
    }

    pub(crate) fn into_reply(self) -> Reply {
        // 304 has no body (RFC 9110, 15.4.5).
        if self.status == StatusCode::NOT_MODIFIED {
            return reply::empty(self.status);
        }
        if self.status.is_server_error() && self.status != StatusCode::NOT_IMPLEMENTED {
            tracing::error!(status = self.status.as_u16(), "{}", self.message);
        }
        reply::json(self.status, &ErrorBody { message: self.message })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Conflict(_) => StatusCode::CONFLICT,
            Error::InvalidArgument(_) => StatusCode::BAD_REQUEST,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Error::NotModified(_) => StatusCode::NOT_MODIFIED,
            // Docker's statuses for a program that is not there or cannot be run; clients make 127 and 126 of them
            // by the message.
            Error::Program { .. } => StatusCode::BAD_REQUEST,
            Error::Unsupported(_) => StatusCode::NOT_IMPLEMENTED,
            Error::Unavailable(_) | Error::Internal(_) | Error::Io { .. } | Error::Store(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, error.to_string())
    }
}

impl From<InvalidQuery> for Failure {
    fn from(error: InvalidQuery) -> Self {
        Self::bad_request(error.0)
    }
}

impl From<berth_image::Error> for Failure {
    fn from(error: berth_image::Error) -> Self {
        Error::from(error).into()
    }
}
