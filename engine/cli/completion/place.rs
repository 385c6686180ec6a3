//! What stands where the cursor is: a verb, an option, an option's value, or one of a verb's words.

use clap::{Arg, ArgAction, Command};

use super::Offer;
use super::names::Kind;
use crate::session::Globals;

/// A place on a command line.
pub(super) struct Found<'a> {
    pub(super) place: Place,
    /// The beginning of the word that is there, without an option's name.
    pub(super) begun: &'a str,
    /// Words of the verb that are there already, and need not be offered again.
    pub(super) taken: Vec<String>,
    /// What was said of the engine.
    pub(super) globals: Vec<String>,
}

pub(super) enum Place {
    Nothing,
    Files,
    Folders,
    OneOf(Vec<Offer>),
    Names(Vec<Kind>),
}

const SIGNALS: [&str; 10] = ["HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP", "WINCH"];
const POLICIES: [&str; 4] = ["no", "always", "on-failure", "unless-stopped"];

pub(super) fn place<'a>(mut command: &Command, before: &[String], last: &'a str) -> Found<'a> {
    let mut found = Found { place: Place::Nothing, begun: last, taken: Vec::new(), globals: Vec::new() };
    let mut wanting: Option<&Arg> = None;
    let mut options_end = false;
    for word in before {
        if let Some(option) = wanting.take() {
            found.note_global(option, word);
        } else if !found.taken.is_empty() && takes_the_rest(command) {
            found.taken.push(word.clone());
        } else if !options_end && word == "--" {
            options_end = true;
        } else if !options_end && word.len() > 1 && word.starts_with('-') {
            let Some(option) = option(command, word) else { continue };
            found.note_global(option, word);
            wanting = Some(option).filter(|option| wants_a_word(option, word));
        } else if command.has_subcommands() {
            match command.find_subcommand(word) {
                Some(verb) => command = verb,
                None => return found,
            }
        } else {
            found.taken.push(word.clone());
        }
    }
    let free = !found.taken.is_empty() && takes_the_rest(command);
    found.place = if let Some(option) = wanting {
        of_argument(option, command)
    } else if free {
        Place::Files
    } else if !options_end && last.starts_with('-') {
        match (last.split_once('='), option(command, last)) {
            (Some((_, value)), Some(option)) => {
                found.begun = value;
                of_argument(option, command)
            }
            (Some(_), None) => Place::Nothing,
            (None, _) => Place::OneOf(options(command)),
        }
    } else if command.has_subcommands() {
        let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
        let offer = |verb: &Command| (verb.get_name().to_owned(), text(verb.get_about()));
        Place::OneOf(verbs.map(offer).collect())
    } else {
        match nth_word(command, found.taken.len()) {
            Some(word) => of_argument(word, command),
            None => Place::Nothing,
        }
    };
    found
}

impl Found<'_> {
    fn note_global(&mut self, option: &Arg, word: &str) {
        let globals = <Globals as clap::Args>::augment_args(Command::new("berth"));
        if globals.get_arguments().any(|global| global.get_id() == option.get_id()) {
            self.globals.push(word.to_owned());
        }
    }
}

/// That a word begins with, of the last of several letters (`-it`) or the first that takes a value (`-p80:80`).
fn option<'c>(command: &'c Command, word: &str) -> Option<&'c Arg> {
    let options = || command.get_arguments().filter(|argument| !argument.is_positional());
    if let Some(long) = word.strip_prefix("--") {
        let name = long.split('=').next().unwrap_or(long);
        let called = |argument: &&Arg| {
            argument.get_long() == Some(name) || argument.get_all_aliases().is_some_and(|all| all.contains(&name))
        };
        return options().find(called);
    }
    let mut last = None;
    for letter in word.chars().skip(1).take_while(|letter| *letter != '=') {
        last = options().find(|argument| argument.get_short() == Some(letter));
        if last.is_some_and(takes_a_value) {
            break;
        }
    }
    last
}

/// One that has to be there: switches may have one, after `=`.
fn takes_a_value(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::Set | ArgAction::Append) && !option.is_require_equals_set()
}

/// Whether the value is the next word, `word` having none.
fn wants_a_word(option: &Arg, word: &str) -> bool {
    let has_its_value = match word.strip_prefix("--") {
        Some(long) => long.contains('='),
        None => !word.ends_with(option.get_short().unwrap_or('=')),
    };
    takes_a_value(option) && !has_its_value
}

/// A program and its arguments, after the first word (`run IMAGE`, `exec CONTAINER`).
fn takes_the_rest(command: &Command) -> bool {
    command.get_positionals().any(Arg::is_trailing_var_arg_set)
}

fn nth_word(command: &Command, number: usize) -> Option<&Arg> {
    let many = |word: &&Arg| {
        matches!(word.get_action(), ArgAction::Append)
            || word.get_num_args().is_some_and(|range| range.max_values() > 1)
    };
    command.get_positionals().nth(number).or_else(|| command.get_positionals().last().filter(many))
}

fn options(command: &Command) -> Vec<Offer> {
    let shown = command.get_arguments().filter(|argument| !argument.is_positional() && !argument.is_hide_set());
    shown.filter_map(|argument| Some((format!("--{}", argument.get_long()?), text(argument.get_help())))).collect()
}

fn text(styled: Option<&clap::builder::StyledStr>) -> String {
    styled.map(ToString::to_string).unwrap_or_default()
}

fn words(words: &[&str]) -> Place {
    Place::OneOf(words.iter().map(|word| ((*word).to_owned(), String::new())).collect())
}

/// By the name that its value has in the help.
fn of_argument(argument: &Arg, command: &Command) -> Place {
    let possible = argument.get_possible_values();
    if !possible.is_empty() {
        let offer = |value: &clap::builder::PossibleValue| (value.get_name().to_owned(), text(value.get_help()));
        return Place::OneOf(possible.iter().filter(|value| !value.is_hide_set()).map(offer).collect());
    }
    if argument.is_require_equals_set() {
        return words(&["true", "false"]);
    }
    let name = argument.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    match name {
        "CONTAINER" => Place::Names(vec![Kind::containers_for(command.get_name())]),
        "IMAGE"
        | "IMAGE [COMMAND] [ARG...]"
        | "REPOSITORY[:TAG]"
        | "SOURCE_IMAGE[:TAG]"
        | "NAME[:TAG]"
        | "NAME[:TAG|@DIGEST]" => Place::Names(vec![Kind::Images]),
        "NETWORK" => Place::Names(vec![Kind::Networks]),
        "VOLUME" if argument.is_positional() => Place::Names(vec![Kind::Volumes]),
        "NAME|ID" => Place::Names(vec![Kind::containers_for(""), Kind::Images, Kind::Networks, Kind::Volumes]),
        "SIGNAL" => words(&SIGNALS),
        "POLICY" => words(&POLICIES),
        "FOLDER" => Place::Folders,
        "FILE" | "FILE|-" | "VOLUME" | "DEVICE" | "SOURCE" | "DESTINATION" | "COMMAND [ARG...]" => Place::Files,
        _ => Place::Nothing,
    }
}
