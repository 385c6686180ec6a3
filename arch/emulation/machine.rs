//! The machines that QEMU emulates for programs of Linux, and how their programs are told.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A processor's programs: ELF files of one class, byte order and machine number (elf.h).
#[derive(Debug, PartialEq, Eq)]
pub struct Machine {
    /// As the OCI image specification names it (GOARCH).
    pub architecture: &'static str,
    /// As QEMU names it: `qemu-aarch64`.
    pub qemu: &'static str,
    class: u8,
    data: u8,
    number: u16,
}

const BITS32: u8 = 1;
const BITS64: u8 = 2;
const LITTLE: u8 = 1;
const BIG: u8 = 2;

pub static MACHINES: &[Machine] = &[
    machine("amd64", "x86_64", BITS64, LITTLE, 62),
    machine("386", "i386", BITS32, LITTLE, 3),
    machine("arm64", "aarch64", BITS64, LITTLE, 183),
    machine("arm", "arm", BITS32, LITTLE, 40),
    machine("riscv64", "riscv64", BITS64, LITTLE, 243),
    machine("ppc64le", "ppc64le", BITS64, LITTLE, 21),
    machine("s390x", "s390x", BITS64, BIG, 22),
    machine("mips64le", "mips64el", BITS64, LITTLE, 8),
    machine("loong64", "loongarch64", BITS64, LITTLE, 258),
];

const fn machine(architecture: &'static str, qemu: &'static str, class: u8, data: u8, number: u16) -> Machine {
    Machine { architecture, qemu, class, data, number }
}

/// Bytes of an ELF header up to the machine number, which is what registrations of binfmt_misc look at.
pub const HEADER: usize = 20;
/// ET_EXEC: a program at fixed addresses.
const EXECUTABLE: u16 = 2;
/// PT_INTERP: the program header that names a dynamic loader.
const INTERPRETER: u32 = 3;

impl Machine {
    /// By the OCI architecture or QEMU's name for it, which is mostly uname(2)'s.
    pub fn find(name: &str) -> Option<&'static Self> {
        MACHINES.iter().find(|machine| machine.architecture == name || machine.qemu == name)
    }

    /// The first bytes of its programs.
    pub fn header(&self) -> [u8; HEADER] {
        let number = |value: u16| if self.data == BIG { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut header = [0; HEADER];
        header[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', self.class, self.data, 1]);
        header[16..18].copy_from_slice(&number(EXECUTABLE));
        header[18..20].copy_from_slice(&number(self.number));
        header
    }

    /// Which bits of [`Machine::header`] count: not those of the ABI (GNU's programs say 3), and ET_EXEC and ET_DYN alike.
    pub fn mask(&self) -> [u8; HEADER] {
        let mut mask = [0xff; HEADER];
        mask[7] = 0;
        mask[if self.data == BIG { 17 } else { 16 }] = 0xfe;
        mask
    }

    /// Whether a file with these first bytes is one of its programs.
    pub fn is_of(&self, first: &[u8]) -> bool {
        let (header, mask) = (self.header(), self.mask());
        first.len() >= HEADER && (0..HEADER).all(|at| first[at] & mask[at] == header[at] & mask[at])
    }

    pub fn of_program(first: &[u8]) -> Option<&'static Self> {
        MACHINES.iter().find(|machine| machine.is_of(first))
    }
}

/// Whose program the file is, if it needs no other file to run; else why it cannot be an interpreter in a container.
pub fn of_static_program(path: &Path) -> Result<&'static Machine, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    let mut header = [0; 64];
    let length = read_up_to(&mut file, &mut header).map_err(failed)?;
    let machine = Machine::of_program(&header[..length])
        .ok_or_else(|| format!("{} is no program of a machine that is known", path.display()))?;
    match has_loader(&file, machine, &header) {
        Some(false) => Ok(machine),
        Some(true) => Err(format!("{} needs a dynamic loader, which a container's root does not have", path.display())),
        None => Err(format!("{} is a damaged program", path.display())),
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

/// Looks through the program headers. `None` where the file does not have what its header promises.
fn has_loader(file: &File, machine: &Machine, header: &[u8; 64]) -> Option<bool> {
    let number = |bytes: &[u8]| {
        let digit = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if machine.data == BIG { bytes.iter().fold(0, digit) } else { bytes.iter().rev().fold(0, digit) }
    };
    let (table, size, count) = match machine.class {
        BITS64 => (number(&header[32..40]), number(&header[54..56]), number(&header[56..58])),
        _ => (number(&header[28..32]), number(&header[42..44]), number(&header[44..46])),
    };
    for index in 0..count {
        let mut kind = [0; 4];
        let place = table.checked_add(size.checked_mul(index)?)?;
        file.read_exact_at(&mut kind, place).ok()?;
        if number(&kind) == u64::from(INTERPRETER) {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_that_qemus_own_script_registers() {
        let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let of = |name| Machine::find(name).unwrap();
        assert_eq!(text(&of("arm64").header()), "7f454c460201010000000000000000000200b700");
        assert_eq!(text(&of("arm").header()), "7f454c4601010100000000000000000002002800");
        assert_eq!(text(&of("s390x").header()), "7f454c4602020100000000000000000000020016");
        assert_eq!(text(&of("s390x").mask()), "ffffffffffffff00fffffffffffffffffffeffff");
    }

    #[test]
    fn every_machine_tells_its_own_programs_from_the_others() {
        for machine in MACHINES {
            let mut program = machine.header();
            program[7] = 3;
            assert_eq!(Machine::of_program(&program), Some(machine));
            assert_eq!(Machine::find(machine.qemu), Some(machine));
        }
        assert_eq!(Machine::of_program(b"#!/bin/sh\n.........."), None);
        assert_eq!(Machine::of_program(b"\x7fELF"), None);
    }

    #[test]
    fn programs_without_a_loader_are_told_from_others_and_from_damaged_ones() {
        let own = Machine::of_program(&std::fs::read("/proc/self/exe").unwrap()[..HEADER]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let mut program = vec![0u8; 64 + 2 * 56];
        program[..HEADER].copy_from_slice(&Machine::find("arm64").unwrap().header());
        program[32] = 64;
        program[54] = 56;
        program[56] = 2;
        program[64] = 1;
        std::fs::write(&path, &program).unwrap();
        assert_eq!(of_static_program(&path).unwrap().architecture, "arm64");
        program[64 + 56] = 3;
        std::fs::write(&path, &program).unwrap();
        assert!(of_static_program(&path).unwrap_err().contains("loader"));
        program[56] = 200;
        program[64 + 56] = 1;
        std::fs::write(&path, &program).unwrap();
        assert!(of_static_program(&path).unwrap_err().contains("damaged"));
        std::fs::write(&path, "text").unwrap();
        assert!(of_static_program(&path).unwrap_err().contains("no program"));
        assert!(MACHINES.contains(own));
    }
}
