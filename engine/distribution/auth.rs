//! The right to a repository: basic authentication, and Docker's bearer tokens.

use std::time::{Duration, Instant};

use berth_image::{Error, Result};
use bytes::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::challenge::Challenge;
use crate::net::{Answer, Origin, Payload, Url};
use crate::{Client, Credentials};

/// Of a token server's answer.
const MAX_ANSWER: u64 = 1 << 20;
/// How long a token is good for whose server does not say.
const LIFETIME: u64 = 60;
/// A token is given up that long before its end.
const MARGIN: Duration = Duration::from_secs(10);

/// What goes into `Authorization`.
#[derive(Debug, Clone)]
pub(crate) struct Authorization {
    value: HeaderValue,
    until: Option<Instant>,
}

impl Authorization {
    fn new(text: &str, until: Option<Instant>) -> Result<Self> {
        let mut value =
            HeaderValue::from_str(text).map_err(|_| Error::InvalidArgument("invalid credentials".to_owned()))?;
        value.set_sensitive(true);
        Ok(Self { value, until })
    }

    pub(crate) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let fresh = self.until.is_none_or(|until| Instant::now() < until);
        fresh.then(|| (AUTHORIZATION, self.value.clone()))
    }

    /// Without having been asked.
    pub(crate) fn at_once(credentials: Option<&Credentials>) -> Result<Option<Self>> {
        let token = credentials.map_or("", |found| &found.registrytoken);
        if token.is_empty() { Ok(None) } else { Self::new(&format!("Bearer {token}"), None).map(Some) }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Token {
    token: String,
    access_token: String,
    /// Seconds.
    expires_in: Option<u64>,
}

impl Client {
    /// What answers the challenge of `origin`. `scopes`: `repository:NAME:pull,push`. `None`: there is nobody to be.
    pub(crate) fn authorize(
        &self,
        origin: &Origin,
        challenge: &Challenge,
        credentials: Option<&Credentials>,
        scopes: &[String],
    ) -> Result<Option<Authorization>> {
        match challenge {
            Challenge::Basic => match credentials.filter(|found| !found.username.is_empty()) {
                Some(credentials) => Authorization::new(&credentials.basic(), None).map(Some),
                None => Ok(None),
            },
            Challenge::Bearer { realm, service } => {
                let realm = self.realm(origin, realm)?;
                let token = |scopes| self.token(&realm, service.as_deref(), credentials, scopes).map(Some);
                match (token(scopes), scopes) {
                    // For what is wanted besides, some servers deny everything.
                    (Err(Error::Denied(_)), [first, _, ..]) => token(std::slice::from_ref(first)),
                    (token, _) => token,
                }
            }
        }
    }

    /// A registry says where tokens are to be had. Secrets go there as its user wants, but never in the open if the registry
    /// itself is not in the open.
    fn realm(&self, origin: &Origin, text: &str) -> Result<Url> {
        let realm = Url::parse(text)
            .ok_or_else(|| Error::InvalidArgument(format!("{origin} wants a token of an invalid address: {text:?}")))?;
        let in_the_open = !realm.origin.tls && realm.origin != *origin && !self.config.is_insecure(&realm.origin);
        if in_the_open || (origin.tls && !self.config.is_insecure(origin) && !realm.origin.tls) {
            return Err(Error::Denied(format!(
                "{origin} wants a token of {realm}, which is not encrypted: nothing is sent there; if that is as it should \
                 be, name {} among the insecure registries",
                realm.origin.authority()
            )));
        }
        Ok(realm)
    }

    fn token(
        &self,
        realm: &Url,
        service: Option<&str>,
        credentials: Option<&Credentials>,
        scopes: &[String],
    ) -> Result<Authorization> {
        let mut query: Vec<(&str, &str)> = service.map(|service| ("service", service)).into_iter().collect();
        let answer = match credentials.filter(|found| !found.identitytoken.is_empty()) {
            Some(credentials) => {
                let scopes = scopes.join(" ");
                query.extend([("grant_type", "refresh_token"), ("client_id", "berth"), ("scope", &scopes)]);
                query.push(("refresh_token", &credentials.identitytoken));
                let form = HeaderValue::from_static("application/x-www-form-urlencoded");
                self.ask_for_token(Method::POST, realm, &[(CONTENT_TYPE, form)], &encode(&query)?)?
            }
            None => {
                query.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
                let mut headers = Vec::new();
                if let Some(credentials) = credentials.filter(|found| !found.username.is_empty()) {
                    query.push(("account", &credentials.username));
                    headers.extend(Authorization::new(&credentials.basic(), None)?.header());
                }
                self.ask_for_token(Method::GET, &realm.with_query(&encode(&query)?), &headers, "")?
            }
        };
        let asked = Instant::now();
        let token = match answer.status.as_u16() {
            200 => answer.collect(MAX_ANSWER, "a token")?,
            401 | 403 => return Err(Error::Denied("unauthorized: incorrect username or password".to_owned())),
            status => return Err(Error::Unreachable(format!("ask {realm} for a token: it answers {status}"))),
        };
        let token: Token = serde_json::from_slice(&token)
            .map_err(|error| Error::InvalidArgument(format!("the token of {realm} makes no sense: {error}")))?;
        let text = if token.token.is_empty() { token.access_token } else { token.token };
        if text.is_empty() {
            return Err(Error::InvalidArgument(format!("{realm} answers without a token")));
        }
        let seconds = token.expires_in.unwrap_or(LIFETIME).clamp(LIFETIME, 24 * 60 * 60);
        Authorization::new(&format!("Bearer {text}"), Some(asked + Duration::from_secs(seconds) - MARGIN))
    }

    fn ask_for_token(
        &self,
        method: Method,
        realm: &Url,
        headers: &[(HeaderName, HeaderValue)],
        form: &str,
    ) -> Result<Answer<'_>> {
        let payload = || Payload::Bytes(Bytes::from(form.to_owned()));
        self.patiently(1, || self.net.send(&method, realm, headers, payload(), self.config.is_insecure(&realm.origin)))
    }
}

fn encode(query: &[(&str, &str)]) -> Result<String> {
    serde_urlencoded::to_string(query).map_err(|error| Error::InvalidArgument(format!("invalid scope: {error}")))
}
