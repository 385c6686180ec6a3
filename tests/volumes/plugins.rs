//! Drivers of others: a plugin served by the test itself, which keeps a book of what it was asked.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::world::LIMIT;
use crate::support::{Mode, World, eventually};

#[derive(Clone)]
struct Plugin {
    base: PathBuf,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Plugin {
    /// Listens as `NAME.sock` in the world's folder of plugins, and tells the world to look there.
    fn serve(world: &World, name: &str) -> Self {
        let folder = world.path("plugins");
        let first = fs::create_dir(&folder).is_ok();
        let plugin = Self { base: world.path(&format!("volumes-of-{name}")), calls: Arc::default() };
        fs::create_dir(&plugin.base).unwrap();
        let listener = UnixListener::bind(folder.join(format!("{name}.sock"))).unwrap();
        let served = plugin.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                served.answer(stream);
            }
        });
        if first {
            let config = world.at("berth.toml");
            fs::write(&config, format!("plugin-folders = [{folder:?}]\n")).unwrap();
            world.set("BERTH_CONFIG", &config);
            if world.mode() == Mode::Daemon {
                world.stop_daemon();
                world.start_daemon();
            }
        }
        plugin
    }

    fn answer(&self, mut stream: UnixStream) {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        let (method, body) = loop {
            let Ok(read) = stream.read(&mut buffer) else { return };
            if read == 0 {
                return;
            }
            bytes.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() < length.and_then(|length| length.parse().ok()).unwrap_or(0) {
                continue;
            }
            let method = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
            break (method, serde_json::from_str(body).unwrap_or(Value::Null));
        };
        let answer = self.act(&method, &body).to_string();
        self.calls.lock().unwrap().push((method, body));
        let _ =
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: x\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
    }

    fn act(&self, method: &str, body: &Value) -> Value {
        let name = body["Name"].as_str().unwrap_or_default();
        let path = self.base.join(name);
        let known = || json!({ "Name": name, "Mountpoint": path, "Status": { "seen": true } });
        match method {
            "Plugin.Activate" => json!({ "Implements": ["VolumeDriver"] }),
            "VolumeDriver.Create" if body["Opts"]["fail"] == "yes" => json!({ "Err": "told to fail" }),
            "VolumeDriver.Create" => {
                fs::create_dir_all(&path).unwrap();
                json!({ "Err": "" })
            }
            "VolumeDriver.Remove" if name == "stubborn" => json!({ "Err": "will not" }),
            "VolumeDriver.Remove" => {
                let _ = fs::remove_dir_all(&path);
                json!({ "Err": "" })
            }
            "VolumeDriver.Mount" | "VolumeDriver.Path" => json!({ "Mountpoint": path, "Err": "" }),
            "VolumeDriver.Unmount" => json!({ "Err": "" }),
            "VolumeDriver.Get" if path.is_dir() => json!({ "Volume": known(), "Err": "" }),
            "VolumeDriver.Get" => json!({ "Err": "no such volume" }),
            "VolumeDriver.List" => {
                let names = fs::read_dir(&self.base).unwrap().flatten();
                let list: Vec<Value> = names
                    .map(|entry| json!({ "Name": entry.file_name().to_str(), "Mountpoint": entry.path() }))
                    .collect();
                json!({ "Volumes": list, "Err": "" })
            }
            "VolumeDriver.Capabilities" => json!({ "Capabilities": { "Scope": "global" } }),
            _ => json!({ "Err": format!("what is {method}?") }),
        }
    }

    /// The volume and the ID of all calls of one kind.
    fn calls(&self, method: &str) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .filter(|(found, _)| found == method)
            .map(|(_, body)| (text(&body["Name"]), text(&body["ID"])))
            .collect()
    }

    fn open(&self) -> usize {
        self.calls("VolumeDriver.Mount").len() - self.calls("VolumeDriver.Unmount").len()
    }

    #[track_caller]
    fn all_is_unmounted(&self) {
        eventually("every mount is followed by an unmount", LIMIT, || {
            let (mut mounts, mut unmounts) = (self.calls("VolumeDriver.Mount"), self.calls("VolumeDriver.Unmount"));
            mounts.sort();
            unmounts.sort();
            mounts == unmounts
        });
    }
}

