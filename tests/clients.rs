//! Docker's own clients against the daemon: the `docker` command, docker-py and docker-compose, as they are installed.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::call::{Background, call};
use crate::support::criu;
use crate::support::docker::Docker;
use crate::support::screen::Screen;
use crate::support::world::LIMIT;
use crate::support::{Mode, World, eventually, find_program, kernel, skip};

/// A daemon, unless there is no client to try it with.
fn world(client: &str) -> Option<World> {
    if find_program(client).is_none() {
        skip(&format!("there is no {client} here"));
        return None;
    }
    Some(World::new(Mode::Daemon))
}

#[test]
fn docker_runs_containers() {
    if kernel::lacks("pids controller", (4, 3)) {
        return;
    }
    let Some(world) = world("docker") else { return };
    let docker = Docker(&world);
    let version =
        docker.call(&["version", "--format", "{{.Server.Version}} {{.Server.APIVersion}} {{.Server.Os}}"]).ok().text();
    assert!(version.starts_with(env!("CARGO_PKG_VERSION")) && version.ends_with("linux"), "{version}");
    assert_eq!(docker.call(&["info", "--format", "{{.Images}} {{.OSType}}"]).ok().text(), "1 linux");
    assert_eq!(docker.call(&["run", "--rm", "box", "echo", "hello"]).ok().text(), "hello");
    docker.call(&["run", "--rm", "box", "sh", "-c", "exit 42"]).ended(42);
    docker.call(&["run", "--rm", "box", "no-such-program"]).ended(127);
    docker.call(&["run", "--rm", "box", "/etc/not-a-program"]).ended(126);
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    assert_eq!(docker.feed(&["run", "--rm", "-i", "box", "cat"], &bytes).ok().stdout, bytes);
    let apart = docker.call(&["run", "--rm", "box", "sh", "-c", "echo out; echo err >&2"]).ok();
    assert_eq!((apart.out().as_str(), apart.err().lines().last()), ("out\n", Some("err")));
    let flags = [
        "run",
        "--rm",
        "-e",
        "A=1",
        "-w",
        "/tmp",
        "-u",
        "1000",
        "-h",
        "inner",
        "--tmpfs",
        "/t",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--memory",
        "64m",
        "--init",
        "box",
        "sh",
        "-c",
        "echo $A; pwd; id -u; hostname",
    ];
    assert_eq!(docker.call(&flags).ok().text(), "1\n/tmp\n1000\ninner");
    docker.call(&["run", "-d", "--name", "one", "box", "sleep", "1000"]).ok();
    let conflict = docker.call(&["run", "--name", "one", "box", "true"]).ended(125);
    assert!(
        conflict.err().contains("Conflict. The container name \"/one\" is already in use by container"),
        "{conflict}"
    );
    assert_eq!(docker.call(&["ps", "--format", "{{.Names}} {{.Image}} {{.State}}"]).ok().text(), "one box running");
    assert_eq!(docker.call(&["exec", "-i", "one", "sh", "-c", "hostname >&2; exit 5"]).code, 5);
    assert!(docker.call(&["top", "one"]).ok().out().contains("sleep 1000"));
    let stats = docker.call(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "one"]).ok();
    assert_eq!(stats.text(), "one 1");
    docker.call(&["rename", "one", "two"]).ok();
    docker.call(&["pause", "two"]).ok();
    docker.call(&["unpause", "two"]).ok();
    docker.call(&["update", "--memory", "80m", "--memory-swap", "160m", "two"]).ok();
    docker.call(&["restart", "-t", "0", "two"]).ok();
    docker.call(&["stop", "-t", "0", "two"]).ok();
    assert_eq!(docker.call(&["wait", "two"]).ok().text(), "137");
    assert_eq!(
        docker.call(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "two"]).ok().text(),
        "exited 137"
    );
    docker.call(&["rm", "two"]).ok();
    docker.call(&["container", "prune", "-f"]).ok();
    assert_eq!(docker.call(&["ps", "-aq"]).ok().text(), "");
}

