//! A container's folders, its monitor, and a client.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use berth_monitor::config::{LogConfig, LogDriver, RestartPolicy};
use berth_monitor::protocol::{FromMonitor, Refusal, Request, Response, Started, WaitCondition, frame as kinds};
use berth_monitor::{MonitorConfig, State, client, frame};

pub(crate) struct Container {
    pub(crate) config: MonitorConfig,
    base: PathBuf,
}

impl Container {
    pub(crate) fn new(args: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        // Longer than a socket's address.
        let long = "a-folder-with-a-name-that-makes-the-path-of-the-socket-longer-than-its-address-can-be-which-is-108";
        let base = std::env::temp_dir().join(format!("berth-monitor-{}-{number}", std::process::id()));
        let folder = base.join("state");
        let run_folder = base.join(long).join("run");
        std::fs::create_dir_all(&folder).unwrap();
        let process = serde_json::json!({"args": args, "cwd": "/", "user": {"uid": 0, "gid": 0}});
        let spec = serde_json::json!({"ociVersion": "1.0.2", "process": process, "root": {"path": "/"}});
        std::fs::write(folder.join("config.json"), spec.to_string()).unwrap();
        let config = MonitorConfig {
            id: format!("{number:064x}").parse().unwrap(),
            log: LogConfig {
                driver: LogDriver::JsonFile,
                path: folder.join("x-json.log"),
                max_size: None,
                max_file: 1,
                compress: false,
                attributes: BTreeMap::new(),
            },
            state: folder.join("state.json"),
            boot: String::new(),
            mount_point: base.join("root"),
            events: base.join("events.jsonl"),
            folder,
            run_folder,
            backend: "fake".to_owned(),
            runtime: None,
            rootfs: Vec::new(),
            network: Default::default(),
            terminal: false,
            size: None,
            open_stdin: false,
            stdin_once: false,
            restart: RestartPolicy::No,
            auto_remove: false,
            stop_signal: libc::SIGTERM,
            stop_timeout: 10,
            attributes: BTreeMap::from([("name".to_owned(), "test".to_owned())]),
            remove_command: Vec::new(),
            mounts: Vec::new(),
            volumes: Vec::new(),
            releases: false,
            restore: None,
        };
        Self { config, base }
    }

    pub(crate) fn sh(script: &str) -> Self {
        Self::new(&["/bin/sh", "-c", script])
    }

    pub(crate) fn interactive(mut self) -> Self {
        self.config.open_stdin = true;
        self.config.stdin_once = true;
        self
    }

    /// Starts, with a client that misses nothing.
    pub(crate) fn start_attached(&self, keys: &[u8]) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        client::send(&ours, &attach(keys)).unwrap();
        match berth_monitor::spawn_serving(&self.config, &[theirs], &[]).unwrap() {
            Started::Running { pid, .. } => assert!(pid > 0),
            Started::Refused(refusal) => panic!("{refusal:?}"),
        }
        assert!(matches!(client::receive(&ours).unwrap(), Response::Done));
        Client(ours)
    }

    pub(crate) fn start(&self) -> i32 {
        match berth_monitor::spawn(&self.config).unwrap() {
            Started::Running { pid, .. } => pid,
            Started::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    pub(crate) fn start_refused(&self) -> Refusal {
        match berth_monitor::spawn(&self.config).unwrap() {
            Started::Refused(refusal) => refusal,
            Started::Running { .. } => panic!("it runs"),
        }
    }

    pub(crate) fn open(&self, request: &Request) -> (UnixStream, Response) {
        client::open(&self.config.run_folder, request).unwrap()
    }

    pub(crate) fn ask(&self, request: &Request) -> Response {
        self.open(request).1
    }

    pub(crate) fn attach(&self) -> Client {
        let (stream, response) = self.open(&attach(&[16, 17]));
        assert!(matches!(response, Response::Done));
        Client(stream)
    }

    /// The exit code, however fast it was.
    pub(crate) fn wait(&self) -> i32 {
        let request = Request::Wait { condition: WaitCondition::NotRunning, removes: false };
        match client::request(&self.config.run_folder, &request) {
            Ok(Response::Exited { code, .. }) => code,
            Err(berth_monitor::Error::NotFound(_)) => {
                self.until("the monitor is gone", || !client::is_alive(&self.config.run_folder));
                self.state().exit_code
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn state(&self) -> State {
        serde_json::from_slice(&std::fs::read(self.config.folder.join("state.json")).unwrap()).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.config.log.path).unwrap_or_default()
    }

    /// Actions of the events so far.
    pub(crate) fn events(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.config.events).unwrap_or_default();
        let action = |line: &str| {
            let event: berth_monitor::protocol::Event = serde_json::from_str(line).unwrap();
            assert_eq!(event.attributes["name"], "test");
            event.action
        };
        text.lines().map(action).collect()
    }

    pub(crate) fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < end, "not within 20 s: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = client::request(&self.config.run_folder, &Request::Signal { signal: libc::SIGKILL });
        let end = Instant::now() + Duration::from_secs(5);
        while client::is_alive(&self.config.run_folder) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        berth_monitor::reap();
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

pub(crate) fn attach(keys: &[u8]) -> Request {
    Request::Attach { stdin: true, stdout: true, stderr: true, detach_keys: keys.to_vec() }
}

pub(crate) struct Client(pub(crate) UnixStream);

impl Client {
    pub(crate) fn send(&self, kind: u8, bytes: &[u8]) {
        let mut whole = frame::header(kind, bytes.len()).to_vec();
        whole.extend_from_slice(bytes);
        (&self.0).write_all(&whole).unwrap();
    }

    pub(crate) fn type_in(&self, bytes: &[u8]) {
        self.send(kinds::STDIN, bytes);
    }

    pub(crate) fn end_input(&self) {
        self.send(kinds::STDIN, b"");
    }

    /// The next frame; `None` at the end.
    pub(crate) fn frame(&self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; frame::HEADER];
        (&self.0).read_exact(&mut header).ok()?;
        let (kind, length) = frame::parse_header(header).unwrap();
        let mut payload = vec![0; length];
        (&self.0).read_exact(&mut payload).unwrap();
        Some((kind, payload))
    }

    /// Everything: standard output, standard error, and how it ended.
    pub(crate) fn rest(&self) -> (Vec<u8>, Vec<u8>, Option<FromMonitor>) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some((kind, payload)) = self.frame() {
            match kind {
                kinds::STDOUT => out.extend(payload),
                kinds::STDERR => err.extend(payload),
                _ => return (out, err, Some(serde_json::from_slice(&payload).unwrap())),
            }
        }
        (out, err, None)
    }

    /// Reads output until it contains `text`.
    pub(crate) fn expect(&self, text: &str) -> String {
        let mut seen = String::new();
        let mut looked = 0;
        while !seen[looked..].contains(text) {
            looked = seen.floor_char_boundary(seen.len().saturating_sub(text.len()));
            let (kind, payload) = self.frame().unwrap_or_else(|| panic!("ended after {seen:?}, without {text:?}"));
            assert_ne!(kind, kinds::CONTROL, "{}", String::from_utf8_lossy(&payload));
            seen.push_str(&String::from_utf8_lossy(&payload));
        }
        seen
    }
}
