//! Standard streams: apart, binary, long, cut short.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use crate::support::World;

const BLOCK: usize = 1 << 20;

/// Block `number` of a stream that repeats nowhere.
fn stamp(block: &mut [u8], number: u64) {
    for (index, page) in block.chunks_mut(4096).enumerate() {
        page[..8].copy_from_slice(&(number << 16 | index as u64).to_le_bytes());
    }
}

fn noise() -> Vec<u8> {
    let mut random = crate::support::random::Random::with(7);
    (0..BLOCK / 8).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// `blocks` MiB through `cat` in a container, compared byte for byte. The log is bounded: a byte of noise takes up to six there.
fn through(world: &World, blocks: u64) {
    let mut command = world.command();
    command.args(["run", "--rm", "-i", "--network", "none", "--log-opt", "max-size=64m", "box", "cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let mut block = noise();
        for number in 0..blocks {
            stamp(&mut block, number);
            stdin.write_all(&block)?;
        }
        std::io::Result::Ok(())
    });
    let mut stdout = child.stdout.take().unwrap();
    let (mut expected, mut found) = (noise(), vec![0; BLOCK]);
    for number in 0..blocks {
        stamp(&mut expected, number);
        stdout.read_exact(&mut found).unwrap_or_else(|error| panic!("block {number} of {blocks}: {error}"));
        assert!(expected == found, "block {number} differs");
    }
    assert_eq!(stdout.read(&mut found).unwrap(), 0, "more came out than went in");
    writer.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
}

both! {
    fn stdout_and_stderr_stay_apart(world) {
        let outcome = world.run(&["--rm", "box", "sh", "-c", "echo out; echo err >&2; echo out2"]).ok();
        assert_eq!((outcome.out().as_str(), outcome.err().lines().last()), ("out\nout2\n", Some("err")));
    }

    fn input_is_passed_on_and_its_end_too(world) {
        assert_eq!(world.shell("echo x | berth run --rm -i box cat").ok().out(), "x\n");
        assert_eq!(world.feed(&["run", "--rm", "-i", "box", "wc", "-c"], &[b'a'; 100_000]).ok().text(), "100000");
        assert_eq!(world.feed(&["run", "--rm", "-i", "box", "cat"], b"").ok().out(), "");
    }

    fn without_i_the_input_is_left_alone(world) {
        let outcome = world.shell("(echo a; echo b) | (berth run --rm box cat; cat)").ok();
        assert_eq!(outcome.out(), "a\nb\n");
    }

    fn binary_data_is_untouched(world) {
        let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        assert_eq!(world.feed(&["run", "--rm", "-i", "box", "cat"], &bytes).ok().stdout, bytes);
    }

    fn a_reader_that_leaves_does_not_hang_the_command(world) {
        let outcome = world.shell("berth run --rm box yes | head -1");
        assert_eq!(outcome.out(), "y\n");
        assert!(outcome.took < Duration::from_secs(20), "{outcome}");
    }

    fn output_into_a_pipe_is_whole(world) {
        assert_eq!(
            world.shell("berth run --rm box seq 200000 | cksum").ok().out(),
            world.shell("seq 200000 | cksum").ok().out()
        );
    }

    fn a_program_that_does_not_read_ends_the_call(world) {
        let outcome = world.shell("yes | berth run --rm -i box true");
        assert!(outcome.code == 0 && outcome.took < Duration::from_secs(20), "{outcome}");
    }

    fn only_the_streams_of_a_are_attached(world) {
        let outcome = world.run(&["--rm", "-a", "stderr", "box", "sh", "-c", "echo out; echo err >&2"]).ok();
        assert_eq!(outcome.out(), "");
        assert!(outcome.err().ends_with("err\n"), "{outcome}");
    }

    fn input_alone_prints_the_id(world) {
        let outcome = world.feed(&["run", "-i", "-a", "stdin", "--name", "one", "box", "cat"], b"in").ok();
        assert_eq!(outcome.text(), world.inspect("one", "{{.Id}}"));
        assert_eq!(world.berth(&["logs", "one"]).ok().out(), "in");
    }

    fn a_gibibyte_goes_through_byte_for_byte(world) {
        through(world, 1024);
    }
}
