//! A pseudo-terminal with a program on it, driven as a user would: bytes in, text out, a size that changes.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::termios::{Winsize, tcsetwinsize};

use super::World;
use super::call::{code, describe};
use super::world::LIMIT;

pub(crate) struct Screen {
    child: Child,
    line: String,
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
    /// What was looked for and found is not looked at again.
    seen: usize,
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Screen {
    /// Runs the program as the leader of a session with the terminal as its controlling one.
    #[track_caller]
    pub(crate) fn start(world: &World, command: &Command, columns: u16, rows: u16) -> Self {
        let pair = nix::pty::openpty(None, None).expect("open a pseudo-terminal");
        tcsetwinsize(&pair.master, size(columns, rows)).expect("set the terminal's size");
        // setsid(1) makes the session and takes the terminal, then becomes the program: no process of its own.
        let mut call = Command::new("setsid");
        call.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => call.env(name, value),
                None => call.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            call.current_dir(folder);
        }
        // What is called between fork and exec is no part of a command that can be copied.
        world.go_there(&mut call);
        let copy = |slave: &OwnedFd| Stdio::from(slave.try_clone().expect("copy a descriptor"));
        call.stdin(copy(&pair.slave)).stdout(copy(&pair.slave)).stderr(copy(&pair.slave));
        let line = describe(command);
        let child = call.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        drop((call, pair.slave));
        let keyboard = File::from(pair.master);
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let (mut source, target) = (keyboard.try_clone().expect("copy a descriptor"), shown.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO: nobody has the other side open any more.
            while let Ok(read @ 1..) = source.read(&mut buffer) {
                target.lock().unwrap().extend_from_slice(&buffer[..read]);
            }
        });
        Self { child, line, keyboard, shown, seen: 0 }
    }

    /// `berth ARGUMENTS` on a terminal of 80 by 24.
    #[track_caller]
    pub(crate) fn berth(world: &World, arguments: &[&str]) -> Self {
        let mut command = world.command();
        command.args(arguments).env("TERM", "xterm-256color");
        Self::start(world, &command, 80, 24)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    #[track_caller]
    pub(crate) fn send(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", self.line));
    }

    /// Types a line and Enter.
    #[track_caller]
    pub(crate) fn line(&mut self, text: &str) {
        self.send(&format!("{text}\r"));
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.keyboard, size(columns, rows)).expect("set the terminal's size");
    }

    /// Everything that was ever drawn, escape sequences included.
    pub(crate) fn all(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    fn fresh(&self) -> String {
        let shown = self.shown.lock().unwrap();
        String::from_utf8_lossy(&shown[self.seen..]).into_owned()
    }

    /// Waits until `text` is drawn after what was found before, and returns what came up to its end.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            {
                let shown = self.shown.lock().unwrap();
                let fresh = &shown[self.seen..];
                if let Some(at) = fresh.windows(text.len()).position(|window| window == text.as_bytes()) {
                    let found = String::from_utf8_lossy(&fresh[..at + text.len()]).into_owned();
                    drop(shown);
                    self.seen += at + text.len();
                    return found;
                }
            }
            assert!(Instant::now() < end, "{text:?} did not come\n$ {}\nshown: {:?}", self.line, self.fresh());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs a shell line and returns what it printed. The marks are put together by the shell, so that their echo
    /// cannot be taken for them.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.line(&format!("echo \"<\"begin\">\"; {command}; echo \"<\"end\">\""));
        self.expect("<begin>");
        let answer = self.expect("<end>");
        answer.trim_end_matches("<end>").trim().to_owned()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The program's exit code.
    #[track_caller]
    pub(crate) fn end(mut self) -> i32 {
        let end = Instant::now() + LIMIT.min(Duration::from_secs(20));
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                return code(status);
            }
            assert!(Instant::now() < end, "still running\n$ {}\nshown: {:?}", self.line, self.fresh());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
