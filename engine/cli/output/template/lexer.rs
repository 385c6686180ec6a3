//! Text and the tokens of its actions.

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Text(String),
    /// The end of an action.
    Close,
    /// `.a.b`; empty: the dot itself.
    Field(Vec<String>),
    /// `$x.a.b`; the name without the dollar.
    Variable(String, Vec<String>),
    /// `.a.b` right after a closing parenthesis.
    Tail(Vec<String>),
    Word(String),
    Quoted(String),
    Number(serde_json::Number),
    Assign,
    Declare,
    Comma,
    Pipe,
    Left,
    Right,
}

type Result<T> = std::result::Result<T, String>;

pub(super) fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut trim = false;
    while let Some(start) = rest.find("{{") {
        let mut before = &rest[..start];
        let mut action = &rest[start + 2..];
        if trim {
            before = before.trim_start();
        }
        if action.starts_with('-') && action[1..].starts_with(char::is_whitespace) {
            before = before.trim_end();
            action = &action[1..];
        }
        if !before.is_empty() {
            tokens.push(Token::Text(before.to_owned()));
        }
        let trimmed = action.trim_start();
        let after = if trimmed.starts_with("/*") {
            let end = trimmed.find("*/").ok_or(":1: unclosed comment")?;
            trimmed[end + 2..].trim_start()
        } else {
            action_tokens(trimmed, &mut tokens)?
        };
        let dashed = after.strip_prefix('-');
        trim = dashed.is_some();
        rest = dashed.unwrap_or(after).strip_prefix("}}").ok_or(":1: unclosed action")?;
    }
    let last = if trim { rest.trim_start() } else { rest };
    if !last.is_empty() {
        tokens.push(Token::Text(last.to_owned()));
    }
    Ok(tokens)
}

/// Reads up to `}}` or ` -}}`, and returns what follows from there.
fn action_tokens<'a>(mut rest: &'a str, tokens: &mut Vec<Token>) -> Result<&'a str> {
    loop {
        let before = rest;
        rest = rest.trim_start();
        let spaced = before.len() != rest.len();
        if rest.starts_with("}}") || (spaced && rest.starts_with("-}}")) {
            tokens.push(Token::Close);
            return Ok(rest);
        }
        let Some(first) = rest.chars().next() else { return Err(":1: unclosed action".to_owned()) };
        let token = match first {
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => number(&mut rest)?,
            '.' => {
                let tail = !spaced && matches!(tokens.last(), Some(Token::Right));
                let names = fields(&mut rest);
                if tail { Token::Tail(names) } else { Token::Field(names) }
            }
            '$' => {
                rest = &rest[1..];
                let name = word(&mut rest);
                let names = if rest.starts_with('.') { fields(&mut rest) } else { Vec::new() };
                Token::Variable(name, names)
            }
            '"' => Token::Quoted(quoted(&mut rest)?),
            '`' => {
                let end = rest[1..].find('`').ok_or(":1: unterminated raw quoted string")?;
                let text = rest[1..=end].to_owned();
                rest = &rest[end + 2..];
                Token::Quoted(text)
            }
            '0'..='9' | '-' | '+' => number(&mut rest)?,
            '|' => single(&mut rest, Token::Pipe),
            '(' => single(&mut rest, Token::Left),
            ')' => single(&mut rest, Token::Right),
            ',' => single(&mut rest, Token::Comma),
            '=' => single(&mut rest, Token::Assign),
            ':' if rest[1..].starts_with('=') => {
                rest = &rest[2..];
                Token::Declare
            }
            c if c.is_alphabetic() || c == '_' => Token::Word(word(&mut rest)),
            c => return Err(format!(":1: unexpected {c:?} in operand")),
        };
        tokens.push(token);
    }
}

fn single(rest: &mut &str, token: Token) -> Token {
    *rest = &rest[1..];
    token
}

fn word(rest: &mut &str) -> String {
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    word.to_owned()
}

/// `.a.b`: the names; `.` alone: none.
fn fields(rest: &mut &str) -> Vec<String> {
    let mut names = Vec::new();
    while let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        let name = word(rest);
        if name.is_empty() {
            break;
        }
        names.push(name);
    }
    names
}

fn number(rest: &mut &str) -> Result<Token> {
    let end = rest[1..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).map_or(rest.len(), |end| end + 1);
    let (text, after) = rest.split_at(end);
    *rest = after;
    let plain = text.trim_start_matches('+');
    let parsed = plain.parse::<i64>().map(serde_json::Number::from).ok();
    let parsed = parsed.or_else(|| plain.parse::<f64>().ok().and_then(serde_json::Number::from_f64));
    parsed.map(Token::Number).ok_or_else(|| format!(":1: bad number syntax: {text:?}"))
}

fn quoted(rest: &mut &str) -> Result<String> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => {
                *rest = &rest[at + 1..];
                return Ok(text);
            }
            '\\' => match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, other @ ('"' | '\\' | '\''))) => text.push(other),
                _ => return Err(":1: invalid escape in quoted string".to_owned()),
            },
            other => text.push(other),
        }
    }
    Err(":1: unterminated quoted string".to_owned())
}
