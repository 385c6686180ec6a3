//! `berth login` and `berth logout`.

use std::io::{BufRead, IsTerminal, Read, Write};

use anyhow::{Context, ensure};
use berth_core::registries::registry_domain;
use berth_distribution::Credentials;
use serde_json::Value;

use super::Act;
use crate::registry;
use crate::session::{Globals, Session};
use crate::streams::signals::Caught;

#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// Password or Personal Access Token (PAT)
    #[arg(short, long, value_name = "SECRET", conflicts_with = "password_stdin")]
    password: Option<String>,
    /// Take the Password or Personal Access Token (PAT) from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Username
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Logout {
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

impl Act for Login {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        // What ends us must find the terminal as it was.
        let mut ending = Caught::new(|number| [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].contains(&number))?;
        let (number, _) = tokio::select! {
            outcome = self.log_in(session) => return outcome,
            caught = ending.next() => caught,
        };
        // Not by returning: that would wait for whoever reads the password.
        std::process::exit(128 + number)
    }
}

impl Login {
    async fn log_in(self, session: Session) -> anyhow::Result<u8> {
        let domain = registry_domain(self.server.as_deref().unwrap_or_default()).to_owned();
        let given = self.password.is_some() || self.password_stdin;
        let stored = if self.username.is_none() && !given { registry::of_domain(&domain)? } else { None };
        let mut credentials = match stored {
            Some(stored) => {
                println!("Authenticating with existing credentials...");
                stored
            }
            None => self.ask().await?,
        };
        credentials.serveraddress = registry::key(&domain);
        let answer: Value = session.client.post("/auth", &(), &credentials).await?;
        if let Some(token) = answer["IdentityToken"].as_str().filter(|token| !token.is_empty()) {
            (credentials.identitytoken, credentials.password) = (token.to_owned(), String::new());
        }
        if let Some(warning) = registry::store(&domain, &credentials)? {
            eprintln!("{warning}\n");
        }
        println!("{}", answer["Status"].as_str().unwrap_or("Login Succeeded"));
        Ok(0)
    }

    /// From the options, standard input or the user at the terminal.
    async fn ask(&self) -> anyhow::Result<Credentials> {
        let terminal = std::io::stdin().is_terminal();
        let username = match &self.username {
            Some(name) => name.clone(),
            None => {
                ensure!(!self.password_stdin, "Must provide --username with --password-stdin");
                ensure!(terminal, "Cannot perform an interactive login from a non TTY device");
                let name = prompt("Username: ")?;
                ensure!(!name.is_empty(), "username is empty");
                name
            }
        };
        let password = match &self.password {
            Some(password) => {
                eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
                password.clone()
            }
            None if self.password_stdin => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("read the password")?;
                text.trim_end_matches(['\n', '\r']).to_owned()
            }
            None => {
                ensure!(terminal, "Cannot perform an interactive login from a non TTY device");
                let _silent = Silent::new()?;
                tokio::task::spawn_blocking(|| prompt("Password: ")).await??
            }
        };
        ensure!(!password.is_empty(), "password is empty");
        Ok(Credentials { username, password, ..Credentials::default() })
    }
}

fn prompt(text: &str) -> anyhow::Result<String> {
    print!("{text}");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// A terminal that does not show what is typed, until the value is dropped. The end of the line, too, was not shown.
struct Silent(rustix::termios::Termios);

impl Silent {
    fn new() -> anyhow::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin()).context("look at the terminal")?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent).context("set up the terminal")?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &self.0);
        println!();
    }
}

impl Act for Logout {
    const LOCAL: bool = true;

    async fn act(self, _: Session) -> anyhow::Result<u8> {
        unreachable!("a local verb")
    }

    fn act_locally(self, _: Globals) -> anyhow::Result<u8> {
        let domain = registry_domain(self.server.as_deref().unwrap_or_default()).to_owned();
        let key = registry::key(&domain);
        if registry::forget(&domain)? {
            println!("Removing login credentials for {key}");
        } else {
            println!("Not logged in to {key}");
        }
        Ok(0)
    }
}
