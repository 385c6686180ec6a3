//! Docker's own clients, which ask a world's daemon.

use std::process::Command;

use super::call::call;
use super::world::LIMIT;
use super::{Outcome, World};

impl World {
    /// One of them, by its name.
    pub(crate) fn client(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        self.surround(&mut command);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command
    }
}

/// The command `docker`.
pub(crate) struct Docker<'a>(pub(crate) &'a World);

impl Docker<'_> {
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.0.client("docker");
        command.args(arguments);
        command
    }

    pub(crate) fn call(&self, arguments: &[&str]) -> Outcome {
        self.feed(arguments, &[])
    }

    pub(crate) fn feed(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        call(self.command(arguments), input, LIMIT)
    }
}
