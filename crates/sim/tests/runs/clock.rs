//! A clock that skips the time in which nobody has anything to do.
//!
//! Deadlines are minutes and leases half of one; two thousand runs that wait for them in earnest
//! would take days. So every thread of a site, with the unchanged server in it, reads a clock of the
//! site's own: this program has a `clock_gettime` (POSIX.1-2017) of its own, which the linker takes
//! instead of the C library's, for Rust's standard library as for everybody else. It adds how far the
//! site is ahead. An `epoll_wait` of its own (Linux) tells until when a thread sleeps that waits for
//! its sockets and timers. Once all of a site's threads sleep, a pacer moves its clock on to where the
//! first of them wakes.
//!
//! Nothing is speeded up that works. Whether a thread does is the kernel's word: one that has been
//! woken and waits for a processor counts as running, however scarce those are. What the pacer cannot
//! see is work outside of these threads; [`Clock::waits_outside`] tells of it, and time goes on slowly then.
//! Who is outside and has to show the site's time reads how far it is ahead ([`Clock::show_in`]).

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, Weak};
use std::time::{Duration, Instant};

use nix::libc::{
    CLOCK_MONOTONIC, CLOCK_REALTIME, SYS_clock_gettime, SYS_epoll_pwait, c_int, clockid_t,
    epoll_event, syscall, timespec,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// How often the pacer looks.
const TICK: Duration = Duration::from_millis(1);

/// Timers that run out so close together run out at once.
const SHORTEST_SKIP: i64 = 20_000_000;

/// What is skipped where nobody has a timer: somebody outside has to do something.
const SKIP_WITHOUT_TIMERS: i64 = 1_000_000_000;

/// How much is skipped at a look, at most, while somebody outside is waited for: by how many looks
/// have found that.
const WHILE_OUTSIDE: [(u32, i64); 3] = [(30, 0), (60, 20_000_000), (u32::MAX, 100_000_000)];

/// Of a thread that has no timer, whether it is at work or waits for another one; less are nanoseconds of the
/// site's clock.
const WITHOUT_TIMER: i64 = i64::MAX;

const NANOSECONDS: i64 = 1_000_000_000;

/// The clock of one site.
pub(crate) struct Clock {
    started: Instant,
    /// Where others read how far it is ahead.
    shown_in: OnceLock<File>,
    /// How far what is said there is off.
    pub(crate) jump_of_shown: AtomicI64,
    /// Nanoseconds, as of all offsets here.
    ahead: AtomicI64,
    threads: Mutex<Vec<Weak<Thread>>>,
    /// How many are at work for this site, and are none of its threads.
    outside: AtomicU32,
    looks: Mutex<Vec<Outside>>,
    ended: AtomicBool,
}

/// Tells whether somebody outside is at work.
type Outside = Weak<dyn Fn() -> bool + Send + Sync>;

/// A thread of a site.
struct Thread {
    clock: &'static Clock,
    /// When it wakes by itself, by the site's clock.
    until: AtomicI64,
    /// How often it has been woken.
    woken: AtomicU64,
    wake: EventFd,
    /// What the kernel says of it: `proc_pid_stat(5)`.
    stat: File,
}

/// How far the time of day of one server, or of a database, is off, as others see it.
pub(crate) type Jump = &'static AtomicI64;

thread_local! {
    static CLOCK: Cell<Option<&'static Clock>> = const { Cell::new(None) };
    static JUMP: Cell<Option<Jump>> = const { Cell::new(None) };
    static THREAD: RefCell<Option<Arc<Thread>>> = const { RefCell::new(None) };
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

/// # Safety
/// As of the C library's: `events` points to room for `most` of them.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn epoll_wait(
    epoll: c_int,
    events: *mut epoll_event,
    most: c_int,
    timeout: c_int,
) -> c_int {
    let thread = THREAD.try_with(|thread| thread.borrow().clone());
    let timeout = match thread.ok().flatten() {
        Some(thread) if timeout != 0 => {
            thread.sleep(epoll, timeout);
            0
        }
        _ => timeout,
    };
    // The signal mask stays as it is.
    let no_mask = std::ptr::null::<u8>();
    // SAFETY: the caller's promise is the kernel's condition.
    unsafe { syscall(SYS_epoll_pwait, epoll, events, most, timeout, no_mask, 8) as c_int }
}

/// The calling thread reads this clock from now on, and the time of day with this jump.
pub(crate) fn live_by(clock: &'static Clock, jump: Option<Jump>) {
    let thread = Arc::new(Thread {
        clock,
        until: AtomicI64::new(WITHOUT_TIMER),
        woken: AtomicU64::new(0),
        wake: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).unwrap(),
        stat: File::open("/proc/thread-self/stat").unwrap(),
    });
    clock.threads.lock().unwrap().push(Arc::downgrade(&thread));
    THREAD.set(Some(thread));
    CLOCK.set(Some(clock));
    JUMP.set(jump);
}

