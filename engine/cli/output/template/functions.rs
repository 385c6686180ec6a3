//! Go's built-in functions and Docker's additions.

use std::cmp::Ordering;

use serde_json::Value;

use super::evaluate::{print, truth};

type Result<T> = std::result::Result<T, String>;
pub(super) type Function = fn(&[Value]) -> Result<Value>;

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "json" => |a| Ok(Value::String(one("json", a)?.to_string())),
        "join" => |a| {
            let [list, separator] = two("join", a)?;
            let parts: Vec<String> = list.as_array().ok_or("join: not a list")?.iter().map(print).collect();
            Ok(parts.join(text(separator)?).into())
        },
        "split" => |a| {
            let [whole, separator] = two("split", a)?;
            Ok(text(whole)?.split(text(separator)?).map(Value::from).collect())
        },
        "lower" => |a| Ok(text(one("lower", a)?)?.to_lowercase().into()),
        "upper" => |a| Ok(text(one("upper", a)?)?.to_uppercase().into()),
        "title" => |a| {
            let mut start = true;
            let raised = |c: char| {
                let raised = if start { c.to_uppercase().to_string() } else { c.to_string() };
                start = c.is_whitespace();
                raised
            };
            Ok(text(one("title", a)?)?.chars().map(raised).collect::<String>().into())
        },
        "truncate" => |a| {
            let [whole, length] = two("truncate", a)?;
            Ok(text(whole)?.chars().take(index(length)?).collect::<String>().into())
        },
        "pad" => |a| match a {
            [Value::String(whole), before, after] if whole.is_empty() => {
                Ok(Value::String(String::new())).and_then(|v| index(before).and(index(after)).map(|_| v))
            }
            [whole, before, after] => Ok(format!(
                "{}{}{}",
                " ".repeat(index(before)?.min(999)),
                text(whole)?,
                " ".repeat(index(after)?.min(999))
            )
            .into()),
            _ => Err("wrong number of args for pad: want 3".to_owned()),
        },
        "print" => |a| Ok(a.iter().map(print).collect::<String>().into()),
        "println" => |a| Ok(format!("{}\n", a.iter().map(print).collect::<Vec<_>>().join(" ")).into()),
        "printf" => printf,
        "len" => |a| match one("len", a)? {
            Value::String(text) => Ok(text.len().into()),
            Value::Array(list) => Ok(list.len().into()),
            Value::Object(map) => Ok(map.len().into()),
            other => Err(format!("len of {}", print(other))),
        },
        "index" => |a| {
            let (first, keys) = a.split_first().ok_or("wrong number of args for index: want at least 1")?;
            keys.iter().try_fold(first.clone(), |value, key| match (&value, key) {
                (Value::Object(map), Value::String(key)) => Ok(map.get(key).cloned().unwrap_or(Value::Null)),
                (Value::Array(list), key) => {
                    let at = index(key)?;
                    list.get(at).cloned().ok_or_else(|| format!("error calling index: index out of range: {at}"))
                }
                (other, _) => Err(format!("error calling index: can't index {}", print(other))),
            })
        },
        "slice" => |a| {
            let (first, bounds) = a.split_first().ok_or("wrong number of args for slice: want at least 1")?;
            let length = first.as_str().map(str::len).or(first.as_array().map(Vec::len)).ok_or("slice: not a list")?;
            let from = bounds.first().map_or(Ok(0), index)?;
            let to = bounds.get(1).map_or(Ok(length), index)?;
            let outside = || format!("error calling slice: index out of range: {to}");
            match first {
                Value::Array(list) => Ok(list.get(from..to).ok_or_else(outside)?.to_vec().into()),
                other => Ok(text(other)?.get(from..to).ok_or_else(outside)?.into()),
            }
        },
        "not" => |a| Ok((!truth(one("not", a)?)).into()),
        "and" => |a| pick(a, false),
        "or" => |a| pick(a, true),
        "eq" => |a| {
            let (first, others) =
                a.split_first().filter(|(_, others)| !others.is_empty()).ok_or("missing argument for comparison")?;
            Ok(others.iter().any(|other| compare(first, other) == Ok(Ordering::Equal) || first == other).into())
        },
        "ne" => |a| {
            let [left, right] = two("ne", a)?;
            Ok((left != right).into())
        },
        "lt" => |a| ordered(a, |order| order == Ordering::Less),
        "le" => |a| ordered(a, |order| order != Ordering::Greater),
        "gt" => |a| ordered(a, |order| order == Ordering::Greater),
        "ge" => |a| ordered(a, |order| order != Ordering::Less),
        _ => return None,
    })
}

