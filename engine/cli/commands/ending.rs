//! How a call of the command line ends: the exit code, and what is printed of an error.

use std::process::ExitCode;

use berth_arch::message::{chain, quiet};

/// As Docker has them: a flag that is wrong is 125, too few or too many words or a verb that does not exist is 1.
pub(super) fn code_of_usage(error: &clap::Error) -> u8 {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let is_flag = |value: &ContextValue| matches!(value, ContextValue::String(text) if text.starts_with('-'));
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => 0,
        ErrorKind::MissingRequiredArgument | ErrorKind::MissingSubcommand | ErrorKind::InvalidSubcommand => 1,
        ErrorKind::UnknownArgument => {
            if error.get(ContextKind::InvalidArg).is_some_and(is_flag) {
                125
            } else {
                1
            }
        }
        _ => 125,
    }
}

/// A verb's end with a message of its own and an exit code other than 1.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: u8,
    pub(crate) error: anyhow::Error,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&chain(self.error.as_ref()))
    }
}

impl std::error::Error for Exit {}

/// Prints an error once, in Docker's words for what the engine refused. `usage` names a verb whose help is pointed to.
pub(super) fn finish(outcome: anyhow::Result<u8>, usage: Option<&str>) -> ExitCode {
    let error = match outcome {
        Ok(code) => return ExitCode::from(code),
        Err(error) => error,
    };
    let (code, error) = match error.downcast::<Exit>() {
        Ok(exit) => (exit.code, exit.error),
        Err(error) => (1, error),
    };
    let message = described(&error);
    if let Some(verb) = usage.filter(|_| code != 1) {
        eprintln!("berth: {message}\n\nRun 'berth {verb} --help' for more information");
    } else if !message.is_empty() {
        eprintln!("{message}");
    }
    ExitCode::from(code)
}

/// What is printed of an error.
pub(super) fn described(error: &anyhow::Error) -> String {
    quiet(&format!("{}{}", daemon_prefix(error), chain(error.as_ref())))
}

fn daemon_prefix(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref::<berth_client::Error>() {
        Some(berth_client::Error::Api { .. }) => "Error response from daemon: ",
        _ => "",
    }
}
