//! Go templates for `--format`: text, fields, pipelines, `if`, `range`, `with`, variables, and Docker's functions.
//!
//! Written after the documentation of Go's text/template; what it has beyond that (`define`, `block`, methods) is
//! refused by name. Values are JSON.

mod evaluate;
mod functions;
mod lexer;
mod parser;

use serde_json::Value;

/// A parsed template.
pub(crate) struct Template(Vec<parser::Node>);

impl Template {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let parsed = lexer::tokens(text).and_then(parser::parse);
        parsed.map(Self).map_err(|message| anyhow::anyhow!("template parsing error: template: {message}"))
    }

    /// A field that is not there is an error that names it.
    pub(crate) fn render(&self, data: &Value) -> anyhow::Result<String> {
        self.render_row(data, None)
    }

    /// A row of a list; `labels` is what its `.Label "name"` looks in.
    pub(crate) fn render_row(&self, row: &Value, labels: Option<&Value>) -> anyhow::Result<String> {
        evaluate::render(&self.0, row, labels).map_err(|message| anyhow::anyhow!("template: {message}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(template: &str) -> String {
        let data = json!({
            "ID": "abc", "Names": ["one", "two"], "State": {"Running": true, "ExitCode": 0, "Error": ""},
            "Labels": {"b": "2", "a": "1"}, "Size": 1024, "None": null,
        });
        Template::parse(template).unwrap().render(&data).unwrap()
    }

    #[test]
    fn templates_that_people_use_give_what_docker_gives() {
        for (template, expected) in [
            ("{{.ID}}: {{.State.Running}}", "abc: true"),
            ("{{json .Names}}", r#"["one","two"]"#),
            ("{{ join .Names \",\" | upper }}", "ONE,TWO"),
            ("{{range .Names}}<{{.}}>{{end}}", "<one><two>"),
            ("{{range $i, $n := .Names}}{{if $i}}, {{end}}{{$i}}={{$n}}{{end}}", "0=one, 1=two"),
            ("{{range $k, $v := .Labels}}{{$k}}{{$v}};{{end}}", "a1;b2;"),
            ("{{if and .State.Running (eq .State.ExitCode 0)}}up{{else}}down{{end}}", "up"),
            ("{{if .State.Error}}x{{else if .None}}y{{else}}z{{end}}", "z"),
            ("{{with .State}}{{.ExitCode}}{{end}}", "0"),
            ("{{index .Names 1}} {{index .Labels \"a\"}} {{len .Names}}", "two 1 2"),
            ("a {{- \" b \" -}} c", "a b c"),
            ("{{printf \"%s-%d-%q-%5d|%-5s|%v\" .ID .Size .ID 7 \"x\" true}}", "abc-1024-\"abc\"-    7|x    |true"),
            ("{{/* nothing */}}{{$x := .ID}}{{$x}}", "abc"),
            ("{{.Names}} {{.None}} {{.Labels.nowhere}}", "[one two] <no value> <no value>"),
            ("{{range .None}}x{{else}}empty{{end}}", "empty"),
            ("{{slice .ID 0 2}}{{println}}{{title \"abc\"}}{{truncate .ID 1}}{{pad .ID 1 1}}", "ab\nAbca abc "),
            ("{{.Labels}} {{not true}} {{or .None .ID}}", "map[a:1 b:2] false abc"),
            (
                "{{with $y := .ID}}{{$y}}{{end}}{{$.ID}}{{range .Names}}{{if eq . \"one\"}}{{continue}}{{end}}{{.}}{{break}}{{end}}",
                "abcabctwo",
            ),
        ] {
            assert_eq!(render(template), expected, "{template}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (template, word) in [
            ("{{.ID", "unclosed action"),
            ("{{nonsense .ID}}", "nonsense"),
            ("{{if .ID}}", "unexpected EOF"),
            ("{{end}}", "end"),
            ("{{define \"x\"}}", "define"),
            ("{{$x}}", "$x"),
            ("{{\"a}}", "unterminated"),
            ("{{(.ID}}", ")"),
        ] {
            let error = Template::parse(template).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(word), "{template}: {error}");
        }
        let strict = Template::parse("{{.Nowhere}}").unwrap().render(&json!({"ID": 1})).unwrap_err();
        assert!(strict.to_string().contains("Nowhere"));
    }
}
