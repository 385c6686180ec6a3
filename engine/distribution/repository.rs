//! One repository at one endpoint: requests with the right to it, redirects, and what answers mean.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use berth_image::{Error, Reference, Result};
use hyper::header::{HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use serde::Deserialize;

use crate::auth::Authorization;
use crate::challenge;
use crate::endpoint::Endpoint;
use crate::net::{Answer, Failure, Payload, Url};
use crate::{Client, Credentials};

/// Hops to where a blob really is.
const MAX_REDIRECTS: usize = 5;
/// Of an error's text.
const MAX_ERROR: u64 = 64 * 1024;
/// Before the first new attempt, and before any.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is to be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Pull,
    Push,
}

/// A repository, with the right to it as far as it has been asked for.
pub struct Repository<'c> {
    pub(crate) client: &'c Client,
    pub(crate) endpoint: Endpoint,
    pub(crate) name: Reference,
    credentials: Option<Credentials>,
    scopes: Vec<String>,
    authorization: Mutex<Option<Authorization>>,
}

impl Client {
    /// Tries `attempt` again after what may pass.
    pub(crate) fn patiently<T>(
        &self,
        retries: u32,
        mut attempt: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let mut tried = 0;
        loop {
            match attempt() {
                Err(failure) if failure.transient && tried < retries => {
                    tracing::debug!("try again: {}", failure.message);
                    std::thread::sleep(pause(tried));
                    tried += 1;
                }
                other => return Ok(other?),
            }
        }
    }

    /// The repository of `name` at the registry that the name says. Goes there to find out how it is reached.
    pub fn repository(
        &self,
        name: &Reference,
        access: Access,
        credentials: Option<&Credentials>,
    ) -> Result<Repository<'_>> {
        let known = |reached: &std::collections::HashMap<String, Endpoint>| reached.get(name.domain()).cloned();
        if let Some(endpoint) = known(&self.reached.lock().unwrap_or_else(PoisonError::into_inner)) {
            return self.at(endpoint, name, access, credentials);
        }
        let mut first = None;
        for endpoint in self.config.endpoints(name.domain())? {
            let repository = self.at(endpoint.clone(), name, access, credentials)?;
            match repository.ping() {
                Ok(_) => {
                    let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
                    reached.insert(name.domain().to_owned(), endpoint);
                    drop(reached);
                    return Ok(repository);
                }
                // The last one says most: an insecure registry without TLS refuses to speak TLS.
                Err(error @ Error::Unreachable(_)) => first = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(first.unwrap_or_else(|| Error::Unreachable(format!("no way leads to {}", name.domain()))))
    }

    pub(crate) fn at(
        &self,
        endpoint: Endpoint,
        name: &Reference,
        access: Access,
        credentials: Option<&Credentials>,
    ) -> Result<Repository<'_>> {
        let actions = if access == Access::Pull { "pull" } else { "pull,push" };
        let credentials = credentials.filter(|_| !endpoint.mirror).cloned();
        Ok(Repository {
            client: self,
            authorization: Mutex::new(Authorization::at_once(credentials.as_ref())?),
            endpoint,
            scopes: vec![format!("repository:{}:{actions}", name.path())],
            name: name.clone(),
            credentials,
        })
    }

    /// Whether the registry of `domain` takes `credentials`.
    pub fn log_in(&self, domain: &str, credentials: &Credentials) -> Result<()> {
        let name: Reference = format!("{domain}/login").parse()?;
        // Without a dot or a port it is a part of a path on Docker Hub, whose business the password is not.
        if name.domain() != domain {
            return Err(Error::InvalidArgument(format!(
                "registry {domain:?}: no image's name can mean it; write it with a port ({domain}:443)"
            )));
        }
        let repository = self.repository(&name, Access::Pull, Some(credentials))?;
        let answer = Repository { scopes: Vec::new(), ..repository }.request(Method::GET, "", &[], 0)?;
        match answer.status.as_u16() {
            200..300 => Ok(()),
            401 | 403 => Err(Error::Denied("unauthorized: incorrect username or password".to_owned())),
            _ => Err(unexpected(answer, "log in")),
        }
    }
}

impl<'c> Repository<'c> {
    /// Asks for the right to read another repository of the registry too.
    pub fn and_pull(mut self, path: &str) -> Self {
        let scope = format!("repository:{path}:pull");
        if path != self.name.path() && !self.scopes.contains(&scope) {
            self.scopes.push(scope);
        }
        self
    }

    /// Whether there is a registry.
    fn ping(&self) -> Result<()> {
        let (client, url) = (self.client, self.endpoint.url(""));
        let insecure = client.config.is_insecure(&url.origin);
        let answer = client.patiently(1, || client.net.send(&Method::GET, &url, &[], Payload::empty(), insecure))?;
        let speaks = answer.headers.contains_key("docker-distribution-api-version");
        match answer.status.as_u16() {
            200..300 | 401 | 403 => Ok(()),
            // Some answer so to who has not logged in.
            _ if speaks => Ok(()),
            status => Err(Error::Unreachable(format!("{url} is no registry: it answers {status}"))),
        }
    }

