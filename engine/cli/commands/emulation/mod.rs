//! `berth emulation ...`, one verb a file.

mod install;
mod ls;
mod rm;

use super::{Verb, verb};

pub(super) const VERBS: &[Verb] = &[
    verb::<install::Install>("install", &[], "Run programs of other architectures by QEMU"),
    verb::<ls::Emulators>("ls", &["list"], "List architectures and what runs their programs"),
    verb::<rm::Remove>("rm", &["remove", "uninstall"], "Take back what install did"),
];
