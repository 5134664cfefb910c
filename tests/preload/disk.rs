//! A disk that is slower than the real one, or that fails, for one process: a library for `LD_PRELOAD`. It works for
//! zkfast and for a JVM, and needs no crate:
//!
//! ```text
//! rustc -O --edition 2024 --crate-type cdylib -C panic=abort -o libdisk.so tests/preload/disk.rs
//! FAULTY_DISK_CONTROL=/run/control LD_PRELOAD=./libdisk.so zkfast zoo.cfg
//! ```
//!
//! It replaces functions of the C library and does what the environment says:
//!
//! | variable | effect |
//! |---|---|
//! | `FAULTY_DISK_DIRECTORY` | delays, the rate and the counters concern only files below this directory |
//! | `FAULTY_DISK_FLUSH_US` | first value of `flush_us`, where there is no control file |
//! | `FAULTY_DISK_CONTROL` | a file of 40 bytes that the library maps, so that a test can change the disk of a process |
//! | `FAULTY_DISK_FAULTS` | faults, separated by `;` |
//!
//! Without a directory, flushes of all files are delayed, and the rate and the counter of bytes concern no file, since a
//! write to a socket looks the same.
//!
//! The control file holds five numbers of 64 bits, little-endian:
//!
//! | number | meaning |
//! |---|---|
//! | `bytes_per_s` | all writes of the process share this rate; 0: no limit |
//! | `flush_us` | each `fdatasync` and `fsync` takes so many microseconds more |
//! | `flushes` | the library counts flushes here |
//! | `bytes_written` | the library adds up bytes here |
//! | `next_flush_us` | the next `fdatasync` takes so many microseconds more; the library sets 0 when that begins |
//!
//! A fault is `operation name errno after`, for example `write /log. 28 3000000`. It concerns the files whose path
//! contains `name`. `write` gives `errno` once `after` bytes were written to them (what fits before is written, as a full
//! disk does; a vectored write succeeds whole or fails), `read` once `after` bytes were read, `flush` once `after`
//! flushes and `open` once `after` calls succeeded. Where `read` fails from the first byte on, a mapping of the file lies
//! after the file's end: touching it is a SIGBUS, as with a bad block of a disk.
//!
//! `thread PATH errno 0` is a fault of another kind: as long as a file of that path exists, `pthread_create` fails.

#![allow(unsafe_code, missing_docs)]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_void};
use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn readlink(path: *const c_char, buffer: *mut c_char, bytes: usize) -> isize;
    fn __errno_location() -> *mut c_int;
}

/// The C library's own function of this name.
macro_rules! real {
    ($name:literal, $type:ty) => {{
        static CACHE: AtomicUsize = AtomicUsize::new(0);
        let at = look_up(&CACHE, $name);
        // SAFETY: the C library's function of this name has this type.
        unsafe { std::mem::transmute::<usize, $type>(at) }
    }};
}

/// The next library that has the symbol: the C library.
const RTLD_NEXT: *mut c_void = -1isize as *mut c_void;
const O_RDWR: c_int = 2;
const O_CLOEXEC: c_int = 0o2_000_000;
const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;
const CONTROL_BYTES: usize = size_of::<Control>();
const PATH_BYTES_MAX: usize = 4096;
/// A sleep takes some 60 microseconds more than it is asked for. So small writes run up a debt of this size, and sleep
/// once for all of it.
const DEBT_MAX: Duration = Duration::from_millis(5);

/// The numbers of the control file, in its order.
#[repr(C)]
#[derive(Default)]
struct Control {
    bytes_per_s: AtomicU64,
    flush_us: AtomicU64,
    flushes: AtomicU64,
    bytes_written: AtomicU64,
    next_flush_us: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Write,
    Read,
    Flush,
    Open,
    Thread,
}

struct Fault {
    operation: Operation,
    name: String,
    errno: c_int,
    /// Bytes or calls that still succeed.
    left: AtomicU64,
    fails_at_once: bool,
}

