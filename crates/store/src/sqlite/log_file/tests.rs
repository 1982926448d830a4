use std::mem::MaybeUninit;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::*;

const FRAME_HEADER: usize = 24;
const PAGE: usize = 4096;

/// What a real file was asked to do.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Write { offset: i64, bytes: Vec<u8> },
    Read { offset: i64, length: usize },
    Sync,
}

/// A file that only remembers, below a log.
#[repr(C)]
struct Remembering {
    base: sqlite3_file,
    asked: Vec<Asked>,
    full: bool,
}

unsafe fn remembering<'f>(file: *mut sqlite3_file) -> &'f mut Remembering {
    // SAFETY: its functions are called with it alone.
    unsafe { &mut *file.cast::<Remembering>() }
}

unsafe extern "C" fn remember_write(
    file: *mut sqlite3_file,
    from: *const c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: `from` is as long as is said.
    let (file, bytes) = unsafe {
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), length as usize);
        (remembering(file), bytes.to_vec())
    };
    if file.full {
        return ffi::SQLITE_FULL;
    }
    file.asked.push(Asked::Write { offset, bytes });
    SQLITE_OK
}

unsafe extern "C" fn remember_read(
    file: *mut sqlite3_file,
    _: *mut c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    let length = length as usize;
    // SAFETY: as above.
    let asked = unsafe { &mut remembering(file).asked };
    asked.push(Asked::Read { offset, length });
    SQLITE_OK
}

unsafe extern "C" fn remember_sync(file: *mut sqlite3_file, _: c_int) -> c_int {
    // SAFETY: as above.
    unsafe { remembering(file).asked.push(Asked::Sync) };
    SQLITE_OK
}

unsafe extern "C" fn forget(file: *mut sqlite3_file) -> c_int {
    // SAFETY: it is closed once, and not used after.
    unsafe { ptr::drop_in_place(file.cast::<Remembering>()) };
    SQLITE_OK
}

static REMEMBERING: sqlite3_io_methods = sqlite3_io_methods {
    xClose: Some(forget),
    xRead: Some(remember_read),
    xWrite: Some(remember_write),
    xSync: Some(remember_sync),
    ..METHODS
};

/// A log on a file that remembers.
struct Log(Box<MaybeUninit<[u128; 16]>>);

impl Log {
    fn open() -> Self {
        let mut log = Self(Box::new(MaybeUninit::uninit()));
        assert!(HEAD + size_of::<Remembering>() <= size_of_val(&*log.0));
        let file = log.file();
        // SAFETY: there is room for both, as SQLite would give.
        unsafe {
            let below = file.cast::<u8>().add(HEAD).cast::<Remembering>();
            below.write(Remembering {
                base: sqlite3_file {
                    pMethods: &REMEMBERING,
                },
                asked: vec![],
                full: false,
            });
            file.cast::<LogFile>().write(LogFile {
                base: sqlite3_file { pMethods: &METHODS },
                gathered: Box::default(),
            });
        }
        log
    }

    fn file(&mut self) -> *mut sqlite3_file {
        self.0.as_mut_ptr().cast()
    }

    fn below(&mut self) -> &mut Remembering {
        // SAFETY: `open` has put it there.
        unsafe { remembering(self.file().cast::<u8>().add(HEAD).cast()) }
    }

    fn write(&mut self, offset: i64, bytes: &[u8]) -> c_int {
        let from = bytes.as_ptr().cast();
        // SAFETY: this is a log, and there are as many bytes.
        unsafe { write(self.file(), from, bytes.len() as c_int, offset) }
    }

    fn read(&mut self, offset: i64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let to = bytes.as_mut_ptr().cast();
        // SAFETY: this is a log, and there is room for as many bytes.
        let code = unsafe { read(self.file(), to, length as c_int, offset) };
        assert_eq!(code, SQLITE_OK);
        bytes
    }

    fn sync(&mut self) -> c_int {
        // SAFETY: this is a log.
        unsafe { sync(self.file(), ffi::SQLITE_SYNC_NORMAL) }
    }

