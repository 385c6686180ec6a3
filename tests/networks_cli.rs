//! The command line of networks and ports, without an engine: what berth sends, prints and refuses is what the real
//! `docker` (28) does with the same words.

use serde_json::{Value, json};

use crate::support::recorder::{Answers, Asked, Recorder};
use crate::support::{Outcome, find_program, program, skip};

fn berth(recorder: &Recorder, arguments: &[&str]) -> Outcome {
    recorder.run(program().to_str().expect("a path in UTF-8"), arguments, b"n\n")
}

/// Whether there is the `docker` that berth is compared with: others have other words.
fn docker_is_here() -> bool {
    let version = find_program("docker").map(|path| std::process::Command::new(path).arg("--version").output());
    let text = version.and_then(Result::ok).map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let here = text.is_some_and(|text| text.starts_with("Docker version 28."));
    if !here {
        skip("there is no docker 28 here");
    }
    here
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.iter().all(|value| value.as_f64() == Some(0.0)),
        Value::Object(map) => map.is_empty(),
    }
}

/// Without what says nothing: Go writes zero values that others leave out.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| {
                // Their keys are what they say.
                let is_set = matches!(name.as_str(), "EndpointsConfig" | "ExposedPorts");
                let value = match value {
                    Value::Object(set) if is_set => {
                        Value::Object(set.into_iter().map(|(key, value)| (key, plain(value))).collect())
                    }
                    // Docker's come out of a map, in no order.
                    Value::Array(list) if name == "Config" => {
                        let mut list: Vec<Value> = list.into_iter().map(plain).collect();
                        list.sort_by_key(Value::to_string);
                        Value::Array(list)
                    }
                    other => plain(other),
                };
                (name, value)
            });
            let unset = |name: &str, value: &Value| name == "MemorySwappiness" && *value == json!(-1);
            let said = |(name, value): &(String, Value)| !(is_empty(value) || unset(name, value));
            Value::Object(fields.filter(said).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(plain).collect()),
        other => other,
    }
}

/// The last request: before it, Docker may look first.
fn sent(recorder: &Recorder, outcome: &Outcome) -> Asked {
    let mut asked = recorder.asked();
    let last = asked.pop().unwrap_or_else(|| panic!("nothing was sent\n{outcome}"));
    // Of the query, filters have two forms.
    let path = last.path.split("filters=").next().unwrap_or_default().to_owned();
    Asked { path, body: plain(last.body), ..last }
}

/// Flags of `create`, a line each.
const CREATE: &str = "
--network foo
--network bridge
--network default
--network host
--network none
--network container:other
--network name=
--network name=foo
--network name=Foo,ALIAS=Bar
--network name=foo,alias=a,alias=b,ip=10.0.0.2,ip6=fd00::2
--network name=foo,mac-address=02:42:ac:11:00:09,link-local-ip=169.254.1.1,link-local-ip=fe80::1
--network name=foo,driver-opt=com.example.a=b,driver-opt=c=d,gw-priority=-7
--network name=foo,\"alias=a\"
--network foo --network bar
--network foo --network name=bar,alias=x --network-alias y
--net foo --net-alias y
--network foo --network-alias a --network-alias b --ip 10.0.0.2 --ip6 fd00::2 --link-local-ip 169.254.1.1
--network bridge --mac-address 02:42:ac:11:00:09
--network host --ip 1.2.3.4
--mac-address 02-42-ac-11-00-09
--ip 172.17.0.9
--ip nonsense
--link a --link b:c
--network bridge --link a:b
--network foo --link a:b
--network foo --network bar --link a:b
--add-host a:1.2.3.4 --add-host b=::1 --add-host c:[::1] --add-host d=[1.2.3.4] --add-host e:host-gateway
--dns 1.2.3.4 --dns 2001:DB8::0:1 --dns ::ffff:1.2.3.4
--dns-search example.com. --dns-search . --dns-option ndots:2 --dns-opt rotate
-p 80
-p 5000:80
-p 5000:80/udp -p 5000:80/tcp -p 5001:80
-p 5000:80/SCTP
-p 127.0.0.1:5000:80 -p 127.0.0.1::81
-p [::1]:5000:80 -p [::1]::81 -p ::1:5002:82
-p 8000-8010:80
-p 8000-8002:80-82 -p 80-81
-p 127.0.0.1:8000-8002:80-82/udp
-p 0:0
-p target=80
-p target=80,published=8080,protocol=udp,mode=host
-p published=90-92,target=80-82
--publish 80 --publish-all
-P --expose 80 --expose 90-92/udp --expose 80/
--expose 80 -p 5000:80
";

