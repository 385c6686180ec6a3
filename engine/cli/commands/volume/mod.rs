//! `berth volume ...`, one verb a file.

pub(super) mod create;
pub(super) mod inspect;
pub(super) mod ls;
pub(super) mod prune;
pub(super) mod rm;
