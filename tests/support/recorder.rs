//! An engine that is none: it notes what a command line asks for and answers what the test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::call::{Outcome, call};
use super::world::LIMIT;

/// One request, without the API's version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Value,
}

/// The end of a path, and the answer to it.
pub(crate) type Answers = &'static [(&'static str, &'static str)];

pub(crate) struct Recorder {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Recorder {
    /// What has no answer is not there (404), but what is to be made is made.
    pub(crate) fn new(answers: Answers) -> Self {
        let folder = tempfile::tempdir().expect("a folder for a socket");
        let listener = UnixListener::bind(folder.path().join("socket")).expect("listen");
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let notes = asked.clone();
        // Ends with the test's process: nobody connects once the folder has gone.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let notes = notes.clone();
                std::thread::spawn(move || serve(stream, &notes, answers));
            }
        });
        Self { folder, asked }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Runs a command line on this engine. What it asked for before is forgotten.
    pub(crate) fn run(&self, program: &str, arguments: &[&str], input: &[u8]) -> Outcome {
        self.asked.lock().unwrap().clear();
        let mut command = Command::new(program);
        for name in ["DOCKER_CONTEXT", "DOCKER_API_VERSION", "BERTH_ROOT", "BERTH_CONFIG"] {
            command.env_remove(name);
        }
        let host = format!("unix://{}", self.socket().display());
        command.env("BERTH_HOST", &host).env("DOCKER_HOST", &host).env("HOME", self.folder.path());
        command.current_dir(self.folder.path()).args(arguments);
        call(command, input, LIMIT)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(stream: UnixStream, notes: &Mutex<Vec<Asked>>, answers: Answers) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let (method, rest) = line.split_once(' ')?;
        let path = rest.split(' ').next()?;
        let path = match path.strip_prefix("/v1.") {
            Some(rest) => &rest[rest.find('/')?..],
            None => path,
        };
        let (method, path) = (method.to_owned(), path.to_owned());
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let found = answers.iter().find(|(end, _)| path.split('?').next().is_some_and(|path| path.ends_with(end)));
        let (status, answer) = match (found, path.as_str()) {
            (_, "/_ping") => ("200 OK", "OK".to_owned()),
            (Some((_, answer)), _) => ("200 OK", (*answer).to_owned()),
            (None, path) if method == "POST" && path.ends_with("/create") => {
                ("201 Created", json!({ "Id": "a".repeat(64), "Warnings": [], "Warning": "" }).to_string())
            }
            (None, _) => ("404 Not Found", json!({ "message": "nothing of that name" }).to_string()),
        };
        if path != "/_ping" {
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            notes.lock().unwrap().push(Asked { method: method.clone(), path, body });
        }
        let head = format!(
            "HTTP/1.1 {status}\r\nApi-Version: 1.51\r\nOstype: linux\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            answer.len()
        );
        let answer = if method == "HEAD" { "" } else { &answer };
        writer.write_all(format!("{head}{answer}").as_bytes()).ok()?;
    }
}
