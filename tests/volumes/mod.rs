//! Volumes as users meet them.

mod bad_input;
mod containers;
mod filling;
mod local;
mod plugins;
mod survive;
mod verbs;
