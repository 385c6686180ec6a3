//! Lists as Docker prints them: a table with three spaces between columns, a template a row, JSON, or only the IDs.

use serde_json::Value;

use super::template::Template;

/// A column: its heading and the field of a row.
pub(crate) type Column = (&'static str, &'static str);

/// How a list is to be shown.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style<'a> {
    pub(crate) format: Option<&'a str>,
    /// Only this field of each row.
    pub(crate) quiet: Option<&'a str>,
    /// One object a row, for `.Label "name"`; empty where rows have no labels.
    pub(crate) labels: &'a [Value],
}

/// Prints `rows` (objects with one text a field). `columns` are those of the plain table; `headings` name the
/// further fields that a `table` template may use.
pub(crate) fn print(style: Style<'_>, columns: &[Column], headings: &[Column], rows: &[Value]) -> anyhow::Result<()> {
    print!("{}", render(style, columns, headings, rows)?);
    Ok(())
}

pub(crate) fn render(
    style: Style<'_>,
    columns: &[Column],
    headings: &[Column],
    rows: &[Value],
) -> anyhow::Result<String> {
    let format = style.format.filter(|format| !format.is_empty());
    let Some(format) = format.filter(|format| *format != "table") else {
        if let Some(field) = style.quiet {
            return Ok(rows.iter().map(|row| format!("{}\n", row[field].as_str().unwrap_or_default())).collect());
        }
        let heading = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        let cells = |row: &Value| {
            columns.iter().map(|(_, field)| row[*field].as_str().unwrap_or_default().to_owned()).collect()
        };
        return Ok(align(std::iter::once(heading).chain(rows.iter().map(cells)).collect()));
    };
    if format == "json" {
        return Ok(rows.iter().map(|row| format!("{row}\n")).collect());
    }
    let (template, table) = match format.strip_prefix("table") {
        Some(rest) if rest.starts_with(char::is_whitespace) => (rest.trim_start(), true),
        _ => (format, false),
    };
    let template = Template::parse(&template.replace("\\t", "\t").replace("\\n", "\n"))?;
    if !table {
        let line = |(index, row)| Ok(format!("{}\n", template.render_row(row, style.labels.get(index))?));
        return rows.iter().enumerate().map(line).collect();
    }
    let heading: serde_json::Map<String, Value> =
        columns.iter().chain(headings).map(|(heading, field)| ((*field).to_owned(), Value::from(*heading))).collect();
    let heading = Value::Object(heading);
    let no_labels = Value::Null;
    let labels = std::iter::once(Some(&no_labels)).chain((0..rows.len()).map(|index| style.labels.get(index)));
    let lines = std::iter::once(&heading).chain(rows).zip(labels).map(|(row, labels)| {
        let line = template.render_row(row, labels)?;
        Ok(line.split('\t').map(str::to_owned).collect())
    });
    Ok(align(lines.collect::<anyhow::Result<_>>()?))
}

/// Go's tabwriter with a width of at least 10 and a padding of 3; the last column is not padded.
pub(crate) fn align(lines: Vec<Vec<String>>) -> String {
    const LEAST: usize = 10;
    const PADDING: usize = 3;
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter(|line| line.len() > column + 1).filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count() + PADDING).max().unwrap_or(0).max(LEAST)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (index, cell) in line.iter().enumerate() {
            if index + 1 == line.len() {
                text.push_str(cell);
            } else {
                text.push_str(&format!("{cell:width$}", width = widths[index]));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: &[Column] = &[("CONTAINER ID", "ID"), ("NAMES", "Names")];

    fn shown(format: Option<&str>, quiet: Option<&str>) -> String {
        let rows =
            [json!({"ID": "abc", "Names": "first", "Size": "1B"}), json!({"ID": "d", "Names": "s", "Size": "2B"})];
        render(Style { format, quiet, labels: &[] }, COLUMNS, &[("SIZE", "Size")], &rows).unwrap()
    }

    #[test]
    fn lists_are_shown_as_asked() {
        assert_eq!(shown(None, None), "CONTAINER ID   NAMES\nabc            first\nd              s\n");
        assert_eq!(shown(None, Some("ID")), "abc\nd\n");
        assert_eq!(shown(Some("{{.Names}}-{{.ID}}"), None), "first-abc\ns-d\n");
        assert_eq!(
            shown(Some("table {{.Size}}\\t{{.ID}}"), None),
            "SIZE      CONTAINER ID\n1B        abc\n2B        d\n"
        );
        let labels = [json!({"a": "1,b=2"}), json!({})];
        let style = Style { format: Some("{{.ID}}={{.Label \"a\"}}"), quiet: None, labels: &labels };
        let rows = [json!({"ID": "abc"}), json!({"ID": "d"})];
        assert_eq!(render(style, COLUMNS, &[], &rows).unwrap(), "abc=1,b=2\nd=\n");
        assert!(shown(Some("json"), None).starts_with("{\"ID\":\"abc\""));
    }
}