struct Disk {
    directory: Option<Vec<u8>>,
    control: &'static Control,
    /// When a disk of `bytes_per_s` has written all that it was given.
    idle_at: Mutex<Option<Instant>>,
    faults: Vec<Fault>,
}

fn disk() -> &'static Disk {
    static DISK: OnceLock<Disk> = OnceLock::new();
    DISK.get_or_init(|| {
        let text = |name| std::env::var(name).unwrap_or_default();
        let control = match std::env::var_os("FAULTY_DISK_CONTROL") {
            Some(path) => map_control(CString::new(path.into_vec()).unwrap_or_default()),
            None => {
                let flush_us = text("FAULTY_DISK_FLUSH_US").parse().unwrap_or(0).into();
                Box::leak(Box::new(Control { flush_us, ..Control::default() }))
            }
        };
        let faults = text("FAULTY_DISK_FAULTS");
        Disk {
            directory: std::env::var_os("FAULTY_DISK_DIRECTORY").map(OsStringExt::into_vec),
            control,
            idle_at: Mutex::new(None),
            faults: faults.split(';').filter(|fault| !fault.trim().is_empty()).map(parse_fault).collect(),
        }
    })
}

/// Maps the control file. It calls the C library's own `open` and `mmap`: those of this library wait for the caller.
fn map_control(path: CString) -> &'static Control {
    let (open, map) = (real!(c"open64", Open), real!(c"mmap64", Map));
    // SAFETY: `path` ends with a zero byte.
    let fd = unsafe { open(path.as_ptr(), O_RDWR | O_CLOEXEC, 0) };
    if fd < 0 {
        refuse(&format!("FAULTY_DISK_CONTROL: {path:?} cannot be opened"));
    }
    // SAFETY: the descriptor was opened above and belongs to this value alone.
    let file = unsafe { File::from_raw_fd(fd) };
    if file.metadata().map_or(0, |metadata| metadata.len()) < CONTROL_BYTES as u64 {
        refuse(&format!("FAULTY_DISK_CONTROL: {path:?} is shorter than {CONTROL_BYTES} bytes"));
    }
    // SAFETY: a new mapping of a file that is long enough. It is never unmapped, and all parts use it as atomic numbers.
    unsafe {
        let at = map(std::ptr::null_mut(), CONTROL_BYTES, PROT_READ_WRITE, MAP_SHARED, fd, 0);
        if at as isize == -1 {
            refuse("FAULTY_DISK_CONTROL: the file cannot be mapped");
        }
        &*at.cast::<Control>()
    }
}

fn parse_fault(text: &str) -> Fault {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [operation, name, errno, after] = words[..] else {
        refuse(&format!("a fault has four words: {text}"));
    };
    let operation = match operation {
        "write" => Operation::Write,
        "read" => Operation::Read,
        "flush" => Operation::Flush,
        "open" => Operation::Open,
        "thread" => Operation::Thread,
        other => refuse(&format!("{other} is no operation: {text}")),
    };
    let number = |word: &str| -> u64 {
        word.parse().unwrap_or_else(|_| refuse(&format!("{word} is no number: {text}")))
    };
    let after = number(after);
    Fault {
        operation,
        name: name.to_owned(),
        errno: number(errno) as c_int,
        left: AtomicU64::new(after),
        fails_at_once: after == 0,
    }
}

/// Ends the process with a message. A panic would print through this library's `write`, which waits for [`disk`].
fn refuse(message: &str) -> ! {
    let (write, line) = (real!(c"write", Plain), format!("tests/preload/disk.rs: {message}\n"));
    // SAFETY: `line` has that many bytes, and `write` only reads them.
    unsafe { write(2, line.as_ptr().cast_mut().cast(), line.len()) };
    std::process::abort();
}

