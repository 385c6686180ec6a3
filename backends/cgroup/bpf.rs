//! v2's device program: eBPF made from the rules by ourselves, so that no compiler or loader is needed.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use super::devices::{EVERYTHING, Kind, Rule};

/// `struct bpf_insn` (linux/bpf.h); `registers` is the destination in the low and the source in the high half.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61; // LDX | MEM | W
const MOVE: u8 = 0xb7; // ALU64 | MOV | K
const COPY: u8 = 0xbf; // ALU64 | MOV | X
const AND: u8 = 0x57; // ALU64 | AND | K
const SHIFT_RIGHT: u8 = 0x77; // ALU64 | RSH | K
const JUMP_NOT_EQUAL: u8 = 0x55; // JMP | JNE | K
const JUMP_EQUAL: u8 = 0x15; // JMP | JEQ | K
const EXIT: u8 = 0x95;

const R0: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// The kinds of access that no rule has decided yet.
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 1;

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination | source << 4, offset, immediate }
}

/// Walks the rules from the last to the first: an allowing one takes its bits off the request and answers yes
/// when none is left, a denying one answers no if it covers any that is left; at the end the answer is no.
pub(super) fn program(rules: &[Rule]) -> Vec<Instruction> {
    // struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; }, access_type = access << 16 | type.
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
        instruction(COPY, ACCESS, KIND, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(AND, KIND, 0, 0, 0xffff),
    ];
    for rule in rules.iter().rev() {
        let mut body = Vec::new();
        if rule.allow {
            if rule.access != EVERYTHING {
                body.push(instruction(AND, ACCESS, 0, 0, i32::from(!rule.access & EVERYTHING)));
                body.push(instruction(JUMP_NOT_EQUAL, ACCESS, 0, 2, 0));
            }
            body.extend([instruction(MOVE, R0, 0, 0, 1), instruction(EXIT, 0, 0, 0, 0)]);
        } else {
            body.push(instruction(COPY, SCRATCH, ACCESS, 0, 0));
            body.push(instruction(AND, SCRATCH, 0, 0, i32::from(rule.access)));
            body.push(instruction(JUMP_EQUAL, SCRATCH, 0, 2, 0));
            body.extend([instruction(MOVE, R0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
        }
        let mut tests = Vec::new();
        match rule.kind {
            Kind::All => {}
            Kind::Block => tests.push((KIND, 1)),
            Kind::Char => tests.push((KIND, 2)),
        }
        tests.extend(rule.major.map(|major| (MAJOR, major)));
        tests.extend(rule.minor.map(|minor| (MINOR, minor)));
        for (at, &(register, value)) in tests.iter().enumerate() {
            // Device numbers have at most 20 bits (linux/kdev_t.h); one that no device can have never matches,
            // also where the comparison extends its sign.
            let skip = tests.len() - at - 1 + body.len();
            program.push(instruction(JUMP_NOT_EQUAL, register, 0, skip as i16, value as i32));
        }
        program.append(&mut body);
    }
    program.extend([instruction(MOVE, R0, 0, 0, 0), instruction(EXIT, 0, 0, 0, 0)]);
    program
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

// The heads of `union bpf_attr` (linux/bpf.h) that these commands read; the kernel takes the rest as zero.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is one of the structures above, valid for reads and writes of its own size, which is
    // passed along; what it points to outlives the call, as the callers hold it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr as *mut T, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel just made this descriptor (close-on-exec, as all of bpf's) for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts `program` in force for the group at `dir` and takes away the ones that were attached there before.
pub(super) fn attach(dir: &Path, program: &[Instruction]) -> io::Result<()> {
    let mut load = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as usize as u64,
        license: c"Apache-2.0".as_ptr() as usize as u64,
        ..Default::default()
    };
    let loaded = owned(bpf(PROG_LOAD, &mut load)?)?;
    let group = std::fs::File::open(dir)?;
    let target_fd = group.as_raw_fd() as u32;
    let before = attached(target_fd)?;
    let attr = |fd: &OwnedFd| AttachAttr {
        target_fd,
        attach_bpf_fd: fd.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        attach_flags: ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &mut attr(&loaded))?;
    for old in before {
        bpf(PROG_DETACH, &mut AttachAttr { attach_flags: 0, ..attr(&old) })?;
    }
    Ok(())
}

/// The programs attached to this very group.
fn attached(target_fd: u32) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0u32; 64];
    let mut query = QueryAttr {
        target_fd,
        attach_type: CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as usize as u64,
        prog_cnt: ids.len() as u32,
        ..Default::default()
    };
    bpf(PROG_QUERY, &mut query)?;
    let count = (query.prog_cnt as usize).min(ids.len());
    ids[..count].iter().map(|&id| owned(bpf(PROG_GET_FD_BY_ID, &mut IdAttr { id, ..Default::default() })?)).collect()
}
