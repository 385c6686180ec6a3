//! Whether the kernel runs the other width's programs (CONFIG_IA32_EMULATION; AArch32 in an ARMv8 processor; a 32-bit
//! berth on a 64-bit kernel), by starting the smallest one.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::fs::MemfdFlags;

use super::machine::Machine;
use crate::pretend;

/// exit(0) in machine code.
const EXITS: &[(&str, &[u8])] = &[
    // mov edi, 0; mov eax, 60; syscall
    ("amd64", &[0xbf, 0, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]),
    // mov ebx, 0; mov eax, 1; int 0x80
    ("386", &[0xbb, 0, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0xcd, 0x80]),
    // mov x0, 0; mov x8, 93; svc 0
    ("arm64", &[0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4]),
    // mov r0, 0; mov r7, 1; svc 0
    ("arm", &[0x00, 0x00, 0xa0, 0xe3, 0x01, 0x70, 0xa0, 0xe3, 0x00, 0x00, 0x00, 0xef]),
];

/// Pairs that one kernel can run both of.
const FAMILIES: &[[&str; 2]] = &[["amd64", "386"], ["arm64", "arm"]];

/// Starts a process.
pub(super) fn runs(machine: &Machine, own: &str) -> bool {
    let family = |names: &&[&str; 2]| names.contains(&own) && names.contains(&machine.architecture);
    if pretend::without("compat") || !FAMILIES.iter().any(|names| family(&names)) {
        return false;
    }
    let program = EXITS.iter().find(|(name, _)| *name == machine.architecture).map(|(_, code)| program(machine, code));
    program.is_some_and(|program| start(&program).unwrap_or(false))
}

/// One segment, read from the file's beginning.
fn program(machine: &Machine, code: &[u8]) -> Vec<u8> {
    const BASE: u32 = 0x1_0000;
    let wide = matches!(machine.architecture, "amd64" | "arm64");
    let (head, segment) = if wide { (64u16, 56u16) } else { (52, 32) };
    let start = u32::from(head) + u32::from(segment);
    let size = start + code.len() as u32;
    let mut bytes = machine.header().to_vec();
    let word = |bytes: &mut Vec<u8>, value: u32| match wide {
        true => bytes.extend(u64::from(value).to_le_bytes()),
        false => bytes.extend(value.to_le_bytes()),
    };
    let half = |bytes: &mut Vec<u8>, value: u32| bytes.extend(value.to_le_bytes());
    // e_version, e_entry, e_phoff, e_shoff, e_flags (ARM: EABI 5).
    half(&mut bytes, 1);
    word(&mut bytes, BASE + start);
    word(&mut bytes, head.into());
    word(&mut bytes, 0);
    half(&mut bytes, if machine.architecture == "arm" { 0x0500_0000 } else { 0 });
    // e_ehsize, e_phentsize, e_phnum, then no sections.
    for value in [head, segment, 1, 0, 0, 0] {
        bytes.extend(value.to_le_bytes());
    }
    // PT_LOAD, readable and executable; its flags come second in 64 bits and last but one in 32.
    half(&mut bytes, 1);
    if wide {
        half(&mut bytes, 5);
    }
    for value in [0, BASE, BASE, size, size] {
        word(&mut bytes, value);
    }
    if !wide {
        half(&mut bytes, 5);
    }
    word(&mut bytes, 0x1_0000);
    bytes.extend(code);
    bytes
}

fn start(program: &[u8]) -> std::io::Result<bool> {
    if !pretend::without("memfd")
        && let Ok(memory) = rustix::fs::memfd_create(c"trial", MemfdFlags::CLOEXEC)
    {
        let mut file = File::from(memory);
        file.write_all(program)?;
        return ends_well(&format!("/proc/self/fd/{}", file.as_raw_fd()));
    }
    let path = std::env::temp_dir().join(format!(".berth-trial-{}", std::process::id()));
    let tried = File::create_new(&path).and_then(|mut file| {
        file.write_all(program)?;
        file.set_permissions(Permissions::from_mode(0o700))?;
        drop(file);
        ends_well(path.to_str().unwrap_or_default())
    });
    let _ = fs::remove_file(&path);
    tried
}

fn ends_well(path: &str) -> std::io::Result<bool> {
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.status()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machines_own_program_runs_and_one_that_nothing_runs_does_not() {
        let own = crate::emulation::own();
        if std::env::var_os("BERTH_TEST_EMULATED").is_some() {
            return println!("skipped: without a registration QEMU's user mode runs no second program");
        }
        if let Some((_, code)) = EXITS.iter().find(|(name, _)| *name == own) {
            let program = program(Machine::find(own).unwrap(), code);
            assert!(start(&program).unwrap());
            let mut broken = program;
            broken[18..20].fill(0xee);
            assert!(start(&broken).is_err());
        }
        assert!(!runs(Machine::find("s390x").unwrap(), own));
        assert!(!runs(Machine::find("riscv64").unwrap(), "amd64"));
    }

    #[test]
    fn programs_for_every_machine_are_whole() {
        for (name, code) in EXITS {
            let machine = Machine::find(name).unwrap();
            let program = program(machine, code);
            assert_eq!(Machine::of_program(&program), Some(machine));
            let head = if machine.header()[4] == 2 { 120 } else { 84 };
            assert_eq!(&program[head..], *code, "{name}");
        }
    }
}