fn one<'a>(name: &str, arguments: &'a [Value]) -> Result<&'a Value> {
    match arguments {
        [only] => Ok(only),
        _ => Err(format!("wrong number of args for {name}: want 1 got {}", arguments.len())),
    }
}

fn two<'a>(name: &str, arguments: &'a [Value]) -> Result<&'a [Value; 2]> {
    arguments.try_into().map_err(|_| format!("wrong number of args for {name}: want 2 got {}", arguments.len()))
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().ok_or_else(|| format!("wrong type for value; expected string; got {}", print(value)))
}

fn index(value: &Value) -> Result<usize> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| format!("cannot index with {}", print(value)))
}

/// The first value with that truth, else the last.
fn pick(arguments: &[Value], wanted: bool) -> Result<Value> {
    let picked = arguments.iter().find(|value| truth(value) == wanted).or(arguments.last());
    picked.cloned().ok_or_else(|| "wrong number of args for and/or: want at least 1".to_owned())
}

fn compare(left: &Value, right: &Value) -> Result<Ordering> {
    match (left, right) {
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => {
            let (left, right) = (left.as_f64().unwrap_or(0.0), right.as_f64().unwrap_or(0.0));
            left.partial_cmp(&right).ok_or_else(|| "incomparable numbers".to_owned())
        }
        (Value::Bool(left), Value::Bool(right)) => Ok(left.cmp(right)),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn ordered(arguments: &[Value], fits: fn(Ordering) -> bool) -> Result<Value> {
    let [left, right] = two("comparison", arguments)?;
    Ok(fits(compare(left, right)?).into())
}

/// `%s %d %v %q %t %f %x %%` with a width, `-` and `0`.
fn printf(arguments: &[Value]) -> Result<Value> {
    let (format, mut rest) = arguments.split_first().ok_or("wrong number of args for printf: want at least 1")?;
    let mut output = String::new();
    let mut characters = text(format)?.chars().peekable();
    while let Some(c) = characters.next() {
        if c != '%' {
            output.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = characters.next_if(|c| "-+ 0#.123456789".contains(*c)) {
            flags.push(flag);
        }
        let verb = characters.next().unwrap_or('%');
        if verb == '%' {
            output.push('%');
            continue;
        }
        let Some((value, others)) = rest.split_first() else {
            output.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        rest = others;
        let (width, precision) =
            flags.split_once('.').map_or((flags.as_str(), None), |(w, p)| (w, p.parse::<usize>().ok()));
        let shown = match verb {
            's' | 'v' | 'd' | 't' => match precision {
                Some(length) if verb == 's' => print(value).chars().take(length).collect(),
                _ => print(value),
            },
            'q' => Value::String(print(value)).to_string(),
            'x' => value
                .as_i64()
                .map_or_else(|| print(value).bytes().map(|b| format!("{b:02x}")).collect(), |n| format!("{n:x}")),
            'f' => format!("{:.*}", precision.unwrap_or(6), value.as_f64().unwrap_or(0.0)),
            other => format!("%!{other}({})", print(value)),
        };
        let left = width.contains('-');
        let zero = width.trim_start_matches(['-', '+', ' ', '#']).starts_with('0') && !left;
        let size = width.trim_start_matches(['-', '+', ' ', '#', '0']).parse::<usize>().unwrap_or(0).min(9999);
        let padding = size.saturating_sub(shown.chars().count());
        match (left, zero) {
            (true, _) => output.push_str(&format!("{shown}{}", " ".repeat(padding))),
            (_, true) => output.push_str(&format!("{}{shown}", "0".repeat(padding))),
            _ => output.push_str(&format!("{}{shown}", " ".repeat(padding))),
        }
    }
    Ok(output.into())
}
