//! Programs that keep secrets (`docker-credential-NAME`): one word says what is wanted, the rest goes through their standard
//! streams.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use berth_distribution::Credentials;
use serde::Deserialize;
use serde_json::json;

/// The user name under which identity tokens are kept.
const TOKEN: &str = "<token>";

fn call(helper: &str, verb: &str, input: &str) -> anyhow::Result<Result<Vec<u8>, String>> {
    ensure!(!helper.contains('/'), "invalid credential helper {helper:?}");
    let name = format!("docker-credential-{helper}");
    let mut child = Command::new(&name)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("call {name}, which the configuration names"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read says why not.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("wait for {name}"))?;
    let said = || String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(if output.status.success() { Ok(output.stdout) } else { Err(said()) })
}

pub(super) fn get(helper: &str, key: &str) -> anyhow::Result<Option<Credentials>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default)]
        username: String,
        #[serde(default)]
        secret: String,
    }
    let answer = match call(helper, "get", key)? {
        Ok(answer) => answer,
        Err(said) if said.contains("credentials not found") => return Ok(None),
        Err(said) => bail!("docker-credential-{helper}: {said}"),
    };
    let Answer { username, secret } =
        serde_json::from_slice(&answer).with_context(|| format!("read what docker-credential-{helper} says"))?;
    Ok(Some(if username == TOKEN {
        Credentials { identitytoken: secret, ..Credentials::default() }
    } else {
        Credentials { username, password: secret, ..Credentials::default() }
    }))
}

pub(super) fn store(helper: &str, key: &str, credentials: &Credentials) -> anyhow::Result<()> {
    let (name, secret) = match credentials.identitytoken.as_str() {
        "" => (credentials.username.as_str(), &credentials.password),
        _ => (TOKEN, &credentials.identitytoken),
    };
    let input = json!({ "ServerURL": key, "Username": name, "Secret": secret }).to_string();
    call(helper, "store", &input)?.map(drop).map_err(|said| anyhow::anyhow!("docker-credential-{helper}: {said}"))
}

pub(super) fn erase(helper: &str, key: &str) -> anyhow::Result<()> {
    match call(helper, "erase", key)? {
        Err(said) if !said.contains("credentials not found") => bail!("docker-credential-{helper}: {said}"),
        _ => Ok(()),
    }
}
