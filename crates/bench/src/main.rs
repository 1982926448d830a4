//! `bessemer-bench`: what the server costs, measured on the program that gets installed.
//!
//! Starts `bessemer serve` as a process of its own, asks it over HTTP as any client does, and reads
//! from `/proc` what it used. Every figure is one JSON line on standard output; what is going on is
//! told on standard error. `docs/benchmarks.md` says what each figure includes and beside what it
//! can be put.
//!
//! Wall times depend on what else the machine does (each line has `load_1m` for that reason); CPU
//! times hardly do, so they are what to compare. The load comes from one thread of this process, so
//! that on two cores the server keeps one to itself.
//!
//! - `process`: a server and its footprint; `connection`: one HTTP connection; `counted`: its counters;
//! - `start_up`, `calls`, `images`, `idle_agents`, `orders`, `full_cycle`, `looks`: what is measured;
//! - `nodes`: the thousand nodes that calls are measured with; `offer`: what is ordered;
//! - `firmware`: what a simulated machine boots, as in the tests of sites; `figure`, `figures`: how it is told.

mod calls;
mod connection;
mod counted;
mod figure;
mod figures;
#[path = "../../sim/tests/site/harness/firmware.rs"]
mod firmware;
mod full_cycle;
mod idle_agents;
mod images;
mod looks;
mod nodes;
mod offer;
mod orders;
#[path = "../../store/tests/store/postgres.rs"]
mod postgres;
mod process;
mod start_up;

use std::path::PathBuf;

use anyhow::ensure;

use crate::figure::figure;
use crate::process::Kept;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let program = program()?;
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let wrong = parts.iter().find(|part| !PARTS.contains(&part.as_str()));
    ensure!(
        wrong.is_none(),
        "there is no part {wrong:?} to measure: there are {PARTS:?}"
    );
    let asked = |part: &str| parts.is_empty() || parts.iter().any(|asked| asked == part);
    if asked("start-up") {
        let size = program.metadata().map(|metadata| metadata.len());
        figure("binary_size", size? as f64 / 1e6, "MB");
        start_up::measure(&program).await?;
    }
    if asked("calls") {
        calls::measure(&program, Kept::Sqlite).await?;
    }
    if asked("calls-postgresql") {
        calls::measure(&program, Kept::Postgresql).await?;
    }
    if asked("images") {
        images::measure(&program).await?;
    }
    if asked("idle-agents") {
        idle_agents::measure(&program).await?;
    }
    if asked("orders") {
        orders::measure().await?;
    }
    if asked("full-cycle") {
        full_cycle::measure(&program, Kept::Sqlite).await?;
    }
    if asked("full-cycle-postgresql") {
        full_cycle::measure(&program, Kept::Postgresql).await?;
    }
    if asked("ten-thousand") {
        looks::measure(&program, Kept::Sqlite).await?;
    }
    if asked("ten-thousand-postgresql") {
        looks::measure(&program, Kept::Postgresql).await?;
    }
    if asked("kept-connections") {
        looks::measure_kept_connections(&program).await?;
    }
    Ok(())
}

/// What can be measured; without arguments, all of it is.
const PARTS: &[&str] = &[
    "start-up",
    "calls",
    "calls-postgresql",
    "images",
    "idle-agents",
    "orders",
    "full-cycle",
    "full-cycle-postgresql",
    "ten-thousand",
    "ten-thousand-postgresql",
    "kept-connections",
];

/// The server to measure: what people install, as Cargo has built it in its folder `dist` beside this
/// one's, unless the environment names another one.
fn program() -> anyhow::Result<PathBuf> {
    let program = match std::env::var_os("BESSEMER") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("../dist/bessemer"),
    };
    ensure!(
        program.is_file(),
        "there is no server at {}: build it with `make release`, or name another one in BESSEMER",
        program.display()
    );
    Ok(program)
}
