//! A terminal as a user has it: a real pseudo-terminal, keys typed, the screen read.

use std::time::Duration;

use crate::support::screen::Screen;
use crate::support::{World, eventually};

const KEYS_DETACH: &str = "\x10\x11";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_Z: &str = "\x1a";

/// A shell of the container on a terminal, its prompt seen.
fn shell(world: &World, flags: &[&str]) -> Screen {
    let mut screen = Screen::berth(world, &[&["run", "-it", "-e", "PS1=ready> "], flags, &["box", "sh"]].concat());
    screen.expect("ready> ");
    screen
}

both! {
    fn the_exit_code_of_a_shell_comes_out(world) {
        let mut screen = shell(world, &["--rm"]);
        screen.line("exit 3");
        assert_eq!(screen.end(), 3);
        let mut screen = shell(world, &["--rm"]);
        screen.line("(exit 5)");
        screen.expect("ready> ");
        screen.send(CTRL_D);
        assert_eq!(screen.end(), 5);
    }

    fn job_control_works(world) {
        let mut screen = shell(world, &["--rm"]);
        screen.line("sleep 1000");
        std::thread::sleep(Duration::from_millis(300));
        screen.send(CTRL_C);
        screen.expect("ready> ");
        screen.line("echo code $?");
        screen.expect("code 130");
        screen.expect("ready> ");

        screen.line("sleep 2");
        std::thread::sleep(Duration::from_millis(300));
        screen.send(CTRL_Z);
        screen.expect("Stopped");
        screen.expect("ready> ");
        assert!(screen.ask("jobs").contains("Stopped"));
        screen.expect("ready> ");
        screen.line("fg");
        screen.expect("sleep 2");
        screen.expect("ready> ");
        screen.line("sleep 1000 &");
        screen.expect("ready> ");
        assert!(screen.ask("kill %1; wait; jobs; echo none").ends_with("none"));
        screen.line("exit");
        screen.end();
    }

    fn the_programs_terminal_is_its_controlling_one(world) {
        let mut screen = shell(world, &["--rm"]);
        assert_eq!(screen.ask("tty; test -t 0 && test -t 1 && test -t 2 && echo all three"), "/dev/pts/0\r\nall three");
        screen.expect("ready> ");
        assert_eq!(screen.ask("echo through > /dev/tty; echo $TERM"), "through\r\nxterm");
        screen.expect("ready> ");
        screen.line("exit");
        assert_eq!(screen.end(), 0);
        let mut screen =
            Screen::berth(world, &["run", "--rm", "-it", "-e", "TERM=vt220", "box", "sh", "-c", "echo term=$TERM"]);
        screen.expect("term=vt220");
        assert_eq!(screen.end(), 0);
    }

    fn sizes_and_their_changes_are_seen(world) {
        let mut screen = shell(world, &["--rm"]);
        assert_eq!(screen.ask("stty size"), "24 80");
        screen.expect("ready> ");
        screen.resize(132, 50);
        screen.line("while [ \"$(stty size)\" != '50 132' ]; do sleep 0.05; done; echo re\"\"sized");
        screen.expect("resized");
        // The terminal's foreground is the job that runs, not the shell that started it.
        screen.line("sh -c 'trap \"echo win\\\"\\\"ch\" WINCH; echo u\"\"p; while :; do sleep 0.05; done'");
        screen.expect("up\r\n");
        screen.resize(90, 30);
        screen.expect("winch");
        screen.send(CTRL_C);
        screen.line("exit");
        screen.end();
    }

    fn colours_and_bytes_pass_as_they_are(world) {
        let mut screen = shell(world, &["--rm"]);
        screen.line("printf '\\033[31mred\\033[0m \\303\\244\\342\\202\\254\\n'");
        screen.expect("\x1b[31mred\x1b[0m ä€");
        screen.line("echo re\"\"ady; exec cat");
        screen.expect("ready\r\n");
        std::thread::sleep(Duration::from_millis(200));
        screen.line("grüße");
        screen.expect("grüße\r\ngrüße\r\n");
        screen.send(CTRL_D);
        assert_eq!(screen.end(), 0);
    }

    fn a_user_leaves_and_comes_back(world) {
        let mut screen = shell(world, &["--name", "one"]);
        screen.line("marker=kept");
        screen.expect("ready> ");
        screen.send(KEYS_DETACH);
        assert_eq!(screen.end(), 0);
        assert_eq!(world.inspect("one", "{{.State.Running}}"), "true");

        let mut screen = Screen::berth(world, &["attach", "one"]);
        screen.line("");
        screen.expect("ready> ");
        assert_eq!(screen.ask("echo $marker"), "kept");
        screen.expect("ready> ");
        screen.line("exit 4");
        assert_eq!(screen.end(), 4);
        assert_eq!(world.inspect("one", "{{.State.ExitCode}}"), "4");
    }

    fn detach_keys_may_be_chosen(world) {
        let mut screen = shell(world, &["--name", "one", "--detach-keys", "ctrl-x,x"]);
        // The usual keys are ordinary ones now; the shell takes them as history keys.
        screen.send(KEYS_DETACH);
        screen.line("echo sti\"\"ll");
        screen.expect("still");
        screen.send("\x18x");
        assert_eq!(screen.end(), 0);
        assert_eq!(world.inspect("one", "{{.State.Running}}"), "true");
        world.run(&["--rm", "--detach-keys", "nonsense", "box", "true"]).ended(125);
    }

    fn two_terminals_both_see_and_type(world) {
        let mut first = shell(world, &["--name", "one"]);
        let mut second = Screen::berth(world, &["attach", "one"]);
        std::thread::sleep(Duration::from_millis(300));
        first.line("echo from \"the\" first");
        first.expect("from the first");
        second.expect("from the first");
        second.line("echo from \"the\" second");
        second.expect("from the second");
        first.expect("from the second");
        first.send(KEYS_DETACH);
        assert_eq!(first.end(), 0);
        second.line("exit 6");
        assert_eq!(second.end(), 6);
    }

    fn a_terminal_that_does_not_read_blocks_nobody(world) {
        let mut first = shell(world, &["--name", "one"]);
        // It never reads its terminal after this: the kernel's buffer fills up and its process blocks.
        let stuck = Screen::berth(world, &["attach", "one"]);
        std::thread::sleep(Duration::from_millis(300));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(stuck.pid()), nix::sys::signal::Signal::SIGSTOP).unwrap();
        first.line("seq 200000 | tail -c 1000000; echo all\"\" out");
        first.expect("all out");
        assert_eq!(first.ask("echo alive"), "alive");
        first.line("exit");
        assert_eq!(first.end(), 0);
    }

    fn exec_has_a_terminal_of_its_own(world) {
        world.start(&["--name", "one"], "sleep 1000");
        let mut screen = Screen::berth(world, &["exec", "-it", "-e", "PS1=inner> ", "one", "sh"]);
        screen.expect("inner> ");
        assert_eq!(screen.ask("tty; stty size"), "/dev/pts/0\r\n24 80");
        screen.expect("inner> ");
        screen.resize(100, 40);
        screen.line("while [ \"$(stty size)\" != '40 100' ]; do sleep 0.05; done; echo re\"\"sized");
        screen.expect("resized");
        screen.line("exit 7");
        assert_eq!(screen.end(), 7);
        let mut screen = Screen::berth(world, &["exec", "-it", "one", "cat"]);
        std::thread::sleep(Duration::from_millis(300));
        screen.send(KEYS_DETACH);
        assert_eq!(screen.end(), 0);
    }

    fn the_users_terminal_is_as_before_afterwards(world) {
        let script =
            "stty -a > before; berth run --rm -it box true; stty -a > after; cmp before after && echo sa\"\"me";
        let mut command = std::process::Command::new("bash");
        world.surround(&mut command);
        command.env("PATH", world.path_with_berth());
        command.args(["-c", script]);
        let mut screen = Screen::start(world, &command, 80, 24);
        screen.expect("same");
        assert_eq!(screen.end(), 0);
    }

    fn a_signal_to_the_command_line_leaves_the_terminal_as_it_was(world) {
        world.berth(&["run", "-dit", "--name", "one", "box", "sh"]).ok();
        let script = "stty -a > before; \
            for verb in 'attach one' 'exec -it one sh'; do \
                (sleep 0.5; kill -TERM $(cat pid)) & \
                sh -c 'echo $$ > pid; exec berth $*' sh $verb; echo code $?; \
                stty -a > after; cmp before after && echo same; \
            done";
        let mut command = std::process::Command::new("bash");
        world.surround(&mut command);
        command.env("PATH", world.path_with_berth()).current_dir(world.path("")).args(["-c", script]);
        let mut screen = Screen::start(world, &command, 80, 24);
        for _ in 0..2 {
            screen.expect("code 143");
            screen.expect("same");
        }
        assert_eq!(screen.end(), 0);
    }

    fn a_signal_to_run_reaches_a_program_on_a_terminal(world) {
        let program = "trap 'exit 9' TERM; echo u\"\"p; while :; do sleep 0.05; done";
        let mut screen = Screen::berth(world, &["run", "--rm", "-it", "box", "sh", "-c", program]);
        screen.expect("up");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(screen.pid()), nix::sys::signal::Signal::SIGTERM).unwrap();
        assert_eq!(screen.end(), 9);
    }

    fn a_terminal_that_goes_away_does_not_end_the_container(world) {
        let screen = shell(world, &["--name", "one"]);
        drop(screen);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(world.inspect("one", "{{.State.Running}}"), "true");
        let mut screen = Screen::berth(world, &["attach", "one"]);
        screen.line("");
        screen.expect("ready> ");
        screen.line("exit");
        screen.end();
    }

    fn the_log_of_a_terminal_is_what_it_drew(world) {
        let mut screen = Screen::berth(world, &["run", "-it", "--name", "one", "box", "sh", "-c", "printf 'a\\nb\\n'"]);
        screen.expect("b\r\n");
        assert_eq!(screen.end(), 0);
        assert_eq!(world.berth(&["logs", "one"]).ok().out(), "a\r\nb\r\n");
    }
}

