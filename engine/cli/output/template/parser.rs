//! From tokens to a tree.

use serde_json::Value;

use super::functions;
use super::lexer::Token;

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    /// Printed, unless it only sets a variable.
    Action(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

/// `$a, $b := command | command`.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    /// Sets variables that exist already.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

#[derive(Debug)]
pub(super) enum Operand {
    Dot(Vec<String>),
    Variable(String, Vec<String>),
    Function(functions::Function),
    Literal(Value),
    Group(Pipeline, Vec<String>),
}

type Result<T> = std::result::Result<T, String>;

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    variables: Vec<String>,
    loops: usize,
}

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum End {
    Input,
    Ended,
    Else,
    ElseIf,
    ElseWith,
}

pub(super) fn parse(tokens: Vec<Token>) -> Result<Vec<Node>> {
    let mut parser = Parser { tokens: tokens.into_iter().peekable(), variables: vec![String::new()], loops: 0 };
    match parser.list()? {
        (nodes, End::Input) => Ok(nodes),
        (_, End::Ended) => Err(":1: unexpected {{end}}".to_owned()),
        _ => Err(":1: unexpected {{else}}".to_owned()),
    }
}

impl Parser {
    fn list(&mut self) -> Result<(Vec<Node>, End)> {
        let mut nodes = Vec::new();
        loop {
            let Some(token) = self.tokens.peek() else { return Ok((nodes, End::Input)) };
            match token {
                Token::Text(text) => {
                    nodes.push(Node::Text(text.clone()));
                    self.tokens.next();
                }
                Token::Word(word) => match word.clone().as_str() {
                    "if" => nodes.push(self.block(Node::If, false, &End::ElseIf)?),
                    "with" => nodes.push(self.block(Node::With, false, &End::ElseWith)?),
                    "range" => nodes.push(self.block(Node::Range, true, &End::Input)?),
                    "end" => {
                        self.tokens.next();
                        self.close()?;
                        return Ok((nodes, End::Ended));
                    }
                    "else" => {
                        self.tokens.next();
                        let end = match self.tokens.peek() {
                            Some(Token::Word(word)) if word == "if" => End::ElseIf,
                            Some(Token::Word(word)) if word == "with" => End::ElseWith,
                            _ => {
                                self.close()?;
                                End::Else
                            }
                        };
                        return Ok((nodes, end));
                    }
                    word @ ("break" | "continue") => {
                        if self.loops == 0 {
                            return Err(format!(":1: {{{{{word}}}}} outside {{{{range}}}}"));
                        }
                        nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                        self.tokens.next();
                        self.close()?;
                    }
                    word @ ("define" | "block" | "template") => {
                        return Err(format!(":1: {{{{{word}}}}} is not supported"));
                    }
                    _ => nodes.push(self.action()?),
                },
                _ => nodes.push(self.action()?),
            }
        }
    }

    fn action(&mut self) -> Result<Node> {
        let pipeline = self.pipeline()?;
        self.close()?;
        Ok(Node::Action(pipeline))
    }

    fn close(&mut self) -> Result<()> {
        match self.tokens.next() {
            Some(Token::Close) => Ok(()),
            other => Err(format!(":1: unexpected {other:?} in command")),
        }
    }

    fn block(
        &mut self,
        make: fn(Pipeline, Vec<Node>, Vec<Node>) -> Node,
        is_loop: bool,
        chained: &End,
    ) -> Result<Node> {
        self.tokens.next();
        let scope = self.variables.len();
        let pipeline = self.pipeline()?;
        self.close()?;
        self.loops += usize::from(is_loop);
        let (then, end) = self.list()?;
        self.loops -= usize::from(is_loop);
        let mut otherwise = Vec::new();
        match end {
            End::Ended => {}
            End::Else => {
                let (nodes, end) = self.list()?;
                if end != End::Ended {
                    return Err(":1: expected {{end}}".to_owned());
                }
                otherwise = nodes;
            }
            End::Input => return Err(":1: unexpected EOF".to_owned()),
            // The chained block's {{end}} ends this one too.
            other if other == *chained => otherwise.push(self.block(make, is_loop, chained)?),
            _ => return Err(":1: unexpected word after {{else".to_owned()),
        }
        self.variables.truncate(scope);
        Ok(make(pipeline, then, otherwise))
    }

    fn pipeline(&mut self) -> Result<Pipeline> {
        let mut pipeline = Pipeline { variables: Vec::new(), assigns: false, commands: Vec::new() };
        let mut ahead = self.tokens.clone();
        let mut names = Vec::new();
        while let Some(Token::Variable(name, fields)) = ahead.next() {
            if !fields.is_empty() {
                break;
            }
            names.push(name);
            match ahead.next() {
                Some(Token::Comma) if names.len() < 2 => {}
                Some(sign @ (Token::Declare | Token::Assign)) => {
                    pipeline.assigns = sign == Token::Assign;
                    pipeline.variables = std::mem::take(&mut names);
                    self.tokens = ahead;
                    break;
                }
                _ => break,
            }
        }
        loop {
            let mut command = Vec::new();
            while let Some(operand) = self.operand()? {
                command.push(operand);
            }
            if command.is_empty() {
                return Err(":1: missing value for command".to_owned());
            }
            pipeline.commands.push(command);
            if self.tokens.peek() != Some(&Token::Pipe) {
                break;
            }
            self.tokens.next();
        }
        if !pipeline.assigns {
            self.variables.extend(pipeline.variables.iter().cloned());
        }
        Ok(pipeline)
    }

    fn operand(&mut self) -> Result<Option<Operand>> {
        let operand = match self.tokens.peek() {
            Some(Token::Field(names)) => Operand::Dot(names.clone()),
            Some(Token::Variable(name, fields)) => {
                if !self.variables.contains(name) {
                    return Err(format!(":1: undefined variable \"${name}\""));
                }
                Operand::Variable(name.clone(), fields.clone())
            }
            Some(Token::Quoted(text)) => Operand::Literal(Value::String(text.clone())),
            Some(Token::Number(number)) => Operand::Literal(Value::Number(number.clone())),
            Some(Token::Word(word)) => match word.as_str() {
                "true" => Operand::Literal(Value::Bool(true)),
                "false" => Operand::Literal(Value::Bool(false)),
                "nil" => Operand::Literal(Value::Null),
                name => Operand::Function(
                    functions::find(name).ok_or_else(|| format!(":1: function {name:?} not defined"))?,
                ),
            },
            Some(Token::Left) => {
                self.tokens.next();
                let inner = self.pipeline()?;
                if self.tokens.next() != Some(Token::Right) {
                    return Err(":1: unclosed left paren: missing )".to_owned());
                }
                let fields = match self.tokens.peek() {
                    Some(Token::Tail(names)) => {
                        let names = names.clone();
                        self.tokens.next();
                        names
                    }
                    _ => Vec::new(),
                };
                return Ok(Some(Operand::Group(inner, fields)));
            }
            _ => return Ok(None),
        };
        self.tokens.next();
        Ok(Some(operand))
    }
}