both! {
    fn a_plugin_keeps_volumes(world) {
        let plugin = Plugin::serve(world, "disks");
        world.berth(&["volume", "create", "-d", "disks", "-o", "size=3", "data"]).ok();
        assert_eq!(plugin.calls.lock().unwrap().iter().find(|(method, _)| method == "VolumeDriver.Create").unwrap().1["Opts"]["size"], "3");
        let found = &world.berth(&["volume", "inspect", "data"]).ok().json()[0];
        assert_eq!((found["Driver"].as_str(), found["Scope"].as_str()), (Some("disks"), Some("global")));
        assert_eq!(found["Mountpoint"].as_str().unwrap(), plugin.base.join("data").to_str().unwrap());
        assert_eq!(found["Status"]["seen"], true);
        world.run(&["--rm", "-v", "data:/d", "box", "sh", "-c", "echo hello > /d/f"]).ok();
        assert_eq!(fs::read_to_string(plugin.base.join("data/f")).unwrap(), "hello\n");
        plugin.all_is_unmounted();
        assert!(!plugin.calls("VolumeDriver.Mount").is_empty());
        // Made with the container, and filled from its image.
        world.run(&["--rm", "--volume-driver", "disks", "-v", "etc:/etc", "box", "true"]).ok();
        assert!(plugin.base.join("etc/passwd").is_file());
        assert_eq!(fs::read_dir(plugin.base.join("etc")).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().starts_with(".berth")).count(), 0);
        // What the plugin has of its own is seen too.
        fs::create_dir(plugin.base.join("theirs")).unwrap();
        let listed = world.berth(&["volume", "ls"]).ok().lines();
        for name in ["data", "etc", "theirs"] {
            assert!(listed.contains(&format!("disks     {name}")), "{listed:?}");
        }
        assert_eq!(world.berth(&["info", "--format", "{{json .Plugins.Volume}}"]).ok().text(), "[\"local\",\"disks\"]");
        world.berth(&["volume", "rm", "data", "theirs"]).ok();
        assert!(!plugin.base.join("data").exists() && !plugin.base.join("theirs").exists());
        // Not berth's to throw away in passing.
        world.berth(&["volume", "prune", "-fa"]).ok();
        assert!(plugin.base.join("etc").exists());
        plugin.all_is_unmounted();
    }

    fn a_plugin_hears_of_every_end(world) {
        let plugin = Plugin::serve(world, "disks");
        let id = world.start(&["--volume-driver", "disks", "-v", "data:/d"], "sleep 100");
        assert_eq!(plugin.calls("VolumeDriver.Mount").last().unwrap(), &("data".to_owned(), id.clone()));
        assert_eq!(plugin.open(), 1);
        assert_eq!(world.inspect(&id, "{{range .Mounts}}{{.Driver}} {{.Source}}{{end}}"), format!("disks {}", plugin.base.join("data").display()));
        world.berth(&["volume", "rm", "data"]).refused(1, &["in use"]);
        world.berth(&["stop", "-t", "0", &id]).ok();
        plugin.all_is_unmounted();
        // By itself, with nobody there.
        world.berth(&["start", &id]).ok();
        let short = world.start(&["--volume-driver", "disks", "-v", "data:/d"], "sleep 0.5");
        assert_eq!(plugin.open(), 2);
        eventually("the short one's end is told", LIMIT, || plugin.calls("VolumeDriver.Unmount").iter().filter(|(_, who)| *who == short).count() == 1);
        // A monitor that was killed is found by whoever looks next.
        let pid: i32 = {
            let state = fs::read_to_string(world.root().join("containers").join(&id).join("state.json")).unwrap();
            serde_json::from_str::<Value>(&state).unwrap()["monitor_pid"].as_i64().unwrap() as i32
        };
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        eventually("its end is told", LIMIT, || {
            world.berth(&["ps", "-a"]).ok();
            plugin.open() == 0
        });
        // A start that fails.
        world.run(&["--rm", "-v", "data:/d", "box", "no-such-program"]).ended(127);
        plugin.all_is_unmounted();
        // A look into one that does not run.
        fs::write(plugin.base.join("data/f"), "there").unwrap();
        assert!(world.berth(&["cp", &format!("{id}:/d/f"), "-"]).ok().out().contains("there"));
        plugin.all_is_unmounted();
    }

    fn what_a_plugin_refuses_leaves_nothing(world) {
        let plugin = Plugin::serve(world, "disks");
        world.berth(&["volume", "create", "-d", "disks", "-o", "fail=yes", "bad"]).refused(1, &["VolumeDriver.Create", "told to fail"]);
        world.run(&["--rm", "--mount", "src=bad,dst=/x,volume-driver=disks,volume-opt=fail=yes", "box", "true"]).refused(125, &["told to fail"]);
        // Its own volume goes with the container that does not come about, another's stays.
        fs::create_dir(plugin.base.join("theirs")).unwrap();
        world.run(&["--rm", "--volume-driver", "disks", "-v", "ours:/a", "-v", "theirs:/b", "-v", "file:/etc/passwd", "box", "true"]).ended(125);
        assert!(!plugin.base.join("ours").exists() && plugin.base.join("theirs").exists());
        assert_eq!(world.berth(&["volume", "ls", "-q", "-f", "name=ours"]).ok().text(), "");
        world.berth(&["volume", "create", "-d", "disks", "stubborn"]).ok();
        world.berth(&["volume", "rm", "stubborn"]).refused(1, &["will not"]);
        assert_eq!(world.berth(&["volume", "ls", "-q", "-f", "name=stubborn"]).ok().text(), "stubborn");
        // Names are the store's, whatever driver.
        world.berth(&["volume", "create", "stubborn"]).refused(1, &["volume name must be unique"]);
        plugin.all_is_unmounted();
    }

    fn odd_plugins_are_refused_clearly(world) {
        let _plugin = Plugin::serve(world, "disks");
        let folder = world.path("plugins");
        fs::write(folder.join("secure.json"), r#"{"Name":"secure","Addr":"https://localhost:1","TLSConfig":{"CAFile":"x"}}"#).unwrap();
        fs::write(folder.join("dead.spec"), "unix:///nosuch/dead.sock").unwrap();
        world.berth(&["volume", "create", "-d", "secure", "vol"]).refused(1, &["TLS to plugins is not supported"]);
        world.berth(&["volume", "create", "-d", "dead", "vol"]).refused(1, &["error looking up volume plugin dead", "/nosuch/dead.sock"]);
        world.berth(&["volume", "create", "-d", "../disks", "vol"]).refused(1, &["not found"]);
        let listed = world.berth(&["volume", "ls"]).ok();
        assert!(listed.err().contains("dead"), "{listed}");
    }
}
