//! One CSV record (RFC 4180), with the words of Docker's parser for what is wrong.

use anyhow::bail;

/// The fields of a record. A field may be quoted as a whole; a quote within it is doubled.
pub(super) fn fields(text: &str) -> anyhow::Result<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        // The column that an error names is a byte's, counted from one.
        let column = |left: &str| text.len() - left.len() + 1;
        let Some(mut quoted) = rest.strip_prefix('"') else {
            let (field, after) = rest.split_once(',').map_or((rest, None), |(field, after)| (field, Some(after)));
            if let Some(quote) = field.find('"') {
                bail!("parse error on line 1, column {}: bare \" in non-quoted-field", column(&rest[quote..]));
            }
            fields.push(field.to_owned());
            match after {
                Some(after) => rest = after,
                None => return Ok(fields),
            }
            continue;
        };
        let mut field = String::new();
        loop {
            let Some((part, after)) = quoted.split_once('"') else {
                bail!("parse error on line 1, column {}: extraneous or missing \" in quoted-field", column(""));
            };
            field.push_str(part);
            match after.chars().next() {
                Some('"') => {
                    field.push('"');
                    quoted = &after[1..];
                }
                Some(',') => {
                    rest = &after[1..];
                    break;
                }
                None => {
                    fields.push(field);
                    return Ok(fields);
                }
                Some(_) => bail!(
                    "parse error on line 1, column {}: extraneous or missing \" in quoted-field",
                    column(after) - 1
                ),
            }
        }
        fields.push(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_split_as_they_are_written() {
        let good: &[(&str, &[&str])] = &[
            ("a", &["a"]),
            ("a,b=c,", &["a", "b=c", ""]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#"a,"say ""x""""#, &["a", r#"say "x""#]),
        ];
        for (text, expected) in good {
            assert_eq!(fields(text).unwrap(), *expected, "{text}");
        }
    }

    #[test]
    fn a_misplaced_quote_is_named_with_its_column() {
        let bad = [
            (r#"name=foo,alias=a"b"#, "parse error on line 1, column 17: bare \" in non-quoted-field"),
            (r#"a,"b"#, "parse error on line 1, column 5: extraneous or missing \" in quoted-field"),
            (r#""a"b,c"#, "parse error on line 1, column 3: extraneous or missing \" in quoted-field"),
        ];
        for (text, words) in bad {
            assert_eq!(fields(text).unwrap_err().to_string(), words, "{text}");
        }
    }
}
