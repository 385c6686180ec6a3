//! `config.json` of Docker's folder. What berth does not know in it stays as it is.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_distribution::Credentials;
use serde_json::{Map, Value, json};

pub(crate) struct ConfigFile {
    path: PathBuf,
    content: Map<String, Value>,
}

/// $DOCKER_CONFIG, or ~/.docker.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("DOCKER_CONFIG")
        .or_else(|| variable("HOME").map(|home| home.join(".docker")))
        .context("where is the configuration? neither DOCKER_CONFIG nor HOME is set")
}

impl ConfigFile {
    pub(super) fn read() -> anyhow::Result<Self> {
        Self::at(folder()?.join("config.json"))
    }

    fn at(path: PathBuf) -> anyhow::Result<Self> {
        let content = match std::fs::read(&path) {
            Ok(bytes) if bytes.trim_ascii().is_empty() => Map::new(),
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))?,
            // Without a folder that can be looked into there is nobody to be.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Map::new(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        Ok(Self { path, content })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The program that keeps the secrets of the registry `key`: `docker-credential-NAME`.
    pub(super) fn helper(&self, key: &str) -> Option<String> {
        let text = |value: &Value| value.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        let own = self.content.get("credHelpers").and_then(|helpers| helpers.get(key)).and_then(text);
        own.or_else(|| self.content.get("credsStore").and_then(text))
    }

    /// What the file itself has; old versions wrote whole URLs.
    pub(super) fn credentials(&self, key: &str) -> anyhow::Result<Option<Credentials>> {
        let Some(auths) = self.content.get("auths").and_then(Value::as_object) else { return Ok(None) };
        let host = |name: &str| {
            let name = name.trim_start_matches("https://").trim_start_matches("http://");
            name.split('/').next().unwrap_or_default().to_owned()
        };
        let found = auths.get(key).or_else(|| {
            let same = |(name, _): &(&String, _)| host(name) == host(key);
            auths.iter().find(same).map(|(_, value)| value)
        });
        let Some(found) = found else { return Ok(None) };
        let credentials: Credentials = serde_json::from_value(found.clone())
            .with_context(|| format!("read the credentials for {key} in {}", self.path.display()))?;
        Ok(Some(credentials.whole()?))
    }

    /// `None`: somebody else has the secret.
    pub(super) fn set(&mut self, key: &str, credentials: Option<&Credentials>) {
        let value = match credentials {
            Some(found) if !found.identitytoken.is_empty() => {
                json!({ "auth": STANDARD.encode(format!("{}:", found.username)), "identitytoken": found.identitytoken })
            }
            Some(found) => json!({ "auth": STANDARD.encode(format!("{}:{}", found.username, found.password)) }),
            None => json!({}),
        };
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        auths[key] = value;
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let auths = self.content.get_mut("auths").and_then(Value::as_object_mut);
        auths.is_some_and(|auths| auths.remove(key).is_some())
    }

    /// Replaces the file, which nobody else may read; a link stays one.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let path = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let at = || format!("write {}", path.display());
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(at)?;
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        serde::Serialize::serialize(&self.content, &mut serde_json::Serializer::with_formatter(&mut bytes, formatter))?;
        // Made with mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(at)?;
        file.write_all(&bytes).and_then(|()| file.as_file().sync_data()).with_context(at)?;
        file.persist(&path).with_context(at)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_stays_and_what_is_stored_is_found() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, r#"{"detachKeys":"ctrl-x","auths":{"https://old.example/v1/":{"auth":"YTpi"}}}"#)
            .unwrap();
        let mut file = ConfigFile::at(path.clone()).unwrap();
        let credentials = Credentials { username: "me".into(), password: "p:w".into(), ..Credentials::default() };
        file.set("host:5000", Some(&credentials));
        file.write().unwrap();
        let mut file = ConfigFile::at(path.clone()).unwrap();
        assert_eq!(file.content["detachKeys"], "ctrl-x");
        assert_eq!(file.credentials("host:5000").unwrap(), Some(credentials));
        assert_eq!(file.credentials("old.example").unwrap().unwrap().password, "b");
        assert_eq!(file.credentials("other").unwrap(), None);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(file.remove("host:5000") && !file.remove("host:5000"));
        std::fs::write(&path, "nonsense").unwrap();
        assert!(ConfigFile::at(path).is_err());
    }

    #[test]
    fn a_registrys_own_helper_comes_before_the_general_one() {
        let text = r#"{"credsStore":"pass","credHelpers":{"a.example":"ecr","b.example":""}}"#;
        let file = ConfigFile { path: PathBuf::new(), content: serde_json::from_str(text).unwrap() };
        assert_eq!(file.helper("a.example").as_deref(), Some("ecr"));
        assert_eq!(file.helper("b.example").as_deref(), Some("pass"));
    }
}
