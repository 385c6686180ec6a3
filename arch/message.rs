//! Errors as people read them.

use std::error::Error;

/// An error and its causes, but those that it ends with already: the libraries' errors name theirs.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    for cause in causes.map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// A message may quote names out of archives and containers: no control character of theirs reaches a terminal.
pub fn quiet(message: &str) -> String {
    let mut quiet = String::with_capacity(message.len());
    for character in message.chars() {
        match character {
            '\n' | '\t' => quiet.push(character),
            _ if character.is_control() => quiet.extend(character.escape_default()),
            _ => quiet.push(character),
        }
    }
    quiet
}