#[test]
fn docker_makes_checkpoints() {
    if find_program("docker").is_none() {
        return skip("there is no docker here");
    }
    let Some(world) = criu::world(Mode::Daemon) else { return };
    let docker = Docker(&world);
    docker
        .call(&["run", "-d", "--name", "c1", "--network", "none", "box", "sh", "-c", "while :; do sleep 0.1; done"])
        .ok();
    assert_eq!(docker.call(&["checkpoint", "create", "c1", "one"]).ok().text(), "one");
    docker.call(&["checkpoint", "create", "c1", "two"]).refused(1, &["not running"]);
    assert_eq!(docker.call(&["checkpoint", "ls", "c1"]).ok().lines(), ["CHECKPOINT NAME", "one"]);
    docker.call(&["start", "--checkpoint", "one", "c1"]).ok();
    docker.call(&["checkpoint", "create", "--leave-running", "c1", "two"]).ok();
    assert_eq!(world.inspect("c1", "{{.State.Status}}"), "running");
    docker.call(&["checkpoint", "rm", "c1", "one"]).ok();
    docker.call(&["checkpoint", "rm", "c1", "one"]).refused(1, &["does not exist"]);
    assert_eq!(docker.call(&["checkpoint", "ls", "c1"]).ok().lines()[1..], ["two"]);
}

#[test]
fn docker_has_a_terminal() {
    let Some(world) = world("docker") else { return };
    let docker = Docker(&world);
    let mut command = docker.command(&["run", "-it", "--name", "one", "-e", "PS1=ready> ", "box", "sh"]);
    command.env("TERM", "xterm");
    let mut screen = Screen::start(&world, &command, 80, 24);
    screen.expect("ready> ");
    assert_eq!(screen.ask("tty"), "/dev/pts/0");
    screen.expect("ready> ");
    screen.resize(132, 50);
    screen.line("while [ \"$(stty size)\" != '50 132' ]; do sleep 0.05; done; echo re\"\"sized");
    screen.expect("resized");
    screen.send("\x10\x11");
    screen.end();
    assert_eq!(world.inspect("one", "{{.State.Running}}"), "true");
    let mut screen = Screen::start(&world, &docker.command(&["attach", "one"]), 80, 24);
    screen.line("echo ba\"\"ck");
    screen.expect("back");
    screen.line("exit 3");
    assert_eq!(screen.end(), 3);
    world.start(&["--name", "two"], "sleep 1000");
    let mut screen = Screen::start(&world, &docker.command(&["exec", "-it", "-e", "PS1=inner> ", "two", "sh"]), 80, 24);
    screen.expect("inner> ");
    screen.line("exit 4");
    assert_eq!(screen.end(), 4);
}

#[test]
fn docker_follows_logs_and_events() {
    let Some(world) = world("docker") else { return };
    let docker = Docker(&world);
    let events = Background::start(docker.command(&["events", "--filter", "container=one", "--format", "{{.Action}}"]));
    std::thread::sleep(Duration::from_millis(500));
    docker
        .call(&[
            "run",
            "-d",
            "--name",
            "one",
            "box",
            "sh",
            "-c",
            "echo first; while ! test -e /go; do sleep 0.02; done; echo last",
        ])
        .ok();
    let follow = Background::start(docker.command(&["logs", "-f", "one"]));
    follow.expect("first\n", Duration::from_secs(20));
    // It may end with the container that waits for it.
    docker.call(&["exec", "one", "touch", "/go"]);
    assert_eq!(follow.wait(LIMIT).ok().out(), "first\nlast\n");
    assert_eq!(docker.call(&["logs", "--tail", "1", "one"]).ok().text(), "last");
    assert!(docker.call(&["logs", "-t", "--since", "1h", "one"]).ok().lines()[0].starts_with("20"));
    docker.call(&["rm", "one"]).ok();
    events.expect("destroy", Duration::from_secs(20));
    let seen = events.so_far();
    for action in ["create", "start", "die"] {
        assert!(seen.lines().any(|line| line == action), "{action} is missing in {seen}");
    }
}