/// Lives `life` in a thread and a runtime of its own, which go by a new clock.
pub(crate) fn live<T: Send + 'static>(
    name: String,
    life: impl AsyncFnOnce(&'static Clock) -> T + Send + 'static,
) -> std::thread::Result<T> {
    let living = move || {
        let clock = Clock::start();
        live_by(clock, None);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .on_thread_start(move || live_by(clock, None))
            .enable_all()
            .build()
            .unwrap();
        let lived = runtime.block_on(life(clock));
        clock.end();
        runtime.shutdown_background();
        lived
    };
    let thread = std::thread::Builder::new().name(name);
    thread.spawn(living).unwrap().join()
}

/// The calling thread of a site stands still for so long, or until it `wakes`, as a stopped process does.
pub(crate) fn stand_still(pause: Duration, wakes: impl Fn() -> bool) {
    let thread = THREAD.with_borrow(Clone::clone).expect("a site's thread");
    let end = thread.clock.now() + pause.as_nanos() as i64;
    while thread.clock.now() < end && !wakes() {
        thread.until.store(end, Ordering::SeqCst);
        std::thread::sleep(TICK);
        thread.until.store(WITHOUT_TIMER, Ordering::SeqCst);
    }
}

impl Thread {
    /// Sleeps until this `epoll` has something or the time is over, in milliseconds of the site's
    /// clock; below zero: for ever.
    fn sleep(&self, epoll: c_int, timeout: c_int) {
        let until = match u32::try_from(timeout) {
            Ok(timeout) => self.clock.now() + i64::from(timeout) * 1_000_000,
            Err(_) => WITHOUT_TIMER,
        };
        let limit = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::NONE);
        // SAFETY: whoever waits for it keeps it open meanwhile.
        let epoll = unsafe { BorrowedFd::borrow_raw(epoll) };
        // SAFETY: it is this thread's own.
        let wake = unsafe { BorrowedFd::borrow_raw(self.wake.as_raw_fd()) };
        let mut both = [
            PollFd::new(epoll, PollFlags::POLLIN),
            PollFd::new(wake, PollFlags::POLLIN),
        ];
        self.until.store(until, Ordering::SeqCst);
        // An error is as good as having been woken: the caller looks again.
        let _ = poll(&mut both, limit);
        self.until.store(WITHOUT_TIMER, Ordering::SeqCst);
        self.woken.fetch_add(1, Ordering::SeqCst);
        if both[1].any() == Some(true) {
            let _ = self.wake.read();
        }
    }

    /// Until when it sleeps.
    fn until(&self) -> i64 {
        self.until.load(Ordering::SeqCst)
    }

    fn woken(&self) -> u64 {
        self.woken.load(Ordering::SeqCst)
    }

    /// Whether the kernel has it sleep: not at work, and not about to be.
    fn sleeps(&self) -> bool {
        let mut line = [0; 64];
        let length = self.stat.read_at(&mut line, 0).unwrap_or(0);
        let name_ends = line[..length].iter().rposition(|byte| *byte == b')');
        // One that is gone has nothing to do either.
        name_ends.is_none_or(|end| line.get(end + 2) == Some(&b'S'))
    }
}

