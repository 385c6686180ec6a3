//! What shells offer, asked of the shells themselves.

use crate::support::{Mode, World, find_program, skip};

/// bash hands a completion function its line in pieces, cut at these marks too.
const PIECES: &str = r#"
try() {
    COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _berth
    echo "${COMPREPLY[*]}"
}
"#;

/// With a container `one` that runs, `two` that does not, and the network `net`.
fn world() -> World {
    let world = World::new(Mode::Embedded);
    world.berth(&["network", "create", "net"]).ok();
    world.berth(&["run", "-d", "--name", "one", "--network", "none", "box", "sleep", "1000"]).ok();
    world.berth(&["create", "--name", "two", "--network", "none", "box", "sleep", "1000"]).ok();
    world
}

#[test]
fn bash_offers_verbs_options_names_and_files() {
    let world = world();
    let ask = |line: &str, pieces: &str| {
        let script = format!(". <(berth completion bash); {PIECES} try '{line}' {pieces}");
        world.shell(&script).ok().text()
    };
    assert_eq!(ask("berth ren", "berth ren"), "rename");
    assert_eq!(ask("berth network cr", "berth network cr"), "create");
    assert_eq!(ask("berth run --network-al", "berth run --network-al"), "--network-alias");
    assert_eq!(ask("berth run --network=ne", "berth run --network = ne"), "net");
    assert_eq!(ask("berth stop ", "berth stop ''"), "one");
    assert_eq!(ask("berth start ", "berth start ''"), "two");
    assert_eq!(ask("berth rm two ", "berth rm two ''"), "one");
    assert_eq!(ask("berth run -v a:b box:", "berth run -v a : b box :"), "latest");
    assert_eq!(ask("berth import /etc/host.co", "berth import /etc/host.co"), "/etc/host.conf");
    assert_eq!(ask("berth run --rm -it box /etc/host.co", "berth run --rm -it box /etc/host.co"), "/etc/host.conf");
    assert_eq!(ask("berth nonsense ", "berth nonsense ''"), "");
    // A word that would be a command in another shell is a word.
    let harmful = ask("berth run $(touch hurt)", "berth run '$(touch hurt)'");
    assert_eq!((harmful.as_str(), world.path("hurt").exists()), ("", false));
}

#[test]
fn fish_and_zsh_take_their_scripts() {
    let world = world();
    match find_program("fish") {
        Some(_) => {
            let asked = "berth completion fish | source; complete -C 'berth ren'; complete -C 'berth run --network=ne'";
            let said = world.shell(&format!("fish --no-config -c \"{asked}\"")).ok().text();
            assert_eq!(said, "rename\tRename a container\n--network=net\tbridge");
        }
        None => skip("fish is not installed (`ci/setup test` does it)"),
    }
    match find_program("zsh") {
        Some(_) => {
            let asked = "autoload -U compinit; compinit -u -D; . <(berth completion zsh); print $_comps[berth]";
            assert_eq!(world.shell(&format!("zsh -f -c '{asked}'")).ok().text(), "_berth");
        }
        None => skip("zsh is not installed (`ci/setup test` does it)"),
    }
}

#[test]
fn asking_makes_no_state_and_names_nothing_of_others() {
    let world = World::bare(Mode::Embedded);
    assert_eq!(world.berth(&["__complete", "run", ""]).ok().text(), ":4");
    assert!(!world.root().exists());
    let other = world.beside(Mode::Embedded);
    other.import_box();
    let root = other.root().to_str().unwrap().to_owned();
    assert_eq!(world.berth(&["__completeNoDesc", "--root", &root, "run", ""]).ok().text(), "box:latest\n:4");
}