impl Disk {
    /// True for a file whose flushes are delayed.
    fn concerns(&self, fd: c_int) -> bool {
        let Some(directory) = &self.directory else { return true };
        let mut buffer = [0; PATH_BYTES_MAX];
        let rest = path_of(fd, &mut buffer).and_then(|path| path.strip_prefix(&**directory));
        rest.is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    fn before_write(&self, fd: c_int, bytes: usize) {
        if self.directory.is_none() || !self.concerns(fd) {
            return;
        }
        self.control.bytes_written.fetch_add(bytes as u64, Ordering::Relaxed);
        let rate = self.control.bytes_per_s.load(Ordering::Relaxed);
        if rate == 0 {
            return;
        }
        let now = Instant::now();
        let written_at = {
            let mut idle_at = self.idle_at.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = idle_at.map_or(now, |at| at.max(now));
            *idle_at.insert(begins + Duration::from_secs_f64(bytes as f64 / rate as f64))
        };
        if written_at - now > DEBT_MAX {
            std::thread::sleep(written_at - now);
        }
    }

    fn before_flush(&self, fd: c_int, is_fdatasync: bool) {
        if !self.concerns(fd) {
            return;
        }
        self.control.flushes.fetch_add(1, Ordering::Relaxed);
        // The log calls `fdatasync`: no snapshot or directory takes the delay that a test means for the log.
        let once_us = if is_fdatasync { self.control.next_flush_us.swap(0, Ordering::SeqCst) } else { 0 };
        let delay = Duration::from_micros(self.control.flush_us.load(Ordering::Relaxed) + once_us);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }

    /// The fault that concerns the file of this path, if any.
    fn fault_at(&self, operation: Operation, path: &[u8]) -> Option<&Fault> {
        let contains = |name: &[u8]| path.windows(name.len()).any(|part| part == name);
        self.faults.iter().find(|fault| fault.operation == operation && contains(fault.name.as_bytes()))
    }

    /// The fault that concerns this open file, if any.
    fn fault_of(&self, operation: Operation, fd: c_int) -> Option<&Fault> {
        if !self.faults.iter().any(|fault| fault.operation == operation) {
            return None;
        }
        let mut buffer = [0; PATH_BYTES_MAX];
        self.fault_at(operation, path_of(fd, &mut buffer)?)
    }

    /// How many of `bytes` bytes succeed.
    ///
    /// # Errors
    /// The fault's errno where none does.
    fn allow(&self, operation: Operation, fd: c_int, bytes: usize) -> Result<usize, c_int> {
        self.fault_of(operation, fd).map_or(Ok(bytes), |fault| fault.allow(bytes))
    }
}

impl Fault {
    fn allow(&self, want: usize) -> Result<usize, c_int> {
        let before = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(want as u64)))
            .unwrap_or_default();
        // Direct I/O writes whole blocks.
        match if before >= want as u64 { want } else { before as usize / 4096 * 4096 } {
            0 if want > 0 => Err(self.errno),
            fits => Ok(fits),
        }
    }
}

/// The path of an open file. It takes no memory from the heap: a caller may hold the allocator's lock.
fn path_of(fd: c_int, buffer: &mut [u8; PATH_BYTES_MAX]) -> Option<&[u8]> {
    const FOLDER: &[u8] = b"/proc/self/fd/";
    let (mut link, mut digits) = ([0u8; 40], [0u8; 12]);
    let (mut first, mut rest) = (digits.len(), fd.max(0));
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    link[..FOLDER.len()].copy_from_slice(FOLDER);
    link[FOLDER.len()..][..digits.len() - first].copy_from_slice(&digits[first..]);
    // SAFETY: `link` ends with a zero byte after its digits, and `buffer` has that many bytes.
    let bytes = unsafe { readlink(link.as_ptr().cast(), buffer.as_mut_ptr().cast(), buffer.len()) };
    buffer.get(..usize::try_from(bytes).ok()?)
}

fn fail(errno: c_int) -> isize {
    // SAFETY: it points to this thread's errno.
    unsafe { *__errno_location() = errno };
    -1
}