/// While it is there, somebody outside is at work for the site.
pub(crate) struct WaitsOutside(&'static Clock);

impl Drop for WaitsOutside {
    fn drop(&mut self) {
        self.0.outside.fetch_sub(1, Ordering::SeqCst);
    }
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
            shown_in: OnceLock::new(),
            jump_of_shown: AtomicI64::new(0),
            ahead: AtomicI64::new(0),
            threads: Mutex::default(),
            outside: AtomicU32::new(0),
            looks: Mutex::default(),
            ended: AtomicBool::new(false),
        }));
        CLOCKS.lock().unwrap().push(clock);
        clock
    }

    /// Until this is dropped, what the site waits for may be somebody's work outside of its threads.
    pub(crate) fn waits_outside(&'static self) -> WaitsOutside {
        self.outside.fetch_add(1, Ordering::SeqCst);
        WaitsOutside(self)
    }

    /// The same whenever `look` says so, for as long as it is there.
    pub(crate) fn waits_outside_while(&self, look: &Arc<dyn Fn() -> bool + Send + Sync>) {
        self.looks.lock().unwrap().push(Arc::downgrade(look));
    }

    /// Says in this file, which is made, how many seconds the site is ahead.
    pub(crate) fn show_in(&self, path: &Path) {
        let file = File::create(path).unwrap();
        assert!(self.shown_in.set(file).is_ok(), "one file for each site");
        self.show();
    }

    fn show(&self) {
        if let Some(file) = self.shown_in.get() {
            let ahead =
                self.ahead.load(Ordering::SeqCst) + self.jump_of_shown.load(Ordering::SeqCst);
            let ahead = ahead as f64 / NANOSECONDS as f64;
            // All of it at once, and always as long: nobody reads half of it.
            let text = format!("{ahead:020.9}");
            file.write_all_at(text.as_bytes(), 0).unwrap();
        }
    }

    /// The site is gone.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    /// Since the site began, as its threads see it.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether `what` comes to its end within `limit`, on the real clock.
    pub(crate) async fn within(&self, limit: Duration, what: impl Future<Output = ()>) -> bool {
        let real = || {
            let ahead = Duration::from_nanos(self.ahead.load(Ordering::SeqCst).unsigned_abs());
            self.elapsed().saturating_sub(ahead)
        };
        let late = async {
            let end = real() + limit;
            while real() < end {
                tokio::time::sleep(limit / 10).await;
            }
        };
        tokio::select! {
            () = what => true,
            () = late => false,
        }
    }

    /// What the site's clock shows.
    fn now(&self) -> i64 {
        let mut time = timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` may be written.
        unsafe { syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &raw mut time) };
        time.tv_sec * NANOSECONDS + time.tv_nsec + self.ahead.load(Ordering::SeqCst)
    }

    /// The site's threads and when the first of them wakes, if all of them sleep.
    fn sleepers(&self) -> Option<(Vec<Arc<Thread>>, i64)> {
        let mut threads = self.threads.lock().unwrap();
        threads.retain(|thread| thread.strong_count() > 0);
        let threads: Vec<_> = threads.iter().filter_map(Weak::upgrade).collect();
        let first = threads.iter().map(|thread| thread.until()).min();
        let woken = || threads.iter().map(|thread| thread.woken()).sum::<u64>();
        let all_sleep = || threads.iter().all(|thread| thread.sleeps());
        // They are asked one after the other: who slept may have been woken by who was asked next and
        // sleeps by then. It is at work at the second look, or has been woken in between.
        let before = woken();
        let all = all_sleep() && all_sleep() && woken() == before;
        all.then_some((threads, first.unwrap_or(WITHOUT_TIMER)))
    }

    fn is_outside(&self) -> bool {
        let mut looks = self.looks.lock().unwrap();
        looks.retain(|look| look.strong_count() > 0);
        let mut asked = looks.iter().filter_map(Weak::upgrade);
        self.outside.load(Ordering::SeqCst) > 0 || asked.any(|look| look())
    }

    /// Moves the clock on if nobody has anything to do. `waited`: how many looks have found somebody
    /// outside at work, and nobody else.
    fn skip(&self, waited: &mut u32) {
        let Some((threads, first)) = self.sleepers() else {
            *waited = 0;
            return;
        };
        let now = self.now();
        let mut by = match first {
            WITHOUT_TIMER => SKIP_WITHOUT_TIMERS,
            first => (first - now).max(SHORTEST_SKIP),
        };
        if self.is_outside() {
            *waited += 1;
            let most = WHILE_OUTSIDE.iter().find(|(looks, _)| *waited <= *looks);
            by = by.min(most.map_or(0, |(_, most)| *most));
        } else {
            *waited = 0;
        }
        self.ahead.fetch_add(by, Ordering::SeqCst);
        self.show();
        for thread in threads {
            if thread.until() <= now + by {
                // It does not know yet that its time is over.
                let _ = thread.wake.write(1);
            }
        }
    }
}

static CLOCKS: Mutex<Vec<&'static Clock>> = Mutex::new(Vec::new());

fn pace() {
    let mut paced: Vec<(&'static Clock, u32)> = Vec::new();
    loop {
        std::thread::sleep(TICK);
        paced.extend(CLOCKS.lock().unwrap().drain(..).map(|clock| (clock, 0)));
        paced.retain(|(clock, _)| !clock.ended.load(Ordering::SeqCst));
        for (clock, waited) in &mut paced {
            clock.skip(waited);
        }
    }
}
