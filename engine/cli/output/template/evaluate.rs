//! From a tree and data to text.

use serde_json::Value;

use super::parser::{Node, Operand, Pipeline};

type Result<T> = std::result::Result<T, String>;

/// Fields that hold maps whose keys users choose: any key may be asked for.
const OPEN: &[&str] =
    &["Annotations", "Attributes", "Labels", "Networks", "Options", "PortBindings", "Ports", "Sysctls"];

struct Run<'a> {
    output: String,
    /// What `.Label "name"` looks in.
    labels: Option<&'a Value>,
    /// Innermost last; the first is `$`.
    variables: Vec<(String, Value)>,
}

#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

pub(super) fn render(nodes: &[Node], data: &Value, labels: Option<&Value>) -> Result<String> {
    let mut run = Run { output: String::new(), labels, variables: vec![(String::new(), data.clone())] };
    run.list(nodes, data)?;
    Ok(run.output)
}

/// As Go decides: not false, zero, empty or nil.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// As Go prints with `%v`.
pub(super) fn print(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(print).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", print(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

impl Run<'_> {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow> {
        for node in nodes {
            let flow = match node {
                Node::Text(text) => {
                    self.output.push_str(text);
                    Flow::On
                }
                Node::Action(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        self.output.push_str(&print(&value));
                    }
                    Flow::On
                }
                Node::If(pipeline, then, otherwise) => self.scoped(|run| {
                    let value = run.pipeline(pipeline, dot)?;
                    run.list(if truth(&value) { then } else { otherwise }, dot)
                })?,
                Node::With(pipeline, then, otherwise) => self.scoped(|run| {
                    let value = run.pipeline(pipeline, dot)?;
                    if truth(&value) { run.list(then, &value) } else { run.list(otherwise, dot) }
                })?,
                Node::Range(pipeline, body, otherwise) => {
                    self.scoped(|run| run.range(pipeline, body, otherwise, dot))?
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn scoped(&mut self, inner: impl FnOnce(&mut Self) -> Result<Flow>) -> Result<Flow> {
        let depth = self.variables.len();
        let flow = inner(self);
        self.variables.truncate(depth);
        flow
    }

    fn range(&mut self, pipeline: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow> {
        let value = self.commands(pipeline, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::Array(list) => list.into_iter().enumerate().map(|(index, item)| (index.into(), item)).collect(),
            Value::Object(map) => map.into_iter().map(|(key, item)| (key.into(), item)).collect(),
            Value::Null => Vec::new(),
            other => return Err(format!("range can't iterate over {}", print(&other))),
        };
        if items.is_empty() {
            return self.list(otherwise, dot);
        }
        for (key, item) in items {
            let flow = self.scoped(|run| {
                match pipeline.variables.as_slice() {
                    [] => {}
                    [only] => run.variables.push((only.clone(), item.clone())),
                    [first, second, ..] => {
                        run.variables.push((first.clone(), key));
                        run.variables.push((second.clone(), item.clone()));
                    }
                }
                run.list(body, &item)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            let existing = self.variables.iter_mut().rev().find(|(known, _)| known == name);
            match existing {
                Some((_, slot)) if pipeline.assigns => *slot = value.clone(),
                _ => self.variables.push((name.clone(), value.clone())),
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value> {
        let mut piped = None;
        for command in &pipeline.commands {
            piped = Some(self.command(command, piped, dot)?);
        }
        Ok(piped.unwrap_or(Value::Null))
    }

    fn command(&mut self, command: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Value> {
        let Some((first, others)) = command.split_first() else { return Ok(Value::Null) };
        if let Operand::Function(function) = first {
            let mut arguments = others.iter().map(|other| self.operand(other, dot)).collect::<Result<Vec<_>>>()?;
            arguments.extend(piped);
            return function(&arguments);
        }
        if let (Operand::Dot(names), Some(labels), [wanted]) = (first, self.labels, others)
            && names.as_slice() == ["Label"]
        {
            let wanted = print(&self.operand(wanted, dot)?);
            // The heading is named after the label.
            let heading = || wanted.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " ");
            return Ok(match labels {
                Value::Null => heading().into(),
                labels => labels[&wanted].as_str().unwrap_or_default().into(),
            });
        }
        if !others.is_empty() || piped.is_some() {
            return Err("can't give argument to non-function".to_owned());
        }
        self.operand(first, dot)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value> {
        match operand {
            Operand::Dot(names) => Self::fields(dot, names),
            Operand::Variable(name, names) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = found.map(|(_, value)| value.clone()).unwrap_or(Value::Null);
                Self::fields(&value, names)
            }
            Operand::Function(function) => function(&[]),
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Group(pipeline, names) => {
                let value = self.pipeline(pipeline, dot)?;
                Self::fields(&value, names)
            }
        }
    }

    fn fields(value: &Value, names: &[String]) -> Result<Value> {
        let mut value = value;
        let mut open = false;
        for name in names {
            value = match value {
                Value::Object(map) => match map.get(name) {
                    Some(inner) => inner,
                    None if open => &Value::Null,
                    None => return Err(format!("executing at <.{name}>: can't evaluate field {name}")),
                },
                Value::Null => &Value::Null,
                _ => return Err(format!("executing at <.{name}>: can't evaluate field {name} in {}", print(value))),
            };
            open = OPEN.contains(&name.as_str());
        }
        Ok(value.clone())
    }
}
