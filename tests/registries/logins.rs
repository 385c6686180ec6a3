//! Who somebody is: TLS by an authority of one's own, passwords, helpers, and tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::server::{Image, Server, reply};
use crate::support::image::{archive, file};
use crate::support::registry::{Kind, PASSWORD, Registry, USER};
use crate::support::screen::Screen;
use crate::support::{Mode, World};

#[test]
fn a_guarded_registry_wants_its_authority_trusted_and_a_password() {
    let world = World::new(Mode::Embedded);
    let Some(registry) = Registry::start(&world, Kind::Guarded) else { return };
    let name = registry.name("box");
    world.berth(&["tag", "box", &name]).ok();
    world.berth(&["push", &name]).refused(1, &["invalid peer certificate", "ca.crt"]);
    registry.trust(&world);
    world.berth(&["push", &name]).refused(1, &["denied"]);
    world
        .feed(&["login", "-u", USER, "--password-stdin", registry.host()], b"wrong\n")
        .refused(1, &["incorrect username or password"]);
    assert!(!world.path("home/.docker/config.json").exists());
    let login =
        world.feed(&["login", "-u", USER, "--password-stdin", registry.host()], format!("{PASSWORD}\n").as_bytes());
    let login = login.ok();
    assert_eq!(login.text(), "Login Succeeded");
    assert!(login.err().contains("stored unencrypted"), "{}", login.err());
    let config = world.path("home/.docker/config.json");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    world.berth(&["push", &name]).ok();
    world.berth(&["rmi", &name]).ok();
    world.berth(&["pull", &name]).ok();
    world.berth(&["rmi", &name]).ok();
    assert_eq!(
        world.berth(&["logout", registry.host()]).ok().text(),
        format!("Removing login credentials for {}", registry.host())
    );
    world.berth(&["pull", &name]).refused(1, &["pull access denied", "berth login"]);
    assert!(world.berth(&["logout", registry.host()]).ok().text().starts_with("Not logged in"));
}

#[test]
fn a_helper_keeps_the_secret() {
    let world = World::new(Mode::Embedded);
    let Some(registry) = Registry::start(&world, Kind::Guarded) else { return };
    registry.trust(&world);
    let folder = world.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("docker-credential-shelf");
    let script = "#!/bin/sh\nf=$HOME/secret\ncase $1 in\nstore) cat > $f ;;\nget) read host; grep -q \"\\\"$host\\\"\" $f 2>/dev/null || { echo \
                  'credentials not found in native keychain'; exit 1; }; cat $f ;;\nerase) rm -f $f ;;\nesac\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(world.path("home/.docker")).unwrap();
    let config = world.path("home/.docker/config.json");
    fs::write(&config, r#"{"credsStore":"shelf","psFormat":"kept"}"#).unwrap();
    world.set("PATH", &format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()));
    let login = world.feed(&["login", "-u", USER, "--password-stdin", registry.host()], PASSWORD.as_bytes());
    assert_eq!(login.ok().err(), "");
    let text = fs::read_to_string(&config).unwrap();
    assert!(!text.contains("auth\"") && text.contains("psFormat") && text.contains(registry.host()), "{text}");
    world.berth(&["tag", "box", &registry.name("box")]).ok();
    world.berth(&["push", "-q", &registry.name("box")]).ok();
    world.berth(&["logout", registry.host()]).ok();
    assert!(!world.path("home/secret").exists());
    world.berth(&["push", "-q", &registry.name("box")]).refused(1, &["denied"]);
}

#[test]
fn a_password_for_what_no_image_can_mean_goes_to_nobody() {
    let world = World::bare(Mode::Embedded);
    world
        .feed(&["login", "-u", "me", "--password-stdin", "myhost"], b"pw")
        .refused(1, &["write it with a port (myhost:443)"]);
    assert!(!world.path("home/.docker/config.json").exists());
}

#[test]
fn an_interrupt_at_the_password_leaves_the_terminal_as_it_was() {
    let world = World::bare(Mode::Embedded);
    let script = "trap : INT TERM; stty -a > before; \
        berth login -u me 127.0.0.1:1; echo code $?; stty -a > after; cmp before after && echo sa\"\"me";
    for (keys, code) in [("\x03", "code 130"), ("pw\r", "code 1")] {
        let mut command = std::process::Command::new("bash");
        world.surround(&mut command);
        command.env("PATH", world.path_with_berth()).current_dir(world.path("")).args(["-c", script]);
        let mut screen = Screen::start(&world, &command, 80, 24);
        screen.expect("Password: ");
        screen.send(keys);
        screen.expect(code);
        screen.expect("same");
        assert!(!screen.all().contains("pw"), "{}", screen.all());
        assert_eq!(screen.end(), 0);
    }
}

/// A server that wants a token of itself.
#[test]
fn tokens_are_asked_for_with_what_is_wanted_and_go_nowhere_else() {
    let world = World::bare(Mode::Embedded);
    let image = Image::new(&archive(&[file("hello", b"hi")]), None);
    let elsewhere = {
        let image = image.clone();
        Server::start(&world, move |asked, stream| {
            match image.blobs.iter().find(|(digest, _)| asked.path.ends_with(digest)) {
                Some((_, bytes)) => reply(stream, "200 OK", &[], bytes),
                None => reply(stream, "404 Not Found", &[], b""),
            }
        })
    };
    let there = elsewhere.address;
    let server = Server::start(&world, move |asked, stream| {
        if asked.path.starts_with("/token") {
            return reply(stream, "200 OK", &[], br#"{"token":"let-me-in","expires_in":300}"#);
        }
        if asked.header("authorization") != Some("Bearer let-me-in") {
            let host = asked.header("host").unwrap_or_default();
            let challenge = format!(r#"Bearer realm="http://{host}/token",service="test""#);
            return reply(stream, "401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"{}");
        }
        match asked.path.rsplit_once("/blobs/") {
            Some((_, digest)) => {
                reply(stream, "307 Temporary Redirect", &[("Location", &format!("http://{there}/{digest}"))], b"")
            }
            None => image.serve(asked, stream),
        }
    });
    let login = world.feed(&["login", "-u", "me", "--password-stdin", &server.address.to_string()], b"pw");
    assert_eq!(login.ok().text(), "Login Succeeded");
    world.berth(&["pull", &server.name("a/b:1")]).ok();
    let asked = server.asked.lock().unwrap();
    let token = asked.iter().find(|asked| asked.path.contains("scope=")).expect("a token with a scope");
    assert!(
        token.path.contains("scope=repository%3Aa%2Fb%3Apull") && token.path.contains("account=me"),
        "{}",
        token.path
    );
    assert_eq!(token.header("authorization"), Some("Basic bWU6cHc="));
    let elsewhere = elsewhere.asked.lock().unwrap();
    assert!(
        elsewhere.len() >= 2 && elsewhere.iter().all(|asked| asked.header("authorization").is_none()),
        "{elsewhere:?}"
    );
}

#[test]
fn a_password_is_not_sent_in_the_open_to_whom_a_registry_names() {
    let world = World::bare(Mode::Embedded);
    let server = Server::start(&world, |_, stream| {
        let challenge = r#"Bearer realm="http://192.0.2.7/token",service="test""#;
        reply(stream, "401 Unauthorized", &[("WWW-Authenticate", challenge)], b"{}")
    });
    let login = world.feed(&["login", "-u", "me", "--password-stdin", &server.address.to_string()], b"pw");
    login.refused(1, &["192.0.2.7", "not encrypted"]);
}
