//! Thousands of small sites that everything goes wrong at, each made from a seed: real servers on a
//! real database, a switch and machines that are simulated at their wires, people with stories of
//! their own, and faults at all times. What must never be is looked for at every step (`judge`), and
//! when nothing goes wrong any more, everything has to come to a good end (`ending`).
//!
//! A *run* is one machine with its story and its faults; the runs of one seed share a site. A seed
//! decides who does what when and what goes wrong when; threads, sockets and the database keep their
//! freedom, so that one seed is many histories. A failure prints its seed, what was found, and the
//! whole story, and with which command it is lived through again.

mod clock;
mod database;
mod dice;
mod ending;
mod faults;
#[path = "../site/harness/firmware.rs"]
mod firmware;
mod image;
mod judge;
mod networks;
mod offer;
mod one_time;
#[path = "../../../store/tests/store/postgres.rs"]
mod postgres;
mod process;
mod rows;
mod seeds;
mod standing_still;
mod story;
mod strikes;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::faults::{MACHINE_FAULTS, SITE_FAULTS};
use crate::seeds::{KNOWN, RUNS_OF_A_SITE, Site};

/// Runs of the whole program, known seeds not counted.
const RUNS: u64 = 2000;

/// Sites that run at the same time: a site waits for its database and its own threads often enough
/// for two processors to keep more than two of them busy.
const AT_ONCE: usize = 6;

/// Seeds in which something was found once, each with what it was.
#[test]
fn seeds_that_found_something_find_nothing_any_more() {
    if asked_for("BESSEMER_SEED").is_none() {
        let seeds = KNOWN.iter().map(|(seed, _)| *seed).collect::<Vec<_>>();
        run_all(|index| seeds.get(index as usize).copied());
    }
}

#[test]
fn thousands_of_runs() {
    let runs = asked_for("BESSEMER_RUNS").unwrap_or(RUNS);
    match asked_for("BESSEMER_SEED") {
        Some(seed) => run_all(|index| (index == 0).then_some(seed)),
        None => {
            let sites = runs.div_ceil(RUNS_OF_A_SITE);
            run_all(|index| (index < sites).then_some(index + 1));
            faults_have_struck(runs);
        }
    }
}

/// Runs that nothing goes wrong in, and faults that never strike, would test nothing.
fn faults_have_struck(runs: u64) {
    println!("{}", strikes::report());
    let [orders, begun, deployments] = [
        &strikes::ORDERS,
        &strikes::DEPLOYMENTS_BEGUN,
        &strikes::DEPLOYMENTS,
    ]
    .map(|count| count.load(Ordering::Relaxed));
    println!(
        "{orders} orders were accepted, {begun} deployments begun, {deployments} came to a running system"
    );
    let (all, struck) = strikes::runs();
    println!("a fault has struck in {struck} of {all} runs");
    assert!(struck > all / 2, "in {struck} of {all} runs only");
    if runs >= RUNS {
        assert!(deployments > runs / 4, "{deployments} deployments");
        let mut never = strikes::never_struck(&MACHINE_FAULTS);
        never.extend(strikes::never_struck(&SITE_FAULTS));
        assert!(never.is_empty(), "these have never struck: {never:?}");
    }
}

/// New seeds for as long as is asked for: `make soak`.
#[test]
#[ignore = "goes on for as long as BESSEMER_SOAK_SECONDS says"]
fn soak() {
    let seconds = asked_for("BESSEMER_SOAK_SECONDS").unwrap_or(600);
    let first = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let until = Instant::now() + Duration::from_secs(seconds);
    println!("seeds from {first} on, for {seconds} s");
    run_all(|index| (Instant::now() < until).then_some(first + index));
}

fn asked_for(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {value}")),
    )
}

/// Runs the sites of all seeds that `seed` has for 0, 1, 2 and so on, until one fails.
fn run_all(seed: impl Fn(u64) -> Option<u64> + Sync) {
    show_logs_if_asked();
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let failures = Mutex::new(Vec::new());
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while !failed.load(Ordering::SeqCst)
                    && let Some(seed) = seed(next.fetch_add(1, Ordering::SeqCst))
                {
                    if let Err(failure) = Site::of(seed).run() {
                        failed.store(true, Ordering::SeqCst);
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let sites = next.load(Ordering::SeqCst).saturating_sub(AT_ONCE as u64);
    let took = started.elapsed().as_secs_f64();
    println!(
        "{} runs at {sites} sites in {took:.1} s",
        sites * RUNS_OF_A_SITE
    );
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// `BESSEMER_LOG=debug` shows what servers say.
fn show_logs_if_asked() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("BESSEMER_LOG") {
        // Another test may have been first.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
    }
}