#[test]
fn debians_bash_vim_and_top_draw() {
    let world = World::bare(crate::support::Mode::Embedded);
    if !world.import_debian() {
        return;
    }
    let mut screen = Screen::berth(&world, &["run", "-it", "--name", "two", "debian", "bash", "--norc"]);
    screen.expect("bash-5");
    assert!(!screen.all().contains("no job control"), "{}", screen.all());
    screen.line("vim.tiny -u NONE -N /tmp/note");
    screen.expect("\"/tmp/note\" [New]");
    screen.send("ihello from vim\x1b:wq\r");
    screen.expect("written");
    screen.expect("bash-5");
    assert_eq!(screen.ask("cat /tmp/note"), "hello from vim");
    screen.expect("bash-5");
    screen.line("top -d 0.2");
    screen.expect("load average");
    screen.expect("COMMAND");
    screen.send("q");
    screen.expect("bash-5");
    // readline's line editing: left, left, insertion.
    screen.send("echo ac\x1b[Db\r");
    screen.expect("\rabc\r\n");
    screen.line("sleep 100");
    std::thread::sleep(Duration::from_millis(300));
    screen.send(CTRL_Z);
    screen.expect("[1]+  Stopped");
    screen.line("exit");
    screen.expect("There are stopped jobs.");
    screen.expect("bash-5");
    screen.line("exit 3");
    assert_eq!(screen.end(), 3);
}

#[test]
fn redis_from_debian_serves() {
    let world = World::bare(crate::support::Mode::Embedded);
    if !world.import_debian() {
        return;
    }
    world.berth(&["run", "-d", "--name", "rr", "--network", "none", "debian", "redis-server", "--save", ""]).ok();
    eventually("redis answers", Duration::from_secs(20), || {
        world.berth(&["exec", "rr", "redis-cli", "ping"]).text() == "PONG"
    });
    assert_eq!(world.berth(&["exec", "rr", "redis-cli", "set", "key", "value"]).ok().text(), "OK");
    assert_eq!(world.berth(&["exec", "rr", "redis-cli", "get", "key"]).ok().text(), "value");
    assert!(world.berth(&["logs", "rr"]).ok().out().contains("Ready to accept connections"));
    world.berth(&["stop", "rr"]).ok();
    assert!(world.berth(&["logs", "rr"]).ok().out().contains("Redis is now ready to exit, bye bye"));
    assert_eq!(world.inspect("rr", "{{.State.ExitCode}}"), "0");
}