#[test]
fn docker_handles_images_and_files() {
    let Some(world) = world("docker") else { return };
    let docker = Docker(&world);
    docker.call(&["run", "--name", "one", "box", "sh", "-c", "echo x > /x; rm /etc/group"]).ok();
    assert_eq!(docker.call(&["diff", "one"]).ok().lines().iter().filter(|line| line.starts_with('D')).count(), 1);
    fs::write(world.path("in"), "from outside").unwrap();
    docker.call(&["cp", &world.at("in"), "one:/in"]).ok();
    docker.call(&["cp", "one:/in", &world.at("out")]).ok();
    assert_eq!(fs::read_to_string(world.path("out")).unwrap(), "from outside");
    docker.call(&["commit", "-m", "why", "one", "made:1"]).ok();
    assert_eq!(docker.call(&["run", "--rm", "made:1", "cat", "/x", "/in"]).ok().text(), "x\nfrom outside");
    docker.call(&["tag", "made:1", "made:2"]).ok();
    let names = docker.call(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok().lines();
    assert!(names.contains(&"made:1".to_owned()) && names.contains(&"made:2".to_owned()), "{names:?}");
    assert_eq!(docker.call(&["history", "-q", "made:1"]).ok().lines().len(), 2);
    assert_eq!(docker.call(&["image", "inspect", "--format", "{{.Comment}}", "made:1"]).ok().text(), "why");
    docker.call(&["save", "-o", &world.at("saved.tar"), "made:1"]).ok();
    docker.call(&["rm", "one"]).ok();
    docker.call(&["rmi", "made:1", "made:2"]).ok();
    assert!(docker.call(&["load", "-i", &world.at("saved.tar")]).ok().out().contains("Loaded image: made:1"));
    docker.call(&["create", "--name", "two", "made:1", "true"]).ok();
    docker.call(&["export", "-o", &world.at("export.tar"), "two"]).ok();
    assert!(docker.call(&["import", &world.at("export.tar"), "again"]).ok().text().starts_with("sha256:"));
    docker.call(&["system", "df"]).ok();
    docker.call(&["rm", "-f", "two"]).ok();
    docker.call(&["system", "prune", "-af"]).ok();
    assert_eq!(docker.call(&["images", "-q"]).ok().text(), "");
}

#[test]
fn docker_py_works() {
    if kernel::lacks("pids controller", (4, 3)) {
        return;
    }
    let Some(world) = world("python3") else { return };
    let mut probe = Command::new("python3");
    probe.args(["-c", "import docker"]);
    let found = call(probe, &[], LIMIT);
    if found.code != 0 {
        return skip("docker-py is not installed");
    }
    // docker-py drops what arrives together with the head of an answer, so the programs begin a little later.
    let script = r#"
import docker, io, tarfile, time
c = docker.from_env()
assert c.ping() and c.version()['Os'] == 'linux'
assert c.containers.run('box', 'echo hi', remove=True) == b'hi\n'
try:
    c.containers.run('box', 'sh -c "echo bad >&2; exit 3"', remove=True)
    assert False
except docker.errors.ContainerError as e:
    assert e.exit_status == 3 and b'bad' in e.stderr, e
try:
    c.containers.get('nobody'); assert False
except docker.errors.NotFound: pass
try:
    c.images.get('nothing'); assert False
except docker.errors.ImageNotFound: pass
k = c.containers.run('box', ['sh', '-c', 'echo one; echo two >&2; sleep 1000'], detach=True, name='kk',
    environment={'A': '1'}, labels={'x': 'y'}, mem_limit='64m', tmpfs={'/t': 'size=1m'}, cap_drop=['ALL'], init=True,
    volumes={'/tmp': {'bind': '/h', 'mode': 'ro'}})
assert k.status in ('created', 'running'); k.reload(); assert k.status == 'running'
assert [x.name for x in c.containers.list(filters={'label': 'x=y'})] == ['kk']
assert k.attrs['Mounts'][0]['Destination'] == '/h' and k.attrs['Config']['Entrypoint'] is None and k.attrs['NetworkSettings']['IPAddress'].startswith('172.')
assert k.exec_run('sleep 1000', detach=True).exit_code is None
code, out = k.exec_run(['sh', '-c', 'sleep .3; echo $A; exit 4']); assert (code, out) == (4, b'1\n')
code, (out, err) = k.exec_run(['sh', '-c', 'sleep .3; echo o; echo e >&2'], demux=True); assert (out, err) == (b'o\n', b'e\n')
s = k.exec_run('cat', stdin=True, socket=True).output; time.sleep(.3); s._sock.sendall(b'hello'); s._sock.shutdown(1); assert s.read()[8:] == b'hello'
time.sleep(.2)
assert k.logs(stderr=False) == b'one\n' and k.logs(stdout=False) == b'two\n'
st = k.stats(stream=False); assert st['pids_stats']['current'] >= 1 and st['memory_stats']['usage'] > 0, st
n = next(iter(k.stats(decode=True))); assert n['name'] == '/kk'
buffer = io.BytesIO(); t = tarfile.open(fileobj=buffer, mode='w'); i = tarfile.TarInfo('f'); i.size = 4; t.addfile(i, io.BytesIO(b'data')); t.close()
assert k.put_archive('/t', buffer.getvalue())
bits, stat = k.get_archive('/t/f'); assert stat['size'] == 4 and tarfile.open(fileobj=io.BytesIO(b''.join(bits))).extractfile('f').read() == b'data'
assert k.top()['Titles'][0] == 'UID'
k.pause(); k.reload(); assert k.status == 'paused'; k.unpause()
k.rename('ll'); k.update(mem_limit='96m', memswap_limit='192m'); k.kill('SIGKILL')
assert k.wait()['StatusCode'] == 137
image = k.commit('made', 'v1'); assert 'made:v1' in image.tags
data = b''.join(image.save(named=True)); k.remove(); c.images.remove('made:v1')
assert c.images.load(data)[0].tags == ['made:v1']
c.images.get('made:v1').tag('other'); c.images.remove('other'); c.images.remove('made:v1')
seen = [e['Action'] for e in c.events(since=0, until=int(time.time()) + 1, decode=True, filters={'type': 'container'})]
assert 'create' in seen and 'die' in seen and 'destroy' in seen, seen
assert c.info()['ContainersRunning'] == 0 and c.df()['Images']
c.containers.prune(); c.images.prune()
print('all fine')
"#;
    let mut command = world.client("python3");
    command.args(["-c", script]);
    assert_eq!(call(command, &[], LIMIT).ok().text(), "all fine");
    eventually("nothing is left", Duration::from_secs(10), || world.berth(&["ps", "-aq"]).text().is_empty());
}

/// Two services that find each other by their names, a volume with a name and one without, a published port.
const COMPOSE: &str = r#"
version: "3.7"
services:
  web:
    image: box
    command: ["sh", "-c", "mkdir -p /www; echo $$SAYS > /www/index.html; exec httpd -f -h /www -p 80"]
    environment: {SAYS: "${SAYS:-hello}"}
    ports: ["8080:80"]
    volumes: ["data:/data", "/own"]
    stop_signal: SIGKILL
  client:
    image: box
    command: sleep 1000
    depends_on: [web]
    networks: {default: {aliases: [other]}, back: {}}
    stop_signal: SIGKILL
volumes: {data: {}}
networks: {back: {internal: true}}
"#;

#[test]
fn docker_compose_works() {
    let Some(world) = world("docker-compose") else { return };
    fs::create_dir(world.path("project")).unwrap();
    fs::write(world.path("project/docker-compose.yml"), COMPOSE).unwrap();
    let compose = |says: &str, arguments: &[&str]| {
        let mut command = world.client("docker-compose");
        command.env("SAYS", says).current_dir(world.path("project")).args(arguments);
        call(command, &[], LIMIT)
    };
    let page = |from: &[&str]| world.berth(&[&["exec"], from].concat()).text();
    let client = || world.berth(&["ps", "-qf", "label=com.docker.compose.service=client"]).ok().text();
    let server = || world.berth(&["ps", "-qf", "label=com.docker.compose.service=web"]).ok().text();
    compose("hello", &["up", "-d"]).ok();
    let (first, other) = (server(), client());
    eventually("one service finds the other", LIMIT, || page(&[&other, "wget", "-qO-", "http://web/"]) == "hello");
    let published = || world.shell("busybox wget -qO- http://127.0.0.1:8080/").text();
    assert_eq!(published(), "hello");
    assert!(page(&[&first, "nslookup", "other"]).contains("Name:"));
    world.berth(&["exec", &first, "touch", "/data/named", "/own/anonymous"]).ok();
    // Another configuration makes another container, which has what the first one's volumes have.
    compose("bye", &["up", "-d"]).ok();
    assert!(server() != first && client() == other);
    eventually("the new one is found", LIMIT, || page(&[&other, "wget", "-qO-", "http://web/"]) == "bye");
    assert_eq!(published(), "bye");
    world.berth(&["exec", &server(), "ls", "/data/named", "/own/anonymous"]).ok();
    assert_eq!(compose("bye", &["exec", "-T", "client", "sh", "-c", "exit 3"]).code, 3);
    compose("bye", &["down"]).ok();
    assert_eq!(world.berth(&["ps", "-aq"]).ok().text(), "");
    assert_eq!(world.berth(&["volume", "ls", "-qf", "name=project_data"]).ok().text(), "project_data");
    compose("hello", &["up", "-d"]).ok();
    world.berth(&["exec", &server(), "ls", "/data/named"]).ok();
    compose("hello", &["down", "-v"]).ok();
    assert_eq!(world.berth(&["volume", "ls", "-qf", "name=project_data"]).ok().text(), "");
    assert_eq!(world.berth(&["network", "ls", "-qf", "name=project"]).ok().text(), "");
}
