//! What can be typed next on berth's command line, for shells.
//!
//! The scripts (`berth.bash`, `berth.zsh`, `berth.fish`) ask the program by `berth __complete WORD...`, in the protocol of
//! Docker's scripts (cobra's): a line for each offer, `WORD` or `WORD<TAB>DESCRIPTION`, and in the end `:` and a sum of the
//! directives below. `place.rs` finds what stands where the cursor is, `names.rs` asks the engine for names.

mod names;
mod place;

use anyhow::Context as _;
use clap::Command;

use self::names::Kind;
use self::place::{Place, place};
use crate::session::{Globals, Session};

/// For the shell, beside what is offered.
const NO_FILES: u8 = 4;
const FOLDERS: u8 = 16;

pub(crate) const BASH: &str = include_str!("berth.bash");
pub(crate) const FISH: &str = include_str!("berth.fish");
pub(crate) const ZSH: &str = include_str!("berth.zsh");

/// A word and what it stands for.
type Offer = (String, String);

/// What the shell prints or takes. The last of `words` is the one to be completed, the others come before it;
/// `command` is the whole of what there is.
pub(crate) fn answer(mut command: Command, words: &[String], describe: bool) -> anyhow::Result<String> {
    command.build();
    let (last, before) = words.split_last().context("a word to complete is wanted, if an empty one")?;
    let found = place(&command, before, last);
    let (mut offers, directive) = match found.place {
        Place::Nothing => (Vec::new(), NO_FILES),
        Place::Files => (Vec::new(), 0),
        Place::Folders => (Vec::new(), FOLDERS),
        Place::OneOf(offers) => (offers, NO_FILES),
        // A shell that gets no names offers nothing: why there are none is said by the verb itself.
        Place::Names(kinds) => (ask(&command, &found.globals, &kinds).unwrap_or_default(), NO_FILES),
    };
    offers.retain(|(word, _)| word.starts_with(found.begun) && !found.taken.contains(word));
    let mut text = String::new();
    for (word, about) in &offers {
        text.push_str(&plain(word));
        if describe && !about.is_empty() {
            text.push('\t');
            text.push_str(&plain(about));
        }
        text.push('\n');
    }
    Ok(format!("{text}:{directive}\n"))
}

/// A line is an offer, whatever is in it.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// `typed` are the options before and after the verb that say which engine is meant.
fn ask(command: &Command, typed: &[String], kinds: &[Kind]) -> anyhow::Result<Vec<Offer>> {
    let program = std::iter::once(command.get_name().to_owned());
    let globals = <Globals as clap::Args>::augment_args(Command::new("berth"));
    let matches = globals.try_get_matches_from(program.chain(typed.iter().cloned()))?;
    let globals = <Globals as clap::FromArgMatches>::from_arg_matches(&matches)?.or_environment();
    let Some(session) = Session::of_what_is_there(&globals)? else { return Ok(Vec::new()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut offers = Vec::new();
    for kind in kinds {
        offers.extend(runtime.block_on(kind.ask(&session.client))?);
    }
    offers.sort();
    offers.dedup_by(|one, other| one.0 == other.0);
    std::mem::forget(runtime);
    Ok(offers)
}
