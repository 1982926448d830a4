//! A clock that hurries while nobody has anything to do.
//!
//! Deadlines are minutes and leases half of one; two thousand runs that wait for them in earnest
//! would take days. So every thread of a site, with the unchanged server in it, reads a clock of the
//! site's own: this program has a `clock_gettime` (POSIX.1-2017) of its own, which the linker takes
//! instead of the C library's, for Rust's standard library as for everybody else. It adds how far the
//! site is ahead. A pacer moves that on while all of the site's threads sleep, slowly at first and then
//! faster, and wakes them to see which of their timers have run out.
//!
//! Nothing is speeded up that works: a machine under load only sees less of its waiting skipped. What
//! the pacer cannot see is work outside of these threads (a database that answers slowly); it is what
//! the slow beginning is for, and where that is not enough, a timeout strikes that need not have. Runs
//! must bear that as any other fault.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use nix::libc::{
    CLOCK_MONOTONIC, CLOCK_REALTIME, SYS_clock_gettime, c_int, clockid_t, syscall, timespec,
};
use tokio::runtime::Handle;

/// How often the pacer looks.
const TICK: Duration = Duration::from_millis(2);

/// A pacer that was woken this late has waited for a processor, as others may.
const LATE: Duration = Duration::from_millis(6);

/// Work between two looks that is only somebody's looking around: so much, or one part of so many.
const NOTHING: Duration = Duration::from_micros(400);
const PART: u32 = 8;

/// How far a site's clock moves in a tick, by how many ticks it has been quiet for.
const PACE: [(u32, Duration); 4] = [
    (3, Duration::ZERO),
    (15, Duration::from_millis(20)),
    (40, Duration::from_millis(100)),
    (u32::MAX, Duration::from_millis(500)),
];

/// The same where processors are scarce: what looks quiet may only be waiting for one.
const PACE_IF_LATE: Duration = Duration::from_millis(100);

const NANOSECONDS: i64 = 1_000_000_000;

/// The clock of one site.
pub(crate) struct Clock {
    started: Instant,
    /// Nanoseconds, as of all offsets here.
    ahead: AtomicI64,
    runtimes: Mutex<Vec<Runtime>>,
    ended: AtomicBool,
}

struct Runtime {
    handle: Handle,
    /// Does not count while it is kept from running.
    frozen: Arc<AtomicBool>,
    busy: Duration,
}

/// How far the time of day of one server is off, as others see it.
pub(crate) type Jump = &'static AtomicI64;

thread_local! {
    static CLOCK: Cell<Option<&'static Clock>> = const { Cell::new(None) };
    static JUMP: Cell<Option<Jump>> = const { Cell::new(None) };
}

/// # Safety
/// As of the C library's: `time` points to what may be written.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's promise is the kernel's condition.
    let result = unsafe { syscall(SYS_clock_gettime, clock, time) } as c_int;
    let counts = clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME;
    let site = CLOCK.try_with(Cell::get).ok().flatten();
    let (0, true, Some(site)) = (result, counts, site) else {
        return result;
    };
    let mut offset = site.ahead.load(Ordering::SeqCst);
    if clock == CLOCK_REALTIME
        && let Some(jump) = JUMP.try_with(Cell::get).ok().flatten()
    {
        offset += jump.load(Ordering::SeqCst);
    }
    // SAFETY: the kernel has just written it.
    let time = unsafe { &mut *time };
    let nanoseconds = time.tv_nsec + offset % NANOSECONDS;
    time.tv_sec += offset / NANOSECONDS + nanoseconds.div_euclid(NANOSECONDS);
    time.tv_nsec = nanoseconds.rem_euclid(NANOSECONDS);
    result
}

/// The calling thread reads this clock from now on, and the time of day with this jump.
pub(crate) fn live_by(clock: &'static Clock, jump: Option<Jump>) {
    CLOCK.set(Some(clock));
    JUMP.set(jump);
}

