//! A container's life: states and the ways between them, what it says, what runs beside it, and what lists tell.

mod attach;
mod events;
mod exec;
mod lists;
mod logs;
mod restarts;
mod states;
