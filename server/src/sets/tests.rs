//! Sets through every kind of schedule: [`world`] has the real shards, leader and resolver, [`schedule`] chooses what
//! comes next and goes through all choices, [`publish`] and [`rename`] say what must hold at every moment and in the end.
#![allow(clippy::unwrap_used)]

mod publish;
mod rename;
mod schedule;
mod world;
