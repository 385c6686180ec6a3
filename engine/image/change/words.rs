//! Words of a Dockerfile's instruction: quotes, escapes and variables.

use std::iter::Peekable;
use std::str::Chars;

use super::invalid;
use crate::Result;

/// Splits at blanks outside of quotes. Quotes and escapes stay for [`expand`].
pub(super) fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => {
                word.push(c);
                word.extend(chars.next());
            }
            ('"' | '\'', None) => {
                quote = Some(c);
                word.push(c);
            }
            (c, Some(open)) if c == open => {
                quote = None;
                word.push(c);
            }
            (c, None) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            (c, _) => word.push(c),
        }
    }
    if quote.is_some() {
        return Err(invalid(format!("unexpected end of statement while looking for matching quote in {text:?}")));
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// Takes quotes and escapes away and puts variables in: `$A`, `${A}`, `${A:-default}`, `${A:+alternative}`.
pub(super) fn expand(text: &str, env: &[String]) -> Result<String> {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '\'' if !quoted => out.extend(chars.by_ref().take_while(|&c| c != '\'')),
            '"' => quoted = !quoted,
            '\\' => match chars.next() {
                // In double quotes an escape before anything else stays.
                Some(next) if quoted && !matches!(next, '"' | '$' | '\\') => out.extend([c, next]),
                Some(next) => out.push(next),
                None => out.push(c),
            },
            '$' => out.push_str(&variable(&mut chars, env)?),
            c => out.push(c),
        }
    }
    Ok(out)
}

fn variable(chars: &mut Peekable<Chars<'_>>, env: &[String]) -> Result<String> {
    let value = |name: &str| {
        env.iter().find_map(|variable| variable.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned()
    };
    if chars.next_if_eq(&'{').is_none() {
        let name = name(chars);
        return Ok(if name.is_empty() { "$".to_owned() } else { value(&name) });
    }
    let name = name(chars);
    let mut rest = String::new();
    let mut depth = 1;
    for c in chars.by_ref() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        rest.push(c);
    }
    if name.is_empty() || depth > 0 {
        return Err(invalid("bad substitution"));
    }
    let found = value(&name);
    match rest.split_at_checked(2) {
        None if rest.is_empty() => Ok(found),
        Some((":-", other)) if found.is_empty() => expand(other, env),
        Some((":-", _)) => Ok(found),
        Some((":+", other)) if !found.is_empty() => expand(other, env),
        Some((":+", _)) => Ok(String::new()),
        _ => Err(invalid(format!("unsupported modifier in substitution ${{{name}{rest}}}"))),
    }
}

fn name(chars: &mut Peekable<Chars<'_>>) -> String {
    let mut name = String::new();
    while let Some(c) = chars.next_if(|&c| c.is_ascii_alphanumeric() || c == '_') {
        name.push(c);
    }
    name
}