#[test]
fn containers_are_asked_for_as_docker_does() {
    if !docker_is_here() {
        return;
    }
    let recorder = Recorder::new(&[]);
    for line in CREATE.lines() {
        let arguments: Vec<&str> =
            ["create"].into_iter().chain(line.split_whitespace()).chain(["image", "command"]).collect();
        let ours = berth(&recorder, &arguments).ok();
        let ours = sent(&recorder, &ours);
        let theirs = recorder.run("docker", &arguments, &[]).ok();
        assert_eq!(ours, sent(&recorder, &theirs), "{line}");
    }
}

const NETWORK: &[&[&str]] = &[
    &["create", "net"],
    &["create", "-d", "macvlan", "-o", "parent=eth0", "-o", "a", "--opt", "b=c=d", "net"],
    &["create", "--internal", "--attachable", "--ingress", "--config-only", "--scope", "local", "net"],
    &["create", "--config-from", "other", "--label", "a", "--label", "b=c", "--label", "b=d", "net"],
    &["create", "--ipv6", "--ipv4=false", "net"],
    &["create", "--ipv6=false", "--ipv4", "net"],
    &["create", "--subnet", "10.0.0.0/8", "--gateway", "10.0.0.1", "--ip-range", "10.1.0.0/16", "net"],
    &["create", "--subnet", "10.0.0.0/8,fd00::/64", "--gateway", "fd00::1", "--aux-address", "a=10.0.0.7", "net"],
    &["create", "--ipam-driver", "other", "--ipam-opt", "a=b", "--subnet", "nonsense", "net"],
    &["connect", "net", "one"],
    &["connect", "--alias", "a", "--alias", "b,c", "--link", "x:y", "--gw-priority", "-7", "net", "one"],
    &["connect", "--ip", "10.0.0.2", "--ip6", "fd00::2", "--link-local-ip", "169.254.1.1,fe80::1", "net", "one"],
    &["connect", "--driver-opt", "a=b", "--driver-opt", "c=d=e", "net", "one"],
    &["disconnect", "net", "one"],
    &["disconnect", "--force", "net", "one"],
    &["inspect", "net"],
    &["inspect", "--verbose", "a b"],
    &["rm", "net"],
    &["ls", "--filter", "driver=bridge", "-f", "name=a"],
    &["prune", "--force", "--filter", "until=1h"],
];

#[test]
fn networks_are_asked_for_as_docker_does() {
    if !docker_is_here() {
        return;
    }
    let recorder = Recorder::new(&[]);
    for line in NETWORK {
        let arguments = [&["network"], *line].concat();
        let ours = berth(&recorder, &arguments);
        let asked = sent(&recorder, &ours);
        let theirs = recorder.run("docker", &arguments, &[]);
        assert_eq!(asked, sent(&recorder, &theirs), "{line:?}");
        assert_eq!(ours.code, theirs.code, "{ours}\n{theirs}");
    }
}