/// Looks a function up once. Two threads may both look; they find the same.
fn look_up(cache: &AtomicUsize, name: &CStr) -> usize {
    let mut at = cache.load(Ordering::Relaxed);
    if at == 0 {
        // SAFETY: `name` ends with a zero byte.
        at = unsafe { dlsym(RTLD_NEXT, name.as_ptr()) } as usize;
        assert!(at != 0, "the C library has no {name:?}");
        cache.store(at, Ordering::Relaxed);
    }
    at
}

/// A piece of a vectored write.
#[repr(C)]
pub struct IoVec {
    base: *const c_void,
    bytes: usize,
}

type Thread = unsafe extern "C" fn(*mut c_void, *const c_void, *const c_void, *mut c_void) -> c_int;
type Open = unsafe extern "C" fn(*const c_char, c_int, c_uint) -> c_int;
type Flush = unsafe extern "C" fn(c_int) -> c_int;
type Plain = unsafe extern "C" fn(c_int, *mut c_void, usize) -> isize;
type At = unsafe extern "C" fn(c_int, *mut c_void, usize, i64) -> isize;
type Vectored = unsafe extern "C" fn(c_int, *const IoVec, c_int) -> isize;
type VectoredAt = unsafe extern "C" fn(c_int, *const IoVec, c_int, i64) -> isize;
type Map = unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, c_int, i64) -> *mut c_void;

