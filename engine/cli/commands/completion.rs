//! `berth completion`: scripts for shells, and what the scripts ask.

use std::ffi::OsString;
use std::process::ExitCode;

use super::ending::finish;
use super::{Act, Verb, root_command, verb};
use crate::completion::{BASH, FISH, ZSH, answer};
use crate::session::{Globals, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Script<const SHELL: char> {
    /// Disable completion descriptions
    #[arg(long)]
    no_descriptions: bool,
}

pub(super) const VERBS: &[Verb] = &[
    verb::<Script<'b'>>("bash", &[], "Generate the autocompletion script for bash"),
    verb::<Script<'f'>>("fish", &[], "Generate the autocompletion script for fish"),
    verb::<Script<'z'>>("zsh", &[], "Generate the autocompletion script for zsh"),
];

impl<const SHELL: char> Act for Script<SHELL> {
    const LOCAL: bool = true;

    async fn act(self, _session: Session) -> anyhow::Result<u8> {
        unreachable!("a local verb")
    }

    fn act_locally(self, _globals: Globals) -> anyhow::Result<u8> {
        let script = match SHELL {
            'b' => BASH,
            'f' => FISH,
            _ => ZSH,
        };
        if self.no_descriptions {
            print!("{}", script.replace("__complete ", "__completeNoDesc "));
        } else {
            print!("{script}");
        }
        Ok(0)
    }
}

/// What the scripts ask by `__complete WORD...`. Not a verb of the tables: an option among the words is none of this call.
pub(crate) fn main(words: impl IntoIterator<Item = OsString>, describe: bool) -> ExitCode {
    let words: Vec<String> = words.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    finish(
        answer(root_command(&|_| true), &words, describe).map(|text| {
            print!("{text}");
            0
        }),
        None,
    )
}
