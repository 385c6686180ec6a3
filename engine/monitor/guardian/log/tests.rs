use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("berth-log-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn config(&self) -> LogConfig {
        LogConfig {
            driver: LogDriver::JsonFile,
            path: self.0.join("x-json.log"),
            max_size: None,
            max_file: 1,
            compress: false,
            attributes: BTreeMap::new(),
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn entries(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let entry = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let time = value["time"].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok() && time.ends_with('Z') && !time.ends_with("0Z"), "{time}");
        (value["stream"].as_str().unwrap().to_owned(), value["log"].as_str().unwrap().to_owned())
    };
    text.lines().map(entry).collect()
}

#[test]
fn lines_come_whole_however_they_were_written() {
    let scratch = Scratch::new("lines");
    let config = scratch.config();
    let mut log = Log::new(&config);
    log.take(0, b"one\ntw");
    log.take(1, b"err\n");
    log.take(0, b"o\n\nlast");
    log.end();
    let expected =
        [("stdout", "one\n"), ("stderr", "err\n"), ("stdout", "two\n"), ("stdout", "\n"), ("stdout", "last")];
    assert_eq!(entries(&config.path), expected.map(|(stream, text)| (stream.to_owned(), text.to_owned())));
}

#[test]
fn a_long_line_comes_in_parts_of_16_kib_with_one_time() {
    let scratch = Scratch::new("long");
    let config = scratch.config();
    let mut log = Log::new(&config);
    let mut text = vec![b'a'; 2 * MAX_LINE + 5];
    text.push(b'\n');
    text.extend_from_slice(&vec![b'b'; MAX_LINE]);
    text.push(b'\n');
    for part in text.chunks(1000) {
        log.take(0, part);
    }
    log.end();
    let lengths: Vec<_> = entries(&config.path).iter().map(|(_, text)| (text.len(), text.ends_with('\n'))).collect();
    assert_eq!(lengths, [(MAX_LINE, false), (MAX_LINE, false), (6, true), (MAX_LINE, false), (1, true)]);
    let raw = std::fs::read_to_string(&config.path).unwrap();
    let times: Vec<_> = raw.lines().map(|line| line.split("\"time\":").nth(1).unwrap()).collect();
    assert!(times[0] == times[1] && times[1] == times[2]);
}

#[test]
fn escapes_are_dockers() {
    let mut out = Vec::new();
    encode::string(
        &mut out,
        b"a\"\\\n\r\t\x1b[0m<&>\x7f \xc3\xa9 \xe2\x82 \xff \xe2\x80\xa8 \xed\xa0\x80 \xf0\x9f\x98\x80",
    );
    let expected = "a\\\"\\\\\\n\\r\\u0009\\u001b[0m\\u003c\\u0026\\u003e\x7f é \\ufffd\\ufffd \\ufffd \\u2028 \\ufffd\\ufffd\\ufffd 😀";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn attributes_stand_before_the_time() {
    let scratch = Scratch::new("attributes");
    let mut config = scratch.config();
    config.attributes.insert("a".to_owned(), "b\"c".to_owned());
    let mut log = Log::new(&config);
    log.take(0, b"x\n");
    log.end();
    let text = std::fs::read_to_string(&config.path).unwrap();
    assert!(
        text.starts_with("{\"log\":\"x\\n\",\"stream\":\"stdout\",\"attrs\":{\"a\":\"b\\\"c\"},\"time\":\""),
        "{text}"
    );
}

#[test]
fn rotation_keeps_so_many_files_and_loses_no_line_of_them() {
    let scratch = Scratch::new("rotation");
    let config = LogConfig { max_size: Some(2000), max_file: 3, ..scratch.config() };
    let mut log = Log::new(&config);
    for number in 0..200 {
        log.take(0, format!("line {number}\n").as_bytes());
        log.flush();
    }
    log.end();
    assert_eq!(scratch.names(), ["x-json.log", "x-json.log.1", "x-json.log.2"]);
    let mut lines = Vec::new();
    for name in ["x-json.log.2", "x-json.log.1", "x-json.log"] {
        assert!(std::fs::metadata(scratch.0.join(name)).unwrap().len() < 2200);
        lines.extend(entries(&scratch.0.join(name)).into_iter().map(|(_, text)| text));
    }
    let expected: Vec<_> = (200 - lines.len()..200).map(|number| format!("line {number}\n")).collect();
    assert!(lines.len() > 50);
    assert_eq!(lines, expected);
}

#[test]
fn one_file_only_is_emptied() {
    let scratch = Scratch::new("single");
    let config = LogConfig { max_size: Some(1000), ..scratch.config() };
    let mut log = Log::new(&config);
    log.take(0, "a line that is logged\n".repeat(100).as_bytes());
    log.end();
    assert_eq!(scratch.names(), ["x-json.log"]);
    assert!(std::fs::metadata(&config.path).unwrap().len() < 1200);
}

#[test]
fn rotated_files_are_compressed_between_other_work() {
    use std::io::Read;
    let scratch = Scratch::new("compress");
    let config = LogConfig { max_size: Some(100_000), max_file: 3, compress: true, ..scratch.config() };
    let mut log = Log::new(&config);
    log.take(0, "compressible\n".repeat(1500).as_bytes());
    assert!(log.has_work());
    while log.has_work() {
        log.work();
    }
    log.end();
    assert_eq!(scratch.names(), ["x-json.log", "x-json.log.1.gz"]);
    let mut text = String::new();
    let packed = std::fs::File::open(scratch.0.join("x-json.log.1.gz")).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    assert!(text.len() >= 100_000 && text.ends_with("\"}\n"));
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let scratch = Scratch::new("full");
    let config = LogConfig { path: "/dev/full".into(), ..scratch.config() };
    let mut log = Log::new(&config);
    log.take(0, &b"x\n".repeat(100_000));
    log.end();
}
