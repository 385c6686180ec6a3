//! Shell patterns as Go's path.Match has them: `*`, `?`, `[a-z]`, `[^x]`, `\c`; none but the last matches `/`.

use crate::{Error, Result};

/// Whether all of `text` matches `pattern`.
pub(super) fn matches(pattern: &str, text: &str) -> Result<bool> {
    let wrong = || Error::InvalidArgument(format!("invalid reference pattern {pattern:?}"));
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // The last `*` and where in the text it is tried next; one is enough, as a later star takes over from there.
    let mut star: Option<(usize, usize)> = None;
    let (mut p, mut t) = (0, 0);
    loop {
        if pattern.get(p) == Some(&'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if p == pattern.len() && t == text.len() {
            return Ok(true);
        }
        let step = match pattern.get(p) {
            Some(_) => one(&pattern[p..], text.get(t).copied()).ok_or_else(wrong)?,
            None => None,
        };
        match (step, star) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((after, tried))) if text.get(tried).is_some_and(|&c| c != '/') => {
                star = Some((after, tried + 1));
                (p, t) = (after, tried + 1);
            }
            _ => return Ok(false),
        }
    }
}

/// Matches one character: the length of the pattern's part if it does, `Some(None)` if not, `None` if the pattern
/// is malformed.
fn one(pattern: &[char], c: Option<char>) -> Option<Option<usize>> {
    match pattern[0] {
        '?' => Some(c.filter(|&c| c != '/').map(|_| 1)),
        '\\' => {
            let escaped = *pattern.get(1)?;
            Some((c == Some(escaped)).then_some(2))
        }
        '[' => class(pattern, c),
        literal => Some((c == Some(literal)).then_some(1)),
    }
}

fn class(pattern: &[char], c: Option<char>) -> Option<Option<usize>> {
    let negated = pattern.get(1) == Some(&'^');
    let first = if negated { 2 } else { 1 };
    let mut position = first;
    let mut inside = false;
    let take = |position: &mut usize| -> Option<char> {
        if pattern.get(*position) == Some(&'\\') {
            *position += 1;
        }
        let c = *pattern.get(*position)?;
        *position += 1;
        Some(c)
    };
    while *pattern.get(position)? != ']' || position == first {
        let low = take(&mut position)?;
        let high = match pattern.get(position) {
            Some('-') => {
                position += 1;
                take(&mut position)?
            }
            _ => low,
        };
        inside |= c.is_some_and(|c| (low..=high).contains(&c));
    }
    let hit = c.is_some_and(|c| c != '/') && inside != negated;
    Some(hit.then_some(position + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_docker() {
        for (pattern, text, expected) in [
            ("debian", "debian", true),
            ("deb*", "debian", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("*:1.?", "a:1.2", true),
            ("*:1.?", "a:1.22", false),
            ("[a-c]x[^d]", "bxe", true),
            ("[^a]x", "ax", false),
            (r"\*", "*", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYb", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text).unwrap(), expected, "{pattern} {text}");
        }
        assert!(matches("[a", "a").is_err() && matches("\\", "a").is_err());
    }
}
