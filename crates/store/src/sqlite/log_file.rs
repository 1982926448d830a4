//! What a commit appends to the write-ahead log, in one write.
//!
//! SQLite hands over each page of a commit as two writes, of 24 and of 4,096 bytes, one behind the other. A
//! dozen pages are two dozen calls of the kernel, which cost several times what one does for all of them:
//! 4 microseconds a page instead of half of one. So what is written to the log is gathered, and written where
//! SQLite waits for the disk, which it does before it tells any other connection of a commit. That holds with
//! `synchronous = FULL` only (<https://www.sqlite.org/pragma.html#pragma_synchronous>), which every connection
//! of this server has.
//!
//! It is a shim (<https://www.sqlite.org/vfs.html>, section 3.1): all else that SQLite asks of a file system,
//! and of every other file, goes where it went before.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use rusqlite::ffi::{
    self, SQLITE_CANTOPEN, SQLITE_NOMEM, SQLITE_OK, SQLITE_OPEN_WAL, sqlite3_file,
    sqlite3_io_methods, sqlite3_vfs,
};

/// What SQLite calls file systems like this one by.
pub(super) const NAME: &CStr = c"bessemer";

/// Bytes that are gathered at most; a commit with more is written in parts. SQLite's own file system takes no
/// more at a time (`seekAndWriteFd` in its `os_unix.c`), and takes one byte more for none at all.
const MOST: usize = 0x1ffff;

/// The file system that files are really in.
struct Real(*mut sqlite3_vfs);

// SAFETY: SQLite calls a registered `sqlite3_vfs` from every thread itself, and nothing here changes it.
unsafe impl Send for Real {}
// SAFETY: as above.
unsafe impl Sync for Real {}

static REAL: OnceLock<Result<Real, c_int>> = OnceLock::new();

/// Makes [`NAME`] known to SQLite, for good.
pub(super) fn register() -> Result<(), rusqlite::Error> {
    match REAL.get_or_init(make_known) {
        Ok(_) => Ok(()),
        Err(code) => Err(rusqlite::Error::SqliteFailure(
            ffi::Error::new(*code),
            Some("the file system of the log".into()),
        )),
    }
}

fn make_known() -> Result<Real, c_int> {
    // SAFETY: null asks for the default one, which lives as long as the process.
    let real = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    // SAFETY: it is a pointer of SQLite's, null or whole.
    let Some(&as_it_is) = (unsafe { real.as_ref() }) else {
        return Err(SQLITE_CANTOPEN);
    };
    // Its other functions do not ask which file system they were called for.
    let ours = Box::leak(Box::new(sqlite3_vfs {
        szOsFile: as_it_is.szOsFile + HEAD as c_int,
        pNext: ptr::null_mut(),
        zName: NAME.as_ptr(),
        xOpen: Some(open),
        ..as_it_is
    }));
    // SAFETY: `ours` is never freed.
    match unsafe { ffi::sqlite3_vfs_register(ours, 0) } {
        SQLITE_OK => Ok(Real(real)),
        code => Err(code),
    }
}

/// A log, in the memory that SQLite gives for a file. The real file's follows at [`HEAD`].
#[repr(C)]
struct LogFile {
    base: sqlite3_file,
    gathered: Box<Gathered>,
}

/// Where the real file begins: SQLite's files are made of what needs eight bytes' alignment at most.
const HEAD: usize = size_of::<LogFile>().next_multiple_of(16);