    /// As SQLite does: a header and a page for each of them.
    fn write_frames(&mut self, first: u8, frames: u8) {
        for frame in first..first + frames {
            let at = offset(frame);
            assert_eq!(self.write(at, &[frame; FRAME_HEADER]), SQLITE_OK);
            let page = [frame; PAGE];
            assert_eq!(self.write(at + FRAME_HEADER as i64, &page), SQLITE_OK);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // SAFETY: it is open.
        unsafe { close(self.file()) };
    }
}

fn offset(frame: u8) -> i64 {
    32 + i64::from(frame) * (FRAME_HEADER + PAGE) as i64
}

fn frames(first: u8, frames: u8) -> Asked {
    let frames = (first..first + frames).flat_map(|frame| [frame; FRAME_HEADER + PAGE]);
    Asked::Write {
        offset: offset(first),
        bytes: frames.collect(),
    }
}

#[test]
fn what_a_commit_writes_is_written_at_once_before_the_disk_is_waited_for() {
    let mut log = Log::open();
    log.write_frames(0, 12);
    assert_eq!(log.below().asked, []);
    assert_eq!(log.sync(), SQLITE_OK);
    assert_eq!(log.below().asked, [frames(0, 12), Asked::Sync]);
    assert_eq!(log.sync(), SQLITE_OK);
    assert_eq!(log.below().asked[2..], [Asked::Sync]);
}

#[test]
fn what_is_written_elsewhere_does_not_wait_for_its_turn() {
    let mut log = Log::open();
    log.write_frames(3, 2);
    log.write_frames(0, 1);
    assert_eq!(log.below().asked, [frames(3, 2)]);
    assert_eq!(log.sync(), SQLITE_OK);
    assert_eq!(log.below().asked[1..], [frames(0, 1), Asked::Sync]);
}

#[test]
fn no_more_is_gathered_than_may_be() {
    let mut log = Log::open();
    log.write_frames(0, 70);
    assert_eq!(log.sync(), SQLITE_OK);
    let asked = &log.below().asked;
    let lengths = asked.iter().filter_map(|asked| match asked {
        Asked::Write { bytes, .. } => Some(bytes.len()),
        _ => None,
    });
    let lengths: Vec<_> = lengths.collect();
    assert_eq!(lengths.len(), 3, "{lengths:?}");
    assert!(lengths.iter().all(|length| *length <= MOST), "{lengths:?}");
    assert_eq!(lengths.iter().sum::<usize>(), 70 * (FRAME_HEADER + PAGE));
}

/// SQLite's own file system takes as much as is handed to it.
#[test]
fn as_much_as_is_gathered_is_taken() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    let connection = open_file(&path, NAME);
    let table = "CREATE TABLE thing (name BLOB NOT NULL)";
    connection.execute_batch(table).unwrap();
    // Commits of one page after the other up to three times of what is gathered.
    for pages in 1..100 {
        let size = pages * PAGE as i64;
        let written = connection.execute("INSERT INTO thing VALUES (zeroblob($1))", [size]);
        assert_eq!(written.unwrap(), 1, "{pages} pages");
    }
}

#[test]
fn what_is_gathered_is_read_as_if_it_were_written() {
    let mut log = Log::open();
    log.write_frames(1, 3);
    assert_eq!(log.read(offset(2) + FRAME_HEADER as i64, PAGE), [2; PAGE]);
    assert_eq!(log.below().asked, []);
    log.read(offset(0), FRAME_HEADER);
    let elsewhere = Asked::Read {
        offset: offset(0),
        length: FRAME_HEADER,
    };
    assert_eq!(log.below().asked, [elsewhere]);
    // Half of it in here, half in the file.
    log.read(offset(0), 2 * PAGE);
    assert_eq!(log.below().asked[1], frames(1, 3));
}

/// What could not be written does not get there later, when nobody expects it any more.
#[test]
fn a_full_disk_is_told_and_what_it_had_no_room_for_is_gone() {
    let mut log = Log::open();
    log.write_frames(0, 3);
    log.below().full = true;
    assert_eq!(log.sync(), ffi::SQLITE_FULL);
    log.write_frames(4, 1);
    assert_eq!(log.write(offset(0), &[9; PAGE]), ffi::SQLITE_FULL);
    log.below().full = false;
    assert_eq!(log.sync(), SQLITE_OK);
    assert_eq!(log.below().asked, [Asked::Sync]);
}

fn open_file(path: &Path, name: &CStr) -> Connection {
    register().unwrap();
    let flags = OpenFlags::default();
    let connection = Connection::open_with_flags_and_vfs(path, flags, name).unwrap();
    for (pragma, value) in [("journal_mode", "wal"), ("synchronous", "full")] {
        connection.pragma_update(None, pragma, value).unwrap();
    }
    connection
}

fn rows(connection: &Connection) -> i64 {
    let counted = connection.query_row("SELECT count(*) FROM thing", [], |row| row.get(0));
    counted.unwrap()
}

const MANY: &str =
    "WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 2000)
    INSERT INTO thing SELECT randomblob(1000) FROM n";

/// Transactions that do not fit into the cache are in the log before they are committed, and are read from
/// there. What is committed is seen by whoever knows nothing of this file, and is there after a crash.
#[test]
fn the_real_thing_finds_what_was_written() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    let connection = open_file(&path, NAME);
    connection.pragma_update(None, "cache_size", 10).unwrap();
    let table = "CREATE TABLE thing (name BLOB NOT NULL PRIMARY KEY)";
    connection.execute_batch(table).unwrap();
    let other = open_file(&path, c"unix");
    for ends in ["COMMIT", "ROLLBACK"] {
        connection.execute_batch("BEGIN").unwrap();
        connection.execute_batch(MANY).unwrap();
        let changed = "UPDATE thing SET name = randomblob(1001) WHERE name < x'10'";
        assert!(connection.execute(changed, []).unwrap() > 50);
        assert!(rows(&connection) > rows(&other));
        connection.execute_batch(ends).unwrap();
        assert_eq!((rows(&connection), rows(&other)), (2000, 2000));
    }
    // As a server leaves it that is killed.
    let left = folder.path().join("left");
    for suffix in ["", "-wal"] {
        let of = |path: &Path| format!("{}{suffix}", path.display());
        std::fs::copy(of(&path), of(&left)).unwrap();
    }
    let left = open_file(&left, c"unix");
    assert_eq!(rows(&left), 2000);
    let sound = left.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    assert_eq!(sound.unwrap(), "ok");
}
