//! What reading one input costs: memory held at once, and time of the processor.
//!
//! Memory is counted by an allocator that a test program makes its own ([`Counting`]); it does not see
//! what libraries in C take for themselves. Time is that of the thread, so that a busy machine makes no
//! difference.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

thread_local! {
    /// Bytes that this thread holds, counted from where it was last set to zero, and their most.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, which counts by thread.
#[derive(Debug)]
pub struct Counting;

fn add(bytes: isize) {
    // A thread that ends frees memory after its counters are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator as it is; counting touches two cells of the
// thread, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // For a moment both may be there.
        add(size as isize);
        add(-(layout.size() as isize));
        // SAFETY: the caller keeps to the contract of `GlobalAlloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What something cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// The most that was held at once beyond what was held before, in bytes; 0 in a program that does
    /// not count.
    pub memory: usize,
    /// Time of the processor.
    pub time: Duration,
}

/// Does `work` on this thread and says what it cost.
pub fn cost(work: impl FnOnce()) -> Cost {
    let began = thread_time();
    HELD.set(0);
    MOST.set(0);
    work();
    Cost {
        memory: MOST.get().unsigned_abs(),
        time: thread_time().saturating_sub(began),
    }
}

fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    now.map(Duration::from).unwrap_or_default()
}
