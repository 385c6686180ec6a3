//! `berth run`: exit codes, streams, and every flag's effect as the program inside sees it.

mod codes;
mod limits;
mod mounts;
mod namespaces;
mod nested;
mod privileges;
mod refusals;
mod settings;
mod streams;