const ANSWERS: Answers = &[
    (
        "/networks",
        r#"[
        {"Name":"net10","Id":"1111111111111111111111111111111111111111111111111111111111111111",
         "Created":"2026-01-02T03:04:05.678Z","Scope":"local","Driver":"bridge","EnableIPv4":true,"EnableIPv6":true,
         "IPAM":{"Driver":"default","Options":{},"Config":[]},"Internal":true,"Attachable":false,"Ingress":false,
         "ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{},"Labels":{"a":"1,2"}},
        {"Name":"net9","Id":"2222222222222222222222222222222222222222222222222222222222222222",
         "Created":"2026-01-02T03:04:05Z","Scope":"local","Driver":"macvlan","EnableIPv4":true,"EnableIPv6":false,
         "IPAM":{"Driver":"default","Options":{},"Config":[]},"Internal":false,"Attachable":false,"Ingress":false,
         "ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{},"Labels":{}}]"#,
    ),
    (
        "/networks/net",
        r#"{"Name":"net","Id":"3333333333333333333333333333333333333333333333333333333333333333",
         "Created":"2026-01-02T03:04:05Z","Scope":"local","Driver":"bridge","EnableIPv4":true,"EnableIPv6":false,
         "IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"10.0.0.0/8","Gateway":"10.0.0.1"}]},
         "Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,
         "Containers":{"c":{"Name":"one","EndpointID":"e","MacAddress":"m","IPv4Address":"10.0.0.2/8",
         "IPv6Address":""}},"Options":{},"Labels":{"a":"b"}}"#,
    ),
    // Asked for by `docker inspect`, which looks for services too.
    ("/info", r#"{"Swarm":{"ControlAvailable":false}}"#),
    ("/containers/prune", r#"{"ContainersDeleted":null,"SpaceReclaimed":0}"#),
    ("/images/prune", r#"{"ImagesDeleted":null,"SpaceReclaimed":0}"#),
    ("/build/prune", r#"{"CachesDeleted":null,"SpaceReclaimed":0}"#),
    ("/networks/prune", r#"{"NetworksDeleted":["a","b"]}"#),
    ("/networks/net/connect", ""),
    ("/networks/net/disconnect", ""),
    (
        "/containers/json",
        r#"[{"Id":"4444444444444444444444444444444444444444444444444444444444444444","Names":["/one"],"Image":"i",
         "ImageID":"sha256:5555555555555555555555555555555555555555555555555555555555555555","Command":"c",
         "Created":1700000000,"State":"running","Status":"Up","Labels":{},"Mounts":[],
         "NetworkSettings":{"Networks":{"net":{}}},
         "Ports":[{"PrivatePort":90,"Type":"tcp"},{"PrivatePort":91,"Type":"tcp"},{"PrivatePort":93,"Type":"tcp"},
                  {"PrivatePort":53,"Type":"udp"},{"PrivatePort":53,"Type":"tcp"},
                  {"IP":"0.0.0.0","PrivatePort":80,"PublicPort":80,"Type":"tcp"},
                  {"IP":"::","PrivatePort":80,"PublicPort":80,"Type":"tcp"},
                  {"IP":"0.0.0.0","PrivatePort":81,"PublicPort":81,"Type":"tcp"},
                  {"IP":"::","PrivatePort":81,"PublicPort":81,"Type":"tcp"},
                  {"IP":"0.0.0.0","PrivatePort":70,"PublicPort":8070,"Type":"tcp"},
                  {"IP":"0.0.0.0","PrivatePort":71,"PublicPort":8071,"Type":"tcp"},
                  {"IP":"::1","PrivatePort":71,"PublicPort":8071,"Type":"udp"}]}]"#,
    ),
    (
        "/containers/one/json",
        r#"{"Id":"4444444444444444444444444444444444444444444444444444444444444444","Name":"/one","State":{},
         "Config":{},"HostConfig":{},"NetworkSettings":{"Networks":{},"Ports":{"80/tcp":[
         {"HostIp":"0.0.0.0","HostPort":"10000"},{"HostIp":"0.0.0.0","HostPort":"9000"},
         {"HostIp":"::","HostPort":"9000"}],"53/udp":[{"HostIp":"127.0.0.1","HostPort":"53"}],"90/tcp":null}}}"#,
    ),
];

const SHOWN: &[&[&str]] = &[
    &["network", "ls"],
    &["network", "ls", "--no-trunc"],
    &["network", "list", "-q"],
    &["network", "ls", "--format", "json"],
    &["network", "ls", "--format", "{{json .}}"],
    &["network", "ls", "--format", "{{.Name}} {{.Label \"a\"}} {{.Labels}} {{.Internal}} {{.IPv4}} {{.IPv6}}"],
    &["network", "ls", "--format", "table {{.ID}}\t{{.CreatedAt}}\t{{.Scope}}\t{{.Driver}}"],
    &["network", "ls", "--format", "table {{.Name}}\t{{.IPv6}}\t{{.IPv4}}\t{{.Internal}}\t{{.Labels}}"],
    &[
        "network",
        "inspect",
        "--format",
        "{{.Name}} {{json .IPAM.Options}} {{range .Containers}}{{.IPv4Address}}{{end}}",
        "net",
    ],
    &["network", "inspect", "--format", "{{.EnableIPv4}} {{.Options}} {{.Labels.a}}", "net"],
    &["network", "inspect", "nothing"],
    &["network", "inspect", ""],
    &["network", "rm", "--force", "nothing"],
    &["network", "connect", "net", "one"],
    &["network", "disconnect", "net", "one"],
    &["network", "prune", "--force"],
    &["network", "prune"],
    &["system", "prune", "--force"],
    &["inspect", "--format", "{{.Driver}}", "net"],
    &["inspect", "--type", "network", "--format", "{{.Id}}", "net"],
    &["inspect", "nothing"],
    &["ps", "--format", "{{.Ports}}"],
    &["ps", "--format", "{{.Networks}}"],
    &["ps", "--format", "table {{.Names}}\t{{.Ports}}"],
    &["port", "one"],
    &["port", "one", "80"],
    &["port", "one", "53/udp"],
    &["port", "one", "53"],
    &["port", "one", "90/tcp"],
    &["port", "one", "http"],
    &["port", "one", "70000/udp"],
];

#[test]
fn answers_are_shown_as_docker_does() {
    if !docker_is_here() {
        return;
    }
    let recorder = Recorder::new(ANSWERS);
    for line in SHOWN {
        let (ours, theirs) = (berth(&recorder, line), recorder.run("docker", line, b"n\n"));
        assert_eq!((ours.out(), ours.code), (theirs.out(), theirs.code), "{ours}\n{theirs}");
        // Docker has prefixes, and a line for the exit code, that say nothing.
        let said = |outcome: &Outcome| {
            let said = outcome.err();
            let lines = said.lines().filter(|line| !line.starts_with("exit status")).collect::<Vec<_>>();
            lines.join("\n").trim().to_owned()
        };
        assert_eq!(said(&ours), said(&theirs), "{ours}\n{theirs}");
    }
}

/// Arguments that the command line itself refuses.
const REFUSED: &[&[&str]] = &[
    &["create", "-p", "", "i"],
    &["create", "-p", "foo", "i"],
    &["create", "-p", "80:", "i"],
    &["create", "-p", "99999:80", "i"],
    &["create", "-p", "80:99999", "i"],
    &["create", "-p", "90-80", "i"],
    &["create", "-p", "1-2:1-3", "i"],
    &["create", "-p", "80/xyz", "i"],
    &["create", "-p", "1.2.3:80:80", "i"],
    &["create", "-p", "127.0.0.1:80", "i"],
    &["create", "-p", "[::1:80:80", "i"],
    &["create", "-p", "[::1]:80", "i"],
    &["create", "-p", "[fe80::1%eth0]:80:80", "i"],
    &["create", "-p", "target,published=3", "i"],
    &["create", "-p", "published=80", "i"],
    &["create", "-p", "target=80,protocol=xyz", "i"],
    &["create", "--expose", "foo", "i"],
    &["create", "--expose", "99999", "i"],
    &["create", "--expose", "90-80", "i"],
    &["create", "--expose", "80:80", "i"],
    &["create", "--expose", "", "i"],
    &["create", "--network", "", "i"],
    &["create", "--network", "alias=x", "i"],
    &["create", "--network", "name=foo,bad=1", "i"],
    &["create", "--network", "name=foo,alias", "i"],
    &["create", "--network", "name=foo,driver-opt=x", "i"],
    &["create", "--network", "name=foo,gw-priority=x", "i"],
    &["create", "--network", "name=foo,gw-priority=99999999999999999999", "i"],
    &["create", "--network", "name=foo,alias=a\"b", "i"],
    &["create", "--network", "name=foo,\"alias=a", "i"],
    &["create", "--network", "name=foo,mac-address=zz", "i"],
    &["create", "--network", "name=host,alias=b", "i"],
    &["create", "--network", "foo", "--network", "foo", "i"],
    &["create", "--network", "foo", "--network", "host", "i"],
    &["create", "--network", "name=foo,alias=b", "--network-alias", "c", "i"],
    &["create", "--network", "name=foo,ip=1.2.3.4", "--ip", "1.2.3.5", "i"],
    &["create", "--network", "name=foo,ip6=::1", "--ip6", "::2", "i"],
    &["create", "--network", "name=foo,mac-address=02:42:ac:11:00:09", "--mac-address", "02:42:ac:11:00:08", "i"],
    &["create", "--network", "name=foo,link-local-ip=169.254.1.1", "--link-local-ip", "169.254.1.2", "i"],
    &["create", "--network-alias", "x", "i"],
    &["create", "--mac-address", "zz", "i"],
    &["create", "--link", "", "i"],
    &["create", "--link", "a:b:c", "i"],
    &["create", "--dns", "x", "i"],
    &["create", "--dns-search", "a b", "i"],
    &["create", "--add-host", "foo", "i"],
    &["create", "--add-host", "foo:1.2.3", "i"],
    &["create", "--add-host", "a:b=1.2.3.4", "i"],
    &["create", "--rm", "--restart", "always", "i"],
    &["network", "create", "--gateway", "1.2.3.4", "net"],
    &["network", "create", "--subnet", "10.0.0.0/8", "--subnet", "10.1.0.0/16", "net"],
    &["network", "create", "--subnet", "x", "--gateway", "1.2.3.4", "net"],
    &["network", "create", "--subnet", "10.0.0.0/8", "--gateway", "11.0.0.1", "net"],
    &["network", "create", "--subnet", "10.0.0.0/8", "--ip-range", "11.0.0.0/16", "net"],
    &["network", "create", "--subnet", "10.0.0.0/8", "--ip-range", "x/y", "net"],
    &["network", "create", "--subnet", "10.0.0.0/8", "--aux-address", "a=11.0.0.1", "net"],
    &["network", "create", "--subnet", "10.0.0.0/8,11.0.0.0/8", "--gateway", "10.0.0.1,10.0.0.2", "net"],
    &["network", "create", "--subnet", "10.0.0.0/8,11.0.0.0/8", "--ip-range", "10.0.0.0/16,10.1.0.0/16", "net"],
    &["network", "create", "--label", "=x", "net"],
    &["network", "create", "--label", "a b=x", "net"],
    &["network", "connect", "--driver-opt", "x", "net", "one"],
    &["network", "connect", "--link", "a:b:c", "net", "one"],
];

#[test]
fn what_is_wrong_is_refused_in_dockers_words() {
    if !docker_is_here() {
        return;
    }
    let recorder = Recorder::new(&[]);
    for line in REFUSED {
        let ours = berth(&recorder, line);
        assert_eq!(recorder.asked(), [], "{line:?} reached the engine");
        let theirs = recorder.run("docker", line, &[]);
        let first = |outcome: &Outcome, name: &str| {
            let said = outcome.err();
            let line = said.lines().next().unwrap_or_default();
            line.strip_prefix(&format!("{name}: ")).unwrap_or(line).to_owned()
        };
        assert_eq!((first(&ours, "berth"), ours.code), (first(&theirs, "docker"), theirs.code), "{ours}\n{theirs}");
    }
    // The parser's own words, with Docker's exit codes.
    let usage: &[&[&str]] = &[
        &["network", "create"],
        &["network", "create", "a", "b"],
        &["network", "create", "--nonsense", "a"],
        &["network", "connect", "a"],
        &["network", "connect", "--gw-priority", "x", "a", "b"],
        &["network", "disconnect", "a"],
        &["network", "rm"],
        &["network", "inspect"],
        &["network", "ls", "a"],
        &["network", "ls", "--filter", "x"],
        &["network", "prune", "a"],
        &["network", "nonsense"],
        &["network"],
        &["network", "--help"],
    ];
    for line in usage {
        let ours = berth(&recorder, line);
        let theirs = recorder.run("docker", line, &[]);
        assert_eq!(ours.code, theirs.code, "{ours}\n{theirs}");
    }
}

#[test]
fn every_flag_of_dockers_is_there() {
    if !docker_is_here() {
        return;
    }
    let recorder = Recorder::new(&[]);
    for verb in ["create", "ls", "inspect", "rm", "prune", "connect", "disconnect"] {
        let help = berth(&recorder, &["network", verb, "--help"]).ok().out();
        let theirs = recorder.run("docker", &["network", verb, "--help"], &[]).ok().out();
        let about = help.lines().next().unwrap_or_default();
        assert!(theirs.contains(&format!("\n{about}\n")), "network {verb}: {about}");
        for flag in theirs.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "network {verb} has no {flag}");
        }
    }
}

/// Where berth differs on purpose: nothing before the colon was the same port outside once.
#[test]
fn the_oldest_form_of_a_published_port_means_the_same_port() {
    let recorder = Recorder::new(&[]);
    for (text, expected) in [
        (":80", json!({ "80/tcp": [{ "HostIp": "", "HostPort": "80" }] })),
        (":53/udp", json!({ "53/udp": [{ "HostIp": "", "HostPort": "53" }] })),
        ("80", json!({ "80/tcp": [{ "HostIp": "", "HostPort": "" }] })),
        ("127.0.0.1::80", json!({ "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "" }] })),
    ] {
        berth(&recorder, &["create", "-p", text, "image"]).ok();
        assert_eq!(recorder.asked()[0].body["HostConfig"]["PortBindings"], expected, "{text}");
    }
}

const WRONG: &str = r#"{"Findings":[
    {"Kind":"link","Name":"veth1","State":"left over","Owner":"","Repaired":true,"Error":null},
    {"Kind":"rule","Name":"80/tcp","State":"missing","Owner":"one","Repaired":false,"Error":"no permission"}]}"#;

const REPAIRED: &str = r#"{"Findings":[
    {"Kind":"link","Name":"veth1","State":"left over","Owner":"","Repaired":true,"Error":null}]}"#;