impl Clock {
    /// A clock that shows the time. It is never freed: threads may outlive their site.
    pub(crate) fn start() -> &'static Self {
        static PACER: Once = Once::new();
        PACER.call_once(|| {
            std::thread::spawn(pace);
        });
        let clock: &'static Self = Box::leak(Box::new(Self {
            started: Instant::now(),
            ahead: AtomicI64::new(0),
            runtimes: Mutex::default(),
            ended: AtomicBool::new(false),
        }));
        CLOCKS.lock().unwrap().push(clock);
        clock
    }

    /// The threads of this runtime live by this clock. Whoever freezes it says so.
    pub(crate) fn wake(&self, handle: Handle) -> Arc<AtomicBool> {
        let frozen = Arc::new(AtomicBool::new(false));
        self.runtimes.lock().unwrap().push(Runtime {
            handle,
            frozen: frozen.clone(),
            busy: Duration::ZERO,
        });
        frozen
    }

    /// The runtime that [`Self::wake`] has given this flag for is gone.
    pub(crate) fn forget(&self, frozen: &Arc<AtomicBool>) {
        let mut runtimes = self.runtimes.lock().unwrap();
        runtimes.retain(|runtime| !Arc::ptr_eq(&runtime.frozen, frozen));
    }

    /// The site is gone.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.runtimes.lock().unwrap().clear();
    }

    /// Since the site began, by this clock.
    pub(crate) fn elapsed(&self) -> Duration {
        let ahead = Duration::from_nanos(self.ahead.load(Ordering::SeqCst).unsigned_abs());
        // Of a thread of the site, and of any other: whichever asks.
        let own = CLOCK.with(Cell::get).is_some();
        let since = self.started.elapsed();
        if own { since } else { since + ahead }
    }

    /// Whether `what` comes to its end within `limit`, on the real clock.
    pub(crate) async fn within(&self, limit: Duration, what: impl Future<Output = ()>) -> bool {
        let ahead = || Duration::from_nanos(self.ahead.load(Ordering::SeqCst).unsigned_abs());
        let began = self.elapsed().saturating_sub(ahead());
        let late = async {
            while self.elapsed().saturating_sub(ahead()) < began + limit {
                tokio::time::sleep(limit / 10).await;
            }
        };
        tokio::select! {
            () = what => true,
            () = late => false,
        }
    }

    /// Whether all threads that count have slept since the last look, which was `looked` ago.
    fn is_quiet(&self, looked: Duration) -> bool {
        let mut quiet = true;
        for runtime in self.runtimes.lock().unwrap().iter_mut() {
            let metrics = runtime.handle.metrics();
            let busy = metrics.worker_total_busy_duration(0);
            let worked = busy.saturating_sub(runtime.busy);
            runtime.busy = busy;
            let sleeps = metrics.worker_park_unpark_count(0) % 2 == 1;
            if !runtime.frozen.load(Ordering::SeqCst) {
                quiet &= sleeps && worked < NOTHING.max(looked / PART);
            }
        }
        quiet
    }

    fn advance(&self, by: Duration) {
        self.ahead.fetch_add(by.as_nanos() as i64, Ordering::SeqCst);
        for runtime in self.runtimes.lock().unwrap().iter() {
            // A thread that sleeps until a timer runs out does not know that it has.
            runtime.handle.spawn(async {});
        }
    }
}

static CLOCKS: Mutex<Vec<&'static Clock>> = Mutex::new(Vec::new());

fn pace() {
    let mut paced: Vec<(&'static Clock, u32)> = Vec::new();
    loop {
        let began = Instant::now();
        std::thread::sleep(TICK);
        let slept = began.elapsed();
        let late = slept > LATE;
        paced.extend(CLOCKS.lock().unwrap().drain(..).map(|clock| (clock, 0)));
        paced.retain(|(clock, _)| !clock.ended.load(Ordering::SeqCst));
        for (clock, quiet) in &mut paced {
            if !clock.is_quiet(slept) {
                *quiet = 0;
            } else {
                *quiet += 1;
                let pace = PACE.iter().find(|(ticks, _)| *quiet <= *ticks);
                let by = pace.map_or(Duration::ZERO, |(_, by)| *by);
                let by = if late { by.min(PACE_IF_LATE) } else { by };
                if !by.is_zero() {
                    clock.advance(by);
                }
            }
        }
    }
}
