//! Who somebody is to a registry.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use berth_image::{Error, Result};
use serde::{Deserialize, Serialize};

/// As clients of the Docker API send it (`AuthConfig`).
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// `USER:PASSWORD` in base64, instead of the two.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serveraddress: String,
    /// An OAuth2 refresh token.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identitytoken: String,
    /// A bearer token, used as it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub registrytoken: String,
}

/// No secret gets into a log.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Credentials {
    /// From a header (`X-Registry-Auth`): JSON in base64. An empty one is nobody.
    pub fn decode(header: &str) -> Result<Option<Self>> {
        let credentials: Self = decode(header)?;
        Ok(Some(credentials.whole()?).filter(|found| !found.is_nobody()))
    }

    pub fn encode(&self) -> String {
        URL_SAFE.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Takes `auth` apart.
    pub fn whole(mut self) -> Result<Self> {
        if !self.auth.is_empty() {
            let invalid =
                || Error::InvalidArgument("invalid credentials: auth is not USER:PASSWORD in base64".to_owned());
            let text = STANDARD.decode(&self.auth).map_err(|_| invalid())?;
            let text = String::from_utf8(text).map_err(|_| invalid())?;
            let (username, password) = text.split_once(':').ok_or_else(invalid)?;
            // Older clients end the password with a NUL.
            (self.username, self.password) = (username.to_owned(), password.trim_end_matches('\0').to_owned());
            self.auth.clear();
        }
        Ok(self)
    }

    pub fn is_nobody(&self) -> bool {
        self.username.is_empty() && self.identitytoken.is_empty() && self.registrytoken.is_empty()
    }

    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password)))
    }
}

/// Clients differ in alphabet and padding.
fn decode(header: &str) -> Result<Credentials> {
    let text: String = header
        .trim()
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            c => c,
        })
        .collect();
    if text.is_empty() {
        return Ok(Credentials::default());
    }
    let invalid =
        |why: &dyn std::fmt::Display| Error::InvalidArgument(format!("invalid X-Registry-Auth header: {why}"));
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).map_err(|error| invalid(&error))?;
    let parsed: Option<Credentials> = serde_json::from_slice(&bytes).map_err(|error| invalid(&error))?;
    Ok(parsed.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_send_is_understood() {
        let credentials = Credentials { username: "me".into(), password: "a:b?~ü".into(), ..Credentials::default() };
        assert_eq!(Credentials::decode(&credentials.encode()).unwrap(), Some(credentials.clone()));
        let standard = STANDARD.encode(serde_json::to_vec(&credentials).unwrap());
        assert_eq!(Credentials::decode(&standard).unwrap(), Some(credentials));
        let packed = Credentials { auth: STANDARD.encode("you:p:w\0"), ..Credentials::default() };
        let found = Credentials::decode(&packed.encode()).unwrap().unwrap();
        assert_eq!((found.username.as_str(), found.password.as_str()), ("you", "p:w"));
        for nobody in ["", "e30=", "e30", &STANDARD.encode("null")] {
            assert_eq!(Credentials::decode(nobody).unwrap(), None, "{nobody}");
        }
        assert!(Credentials::decode("!").is_err() && Credentials::decode(&STANDARD.encode("[1]")).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Credentials { username: "me".into(), password: "secret".into(), ..Credentials::default() };
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