    /// As [`Self::send`], for `path` below `/v2/` and what can be sent again. An answer is whatever the registry says.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        retries: u32,
    ) -> Result<Answer<'c>> {
        let url = self.endpoint.url(path);
        self.client.patiently(retries, || {
            let answer = self.send(&method, &url, headers, &mut || Payload::empty());
            match answer {
                Ok(answer) if is_passing(answer.status) && retries > 0 => {
                    Err(Failure::passing(format!("{} answers {}", answer.url, answer.status)))
                }
                Ok(answer) => Ok(Ok(answer)),
                Err(Attempt::Failed(failure)) => Err(failure),
                Err(Attempt::Refused(error)) => Ok(Err(error)),
            }
        })?
    }

    /// Sends a request, with the right to it, and follows where it leads. `payload` is made for each attempt.
    pub(crate) fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        payload: &mut dyn FnMut() -> Payload,
    ) -> std::result::Result<Answer<'c>, Attempt> {
        let client = self.client;
        let mut url = url.clone();
        let (mut asked, mut redirects) = (false, 0);
        loop {
            let ours = url.origin == self.endpoint.base.origin;
            let mut all = headers.to_vec();
            if ours {
                all.extend(self.authorization().as_ref().and_then(Authorization::header));
            }
            let insecure = client.config.is_insecure(&url.origin);
            let answer = client.net.send(method, &url, &all, payload(), insecure)?;
            if answer.status == StatusCode::UNAUTHORIZED && ours && !asked {
                asked = true;
                let challenges: Vec<&str> =
                    answer.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).collect();
                let Some(challenge) = challenge::choose(challenges.into_iter()) else { return Ok(answer) };
                let right = client.authorize(&url.origin, &challenge, self.credentials.as_ref(), &self.scopes)?;
                if right.is_none() {
                    return Ok(answer);
                }
                *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = right;
                continue;
            }
            let leads = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if !leads || !matches!(*method, Method::GET | Method::HEAD) {
                return Ok(answer);
            }
            redirects += 1;
            let refused =
                |why: String| Attempt::Refused(Error::InvalidArgument(format!("{} leads on {why}", answer.url)));
            if redirects > MAX_REDIRECTS {
                return Err(refused("without an end".to_owned()));
            }
            let next = answer.header(LOCATION).and_then(|location| answer.url.join(location));
            let next = next.ok_or_else(|| refused("to an invalid address".to_owned()))?;
            if !client.config.may_lead(&answer.url.origin, &next.origin) {
                return Err(refused(format!("to {next}, which is not encrypted")));
            }
            url = next;
        }
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Option<Authorization>> {
        self.authorization.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("{}/{rest}", self.name.path())
    }

    /// What an answer that is no success means. `what`: `manifest for NAME`.
    pub(crate) fn refusal(&self, answer: Answer<'_>, what: &str) -> Error {
        match answer.status.as_u16() {
            401 | 403 => {
                let said = words(answer);
                let (name, colon) = (self.name.familiar_name(), if said.is_empty() { "" } else { ": " });
                let scope = self.scopes.first().map_or("", String::as_str);
                if scope.ends_with("push") {
                    return Error::Denied(format!(
                        "push access denied for {name}: repository does not exist or may require \
                                                  authorization{colon}{said}"
                    ));
                }
                Error::Denied(format!(
                    "pull access denied for {name}, repository does not exist or may require 'berth login'{colon}{said}"
                ))
            }
            404 => {
                let said = words(answer);
                let colon = if said.is_empty() { "" } else { ": " };
                Error::NotFound(format!("{what} not found{colon}{said}"))
            }
            _ => unexpected(answer, what),
        }
    }
}

/// Why there is no answer.
pub(crate) enum Attempt {
    Failed(Failure),
    Refused(Error),
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Attempt> for Error {
    fn from(attempt: Attempt) -> Self {
        match attempt {
            Attempt::Failed(failure) => failure.into(),
            Attempt::Refused(error) => error,
        }
    }
}

/// How long to wait after `tried` attempts and a first one; each time twice as long.
pub(crate) fn pause(tried: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2u32.saturating_pow(tried)).min(LONGEST_PAUSE)
}

/// Whether the same question may be answered later.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn unexpected(answer: Answer<'_>, what: &str) -> Error {
    let (url, status) = (answer.url.clone(), answer.status);
    let said = words(answer);
    let colon = if said.is_empty() { "" } else { ": " };
    let message = format!("{what}: {url} answers {status}{colon}{said}");
    if is_passing(status) { Error::Unreachable(message) } else { Error::InvalidArgument(message) }
}

/// What a registry says went wrong (distribution-spec, "Error Codes"), for a terminal.
fn words(answer: Answer<'_>) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Entry>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Entry {
        code: String,
        message: Option<String>,
    }
    const SHOWN: usize = 300;
    let Ok(bytes) = answer.collect(MAX_ERROR, "an error") else { return String::new() };
    let Ok(Errors { errors }) = serde_json::from_slice(&bytes) else { return String::new() };
    let entries = errors.iter().map(|entry| {
        let code = entry.code.to_lowercase().replace('_', " ");
        match entry.message.as_deref() {
            Some(message) if !message.is_empty() => format!("{code}: {message}"),
            _ => code,
        }
    });
    let text = entries.collect::<Vec<_>>().join(", ");
    text.chars()
        .take(SHOWN)
        .flat_map(|c| {
            if c.is_control() { c.escape_debug().to_string() } else { c.to_string() }.chars().collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_goes_to_no_other_registry_than_was_named() {
        let client = Client::new(crate::Config::default()).unwrap();
        for domain in ["myhost", "someone"] {
            let error = client.log_in(domain, &Credentials::default()).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
            assert!(error.to_string().contains(&format!("({domain}:443)")), "{error}");
        }
    }

    #[test]
    fn pauses_grow_but_not_without_end() {
        assert_eq!([0, 1, 2].map(pause), [300, 600, 1200].map(Duration::from_millis));
        assert_eq!([7, 31, 32, u32::MAX].map(pause), [LONGEST_PAUSE; 4]);
    }
}
