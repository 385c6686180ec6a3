//! One call of a program: its streams pumped by threads, its end awaited for a limited time.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How a program ended and what it said.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) line: String,
    /// 128 + signal if it was killed.
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) took: Duration,
}

impl Outcome {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output without the white space around it.
    pub(crate) fn text(&self) -> String {
        self.out().trim().to_owned()
    }

    pub(crate) fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.ended(0)
    }

    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n{self}");
        self
    }

    /// Asserts the exit code and words of the error.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> Self {
        let said = self.err();
        for word in words {
            assert!(said.contains(word), "{word:?} is not said\n{self}");
        }
        self.ended(code)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.out().lines().map(str::to_owned).collect()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let cut = |chars| text.char_indices().nth(chars).map(|(at, _)| at);
            match (cut(2000), text.char_indices().nth_back(1999)) {
                (Some(start), Some((end, _))) if start < end => {
                    format!("{}\n... {} bytes in all ...\n{}", &text[..start], bytes.len(), &text[end..])
                }
                _ => text.into_owned(),
            }
        };
        write!(
            f,
            "$ {}\nexit code {} after {:?}\nstdout: {}\nstderr: {}",
            self.line,
            self.code,
            self.took,
            short(&self.stdout),
            short(&self.stderr)
        )
    }
}

type Shared = Arc<Mutex<Vec<u8>>>;

/// A program that runs beside the test. Dropped, it is killed and awaited.
pub(crate) struct Background {
    child: Child,
    line: String,
    started: Instant,
    stdin: Option<ChildStdin>,
    stdout: Shared,
    stderr: Shared,
    pumps: Vec<JoinHandle<()>>,
}

fn pump(mut source: impl Read + Send + 'static) -> (Shared, JoinHandle<()>) {
    let shared = Shared::default();
    let target = shared.clone();
    let pump = std::thread::spawn(move || {
        let mut buffer = [0; 64 * 1024];
        while let Ok(read) = source.read(&mut buffer) {
            if read == 0 {
                return;
            }
            target.lock().unwrap().extend_from_slice(&buffer[..read]);
        }
    });
    (shared, pump)
}

pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

impl Background {
    /// All three streams are pipes.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        let line = describe(&command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let (stdout, first) = pump(child.stdout.take().unwrap());
        let (stderr, second) = pump(child.stderr.take().unwrap());
        let stdin = child.stdin.take();
        Self { child, line, started: Instant::now(), stdin, stdout, stderr, pumps: vec![first, second] }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    #[track_caller]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).unwrap_or_else(|error| panic!("{}: {error}", self.line));
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.stdout.lock().unwrap()).into_owned()
    }

    pub(crate) fn errors_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until standard output holds `text`.
    #[track_caller]
    pub(crate) fn expect(&self, text: &str, limit: Duration) {
        let end = Instant::now() + limit;
        while !self.so_far().contains(text) {
            assert!(
                Instant::now() < end,
                "{text:?} did not come within {limit:?}\n$ {}\nstdout: {}\nstderr: {}",
                self.line,
                self.so_far(),
                self.errors_so_far()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the end; kills and fails after `limit`.
    #[track_caller]
    pub(crate) fn wait(mut self, limit: Duration) -> Outcome {
        let end = self.started.max(Instant::now()) + limit;
        let mut pause = Duration::from_millis(1);
        let status = loop {
            match self.child.try_wait().expect("wait for a child") {
                Some(status) => break Some(status),
                None if Instant::now() > end => break None,
                None => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(10));
        };
        let took = self.started.elapsed();
        let Some(status) = status else {
            let _ = self.child.kill();
            let said = (self.so_far(), self.errors_so_far());
            panic!("$ {}\nstill running after {limit:?}\nstdout: {}\nstderr: {}", self.line, said.0, said.1);
        };
        // Whoever inherited the pipes must not hold the test up for ever.
        let end = Instant::now() + Duration::from_secs(10);
        while self.pumps.iter().any(|pump| !pump.is_finished()) {
            assert!(Instant::now() < end, "$ {}\nended, but something keeps its output open", self.line);
            std::thread::sleep(Duration::from_millis(1));
        }
        Outcome {
            line: self.line.clone(),
            code: code(status),
            stdout: std::mem::take(&mut self.stdout.lock().unwrap()),
            stderr: std::mem::take(&mut self.stderr.lock().unwrap()),
            took,
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end, `input` on its standard input.
#[track_caller]
pub(crate) fn call(command: Command, input: &[u8], limit: Duration) -> Outcome {
    let mut background = Background::start(command);
    if !input.is_empty() {
        let mut stdin = background.stdin.take().unwrap();
        let input = input.to_vec();
        // Ends by itself: a program that does not read closes the pipe when it ends.
        std::thread::spawn(move || drop(stdin.write_all(&input)));
    }
    background.close_stdin();
    background.wait(limit)
}