/// What is to be written, and where its first byte belongs.
#[derive(Default)]
struct Gathered {
    at: i64,
    bytes: Vec<u8>,
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // No shared memory and no mapping: those are the database's own.
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// What a log has gathered. SQLite uses a file from one thread at a time.
///
/// # Safety
///
/// `file` is a [`LogFile`] that is open, and nobody else looks at it meanwhile.
unsafe fn gathered<'f>(file: *mut sqlite3_file) -> &'f mut Gathered {
    // SAFETY: by the caller's promise.
    unsafe { &mut (*file.cast::<LogFile>()).gathered }
}

/// Calls a function that every file has, of the real file.
macro_rules! real {
    ($file:expr, $function:ident $(, $argument:expr)*) => {{
        let real = $file.cast::<u8>().add(HEAD).cast::<sqlite3_file>();
        match (*(*real).pMethods).$function {
            Some(function) => function(real $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

impl Gathered {
    fn end(&self) -> i64 {
        self.at + self.bytes.len() as i64
    }

    /// Adds what belongs right behind, if there is memory for it.
    fn add(&mut self, bytes: &[u8]) -> c_int {
        if self.bytes.try_reserve(bytes.len()).is_err() {
            return SQLITE_NOMEM;
        }
        self.bytes.extend_from_slice(bytes);
        SQLITE_OK
    }

    /// The part from `offset` on that is `length` long, if all of it is in here.
    fn part(&self, offset: i64, length: usize) -> Option<&[u8]> {
        let begin = usize::try_from(offset - self.at).ok()?;
        self.bytes.get(begin..begin.checked_add(length)?)
    }

    fn overlaps(&self, offset: i64, length: usize) -> bool {
        !self.bytes.is_empty() && offset < self.end() && self.at < offset + length as i64
    }
}

/// Writes what is gathered. If that fails, it is gone, as what SQLite could not write is: whoever is told so
/// undoes the transaction, and comes back with other pages.
///
/// # Safety
///
/// `file` is a [`LogFile`] that is open, and `gathered` is what it has gathered.
unsafe fn flush(gathered: &mut Gathered, file: *mut sqlite3_file) -> c_int {
    if gathered.bytes.is_empty() {
        return SQLITE_OK;
    }
    // At most `MOST`, or a page.
    let length = gathered.bytes.len() as c_int;
    let bytes = gathered.bytes.as_ptr().cast();
    // SAFETY: by the caller's promise, the real file is open; it takes as many bytes as there are.
    let code = unsafe { real!(file, xWrite, bytes, length, gathered.at) };
    gathered.bytes.clear();
    code
}

/// Opens a file, a log as one of ours.
///
/// # Safety
///
/// This and all functions below are called by SQLite alone, with arguments as its documentation says
/// (<https://www.sqlite.org/c3ref/vfs.html>, <https://www.sqlite.org/c3ref/io_methods.html>): this one with
/// memory of `szOsFile` bytes for the file, the others with a file that this one has opened as a log.
unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    let Some(Ok(real)) = REAL.get() else {
        return SQLITE_CANTOPEN;
    };
    let is_log = flags & SQLITE_OPEN_WAL != 0;
    let head = if is_log { HEAD } else { 0 };
    // SAFETY: the real file system has as many bytes from there on as it asks for.
    unsafe {
        let Some(open) = (*real.0).xOpen else {
            return SQLITE_CANTOPEN;
        };
        let inner = file.cast::<u8>().add(head).cast::<sqlite3_file>();
        let code = open(real.0, name, inner, flags, flags_out);
        if is_log {
            // Without methods, SQLite does not close it.
            (*file).pMethods = ptr::null();
            if !(*inner).pMethods.is_null() {
                let base = sqlite3_file { pMethods: &METHODS };
                let gathered = Box::default();
                file.cast::<LogFile>().write(LogFile { base, gathered });
            }
        }
        code
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as `open` says. What was never waited for belongs to no commit.
    unsafe {
        ptr::drop_in_place(&raw mut (*file.cast::<LogFile>()).gathered);
        real!(file, xClose)
    }
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    to: *mut c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: as `open` says.
    unsafe {
        let gathered = gathered(file);
        let bytes = length as usize;
        // Whoever writes more than fits into its cache reads it again before it is committed.
        if let Some(part) = gathered.part(offset, bytes) {
            ptr::copy_nonoverlapping(part.as_ptr(), to.cast(), bytes);
            return SQLITE_OK;
        }
        if gathered.overlaps(offset, bytes) {
            let code = flush(gathered, file);
            if code != SQLITE_OK {
                return code;
            }
        }
        real!(file, xRead, to, length, offset)
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: as `open` says.
    unsafe {
        let gathered = gathered(file);
        if gathered.end() != offset || gathered.bytes.len() + length as usize > MOST {
            let code = flush(gathered, file);
            if code != SQLITE_OK {
                return code;
            }
            gathered.at = offset;
        }
        gathered.add(std::slice::from_raw_parts(from.cast(), length as usize))
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as `open` says.
    unsafe {
        match flush(gathered(file), file) {
            SQLITE_OK => real!(file, xSync, flags),
            code => code,
        }
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: i64) -> c_int {
    // SAFETY: as `open` says.
    unsafe {
        match flush(gathered(file), file) {
            SQLITE_OK => real!(file, xTruncate, size),
            code => code,
        }
    }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: as `open` says.
    unsafe {
        match flush(gathered(file), file) {
            SQLITE_OK => real!(file, xFileSize, size),
            code => code,
        }
    }
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as `open` says.
    unsafe { real!(file, xLock, level) }
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: as `open` says.
    unsafe { real!(file, xUnlock, level) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, reserved: *mut c_int) -> c_int {
    // SAFETY: as `open` says.
    unsafe { real!(file, xCheckReservedLock, reserved) }
}

unsafe extern "C" fn file_control(
    file: *mut sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: as `open` says.
    unsafe { real!(file, xFileControl, operation, argument) }
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as `open` says.
    unsafe { real!(file, xSectorSize) }
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as `open` says.
    unsafe { real!(file, xDeviceCharacteristics) }
}

#[cfg(test)]
mod tests;
