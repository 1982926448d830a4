//! The real server when its disk, its folder, its key or its process ends: what it says, and that nothing
//! it has answered is lost and nothing is half done.

mod disks;
mod place;
#[path = "../../../store/tests/store/postgres.rs"]
mod postgres;
mod sealing_keys;
mod writes;
