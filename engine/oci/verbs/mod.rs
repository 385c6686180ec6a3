//! The verbs. One file each holds its arguments and its action.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod restore;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::io::Write;

use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;

use crate::Context;
use crate::descriptors::Preserved;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Create a container, which waits for its start
    Create(create::Create),
    /// Start the program of a created container
    Start(start::Start),
    /// Print the state of a container
    State(state::Show),
    /// Send a signal to a container
    Kill(kill::Kill),
    /// Remove a container that has ended
    Delete(delete::Delete),
    /// Create and start a container
    Run(run::Run),
    /// Run another program in a container
    Exec(exec::Exec),
    /// List the processes of a container
    Ps(ps::Ps),
    /// List containers
    List(list::List),
    /// Stop all processes of a container for a while
    Pause(pause::Pause),
    /// Let the processes of a paused container go on
    Resume(pause::Resume),
    /// Change the limits of a container
    Update(update::Update),
    /// Print what a container uses and what happens to it
    Events(events::Events),
    /// Write a template of config.json
    Spec(spec::Template),
    /// Write a running container to files
    Checkpoint(checkpoint::Checkpoint),
    /// Make a container that goes on where a checkpoint has it
    Restore(restore::Restore),
    /// Print what this runtime can do
    Features(features::Features),
}

impl Verb {
    /// Whether this process comes to be seen from inside a container.
    pub(crate) fn runs_programs(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Run(_) | Self::Exec(_) | Self::Restore(_))
    }

    /// How many of the caller's descriptors its program gets.
    pub(crate) fn preserve_fds(&self) -> usize {
        match self {
            Self::Create(verb) => verb.preserve_fds(),
            Self::Run(verb) => verb.preserve_fds(),
            Self::Exec(verb) => verb.preserve_fds(),
            _ => 0,
        }
    }

    /// The value is the exit code.
    pub(crate) fn act(self, context: &Context, preserved: Preserved) -> anyhow::Result<u8> {
        match self {
            Self::Create(verb) => verb.act(context, preserved),
            Self::Start(verb) => verb.act(context),
            Self::State(verb) => verb.act(context),
            Self::Kill(verb) => verb.act(context),
            Self::Delete(verb) => verb.act(context),
            Self::Run(verb) => verb.act(context, preserved),
            Self::Exec(verb) => verb.act(context, preserved),
            Self::Ps(verb) => verb.act(context),
            Self::List(verb) => verb.act(context),
            Self::Pause(verb) => verb.act(context),
            Self::Resume(verb) => verb.act(context),
            Self::Update(verb) => verb.act(context),
            Self::Events(verb) => verb.act(context),
            Self::Spec(verb) => verb.act(),
            Self::Checkpoint(verb) => verb.act(context),
            Self::Restore(verb) => verb.act(context, preserved),
            Self::Features(_) => features::print(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
}

fn print(text: &str) -> anyhow::Result<u8> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).context("write to standard output")?;
    Ok(0)
}

fn print_json(value: &impl Serialize) -> anyhow::Result<u8> {
    print(&(serde_json::to_string(value)? + "\n"))
}

/// Replaced whole, so that who waits for the file finds all of it.
fn write_pid(path: &std::path::Path, pid: i32) -> anyhow::Result<()> {
    Ok(berth_store::write_atomic(path, pid.to_string().as_bytes(), false)?)
}