#[test]
fn what_a_check_finds_is_a_table_and_an_exit_code() {
    let recorder = Recorder::new(&[("/berth/check", r#"{"Findings":[]}"#)]);
    for arguments in [&["system", "check"][..], &["system", "check", "--repair"]] {
        assert_eq!(berth(&recorder, arguments).ok().out(), "nothing is missing or left over\n");
    }
    assert_eq!(recorder.asked()[0].method, "POST");
    assert_eq!(berth(&recorder, &["system", "check", "--format", "json"]).ok().out(), "");

    let recorder = Recorder::new(&[("/berth/check", WRONG)]);
    let table = berth(&recorder, &["system", "check", "--repair"]).ended(1);
    let expected = "KIND      NAME      STATE       OWNER     REPAIRED\n\
                    link      veth1     left over             yes\n\
                    rule      80/tcp    missing     one       no: no permission\n";
    assert_eq!(table.out(), expected);
    let names = berth(&recorder, &["system", "check", "--format", "{{.Name}} {{.Error}}"]).ended(1);
    assert_eq!(names.out(), "veth1 \n80/tcp no permission\n");
    assert_eq!(recorder.asked()[0].method, "GET");

    let recorder = Recorder::new(&[("/berth/check", REPAIRED)]);
    assert!(berth(&recorder, &["system", "check", "--repair"]).ok().out().contains("veth1"));
}