fn flush(fd: c_int, is_fdatasync: bool, real: Flush) -> c_int {
    disk().before_flush(fd, is_fdatasync);
    // A fault of flushes counts calls.
    match disk().allow(Operation::Flush, fd, 1) {
        Err(errno) => fail(errno) as c_int,
        // SAFETY: the caller's own argument.
        Ok(_) => unsafe { real(fd) },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    flush(fd, true, real!(c"fdatasync", Flush))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    flush(fd, false, real!(c"fsync", Flush))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    main: *const c_void,
    argument: *mut c_void,
) -> c_int {
    let is_on = |fault: &&Fault| fault.operation == Operation::Thread && Path::new(&fault.name).exists();
    if let Some(fault) = disk().faults.iter().find(is_on) {
        return fault.errno;
    }
    let real = real!(c"pthread_create", Thread);
    // SAFETY: the caller's own arguments.
    unsafe { real(thread, attributes, main, argument) }
}

fn open_file(real: Open, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller gives a string that ends with a zero byte.
    let fault = disk().fault_at(Operation::Open, unsafe { CStr::from_ptr(path) }.to_bytes());
    match fault.map_or(Ok(1), |fault| fault.allow(1)) {
        Err(errno) => fail(errno) as c_int,
        // SAFETY: the caller's own arguments; the C library ignores a mode that the caller did not give.
        Ok(_) => unsafe { real(path, flags, mode) },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    open_file(real!(c"open", Open), path, flags, mode)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    open_file(real!(c"open64", Open), path, flags, mode)
}

/// Delays a write, and says how many of its bytes succeed.
fn allow_write(fd: c_int, bytes: usize) -> Result<usize, c_int> {
    let fits = disk().allow(Operation::Write, fd, bytes)?;
    disk().before_write(fd, fits);
    Ok(fits)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, data: *mut c_void, bytes: usize) -> isize {
    let real = real!(c"write", Plain);
    match allow_write(fd, bytes) {
        Err(errno) => fail(errno),
        // SAFETY: the caller's own arguments, for no more bytes.
        Ok(fits) => unsafe { real(fd, data, fits) },
    }
}

fn write_at(real: At, fd: c_int, data: *mut c_void, bytes: usize, offset: i64) -> isize {
    match allow_write(fd, bytes) {
        Err(errno) => fail(errno),
        // SAFETY: the caller's own arguments, for no more bytes.
        Ok(fits) => unsafe { real(fd, data, fits, offset) },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(fd: c_int, data: *mut c_void, bytes: usize, offset: i64) -> isize {
    write_at(real!(c"pwrite", At), fd, data, bytes, offset)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(fd: c_int, data: *mut c_void, bytes: usize, offset: i64) -> isize {
    write_at(real!(c"pwrite64", At), fd, data, bytes, offset)
}

/// Delays a vectored write, which succeeds whole or fails.
///
/// # Safety
/// `count` pieces stand at `pieces`.
unsafe fn allow_vectored(fd: c_int, pieces: *const IoVec, count: c_int) -> Result<(), c_int> {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: as this function's own.
    let bytes = (0..count).map(|index| unsafe { (*pieces.add(index)).bytes }).sum();
    if disk().allow(Operation::Write, fd, bytes)? < bytes {
        let fault = disk().fault_of(Operation::Write, fd).expect("a write was cut by a fault");
        return Err(fault.errno);
    }
    disk().before_write(fd, bytes);
    Ok(())
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, pieces: *const IoVec, count: c_int) -> isize {
    let real = real!(c"writev", Vectored);
    // SAFETY: the caller's own arguments.
    match unsafe { allow_vectored(fd, pieces, count) } {
        Err(errno) => fail(errno),
        // SAFETY: the caller's own arguments.
        Ok(()) => unsafe { real(fd, pieces, count) },
    }
}

fn write_vectored_at(real: VectoredAt, fd: c_int, pieces: *const IoVec, count: c_int, offset: i64) -> isize {
    // SAFETY: the caller's own arguments.
    match unsafe { allow_vectored(fd, pieces, count) } {
        Err(errno) => fail(errno),
        // SAFETY: the caller's own arguments.
        Ok(()) => unsafe { real(fd, pieces, count, offset) },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev(fd: c_int, pieces: *const IoVec, count: c_int, offset: i64) -> isize {
    write_vectored_at(real!(c"pwritev", VectoredAt), fd, pieces, count, offset)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwritev64(fd: c_int, pieces: *const IoVec, count: c_int, offset: i64) -> isize {
    write_vectored_at(real!(c"pwritev64", VectoredAt), fd, pieces, count, offset)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, buffer: *mut c_void, bytes: usize) -> isize {
    let real = real!(c"read", Plain);
    match disk().allow(Operation::Read, fd, bytes) {
        Err(errno) => fail(errno),
        // SAFETY: the caller's own arguments, for no more bytes.
        Ok(fits) => unsafe { real(fd, buffer, fits) },
    }
}

fn read_at(real: At, fd: c_int, buffer: *mut c_void, bytes: usize, offset: i64) -> isize {
    match disk().allow(Operation::Read, fd, bytes) {
        Err(errno) => fail(errno),
        // SAFETY: the caller's own arguments, for no more bytes.
        Ok(fits) => unsafe { real(fd, buffer, fits, offset) },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread(fd: c_int, buffer: *mut c_void, bytes: usize, offset: i64) -> isize {
    read_at(real!(c"pread", At), fd, buffer, bytes, offset)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread64(fd: c_int, buffer: *mut c_void, bytes: usize, offset: i64) -> isize {
    read_at(real!(c"pread64", At), fd, buffer, bytes, offset)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(
    place: *mut c_void,
    bytes: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    map(real!(c"mmap", Map), place, bytes, protection, flags, fd, offset)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(
    place: *mut c_void,
    bytes: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    map(real!(c"mmap64", Map), place, bytes, protection, flags, fd, offset)
}

fn map(
    real: Map,
    place: *mut c_void,
    bytes: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    // A program maps memory without a file before it has an environment, so `disk` must not be asked then.
    let is_broken = fd >= 0 && disk().fault_of(Operation::Read, fd).is_some_and(|fault| fault.fails_at_once);
    let beyond = if is_broken { 1 << 40 } else { 0 };
    // SAFETY: the caller's own arguments, or an offset after the end of the file.
    unsafe { real(place, bytes, protection, flags, fd, offset + beyond) }
}

const _: () = assert!(size_of::<c_long>() == 8, "offsets have 64 bits");
