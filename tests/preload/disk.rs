//! A disk that is slow or fails, for one process: a library for `LD_PRELOAD`.
//!
//! `tests/it` builds it with `rustc --crate-type cdylib -O`; it needs no crate. It stands between a program and the C
//! library's calls, and does what the environment says:
//!
//! | variable | effect |
//! |---|---|
//! | `FAULTY_DISK_FLUSH_US` | each `fdatasync` and `fsync` of a regular file takes so many microseconds more |
//! | `FAULTY_DISK_FAULTS` | faults, separated by `;` |
//!
//! A fault is `operation name errno after`, for example `write /log. 28 3000000`. It concerns the files whose path
//! holds `name`. `write` gives `errno` once `after` bytes were written to them (what fits before is written, as a full
//! disk does), `read` once `after` bytes were read, `flush` once `after` flushes and `open` once `after` calls succeeded.
//! Where `read` fails from the first byte on, a mapping of the file is one of bytes after its end: touching them is a
//! SIGBUS, as below an error of a disk.
//!
//! `thread PATH errno 0` is a fault of another kind: as long as there is a file of that path, no thread is to be had.

#![allow(unsafe_code, missing_docs)]

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn __errno_location() -> *mut c_int;
}

/// The next library that has the symbol: the C library.
const RTLD_NEXT: *mut c_void = -1isize as *mut c_void;

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
    /// Bytes or calls until it happens.
    left: AtomicU64,
    is_at_once: bool,
}

struct Settings {
    flush: Duration,
    faults: Vec<Fault>,
}

fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let text = |name| std::env::var(name).unwrap_or_default();
        let flush_us = text("FAULTY_DISK_FLUSH_US").parse().unwrap_or(0);
        let faults = text("FAULTY_DISK_FAULTS");
        let faults = faults.split(';').filter(|fault| !fault.trim().is_empty()).map(fault).collect();
        Settings { flush: Duration::from_micros(flush_us), faults }
    })
}

fn fault(text: &str) -> Fault {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [operation, name, errno, after] = words[..] else { panic!("a fault has four words: {text}") };
    let operation = match operation {
        "write" => Operation::Write,
        "read" => Operation::Read,
        "flush" => Operation::Flush,
        "open" => Operation::Open,
        "thread" => Operation::Thread,
        other => panic!("there is no operation {other}: {text}"),
    };
    let number = |word: &str| -> u64 { word.parse().unwrap_or_else(|_| panic!("{word} is no number: {text}")) };
    let after = number(after);
    Fault {
        operation,
        name: name.to_owned(),
        errno: number(errno) as c_int,
        left: AtomicU64::new(after),
        is_at_once: after == 0,
    }
}

/// The fault that concerns the file of this path, if any.
fn fault_at(operation: Operation, path: impl FnOnce() -> Option<String>) -> Option<&'static Fault> {
    let mut faults = settings().faults.iter().filter(|fault| fault.operation == operation).peekable();
    faults.peek()?;
    let path = path()?;
    faults.find(|fault| path.contains(&fault.name))
}

/// The fault that concerns this open file, if any.
fn fault_of(operation: Operation, fd: c_int) -> Option<&'static Fault> {
    let path = || std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
    fault_at(operation, || path().map(|path| path.to_string_lossy().into_owned()))
}

/// How many of `want` bytes, or calls, go through; an error where none does.
fn allow(operation: Operation, fd: c_int, want: usize) -> Result<usize, c_int> {
    pass(fault_of(operation, fd), want)
}

fn pass(fault: Option<&Fault>, want: usize) -> Result<usize, c_int> {
    let Some(fault) = fault else { return Ok(want) };
    let before = fault
        .left
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(want as u64)))
        .unwrap_or_default();
    // What is written past the page cache comes in blocks.
    match if before >= want as u64 { want } else { before as usize / 4096 * 4096 } {
        0 if want > 0 => Err(fault.errno),
        fits => Ok(fits),
    }
}

fn fail(errno: c_int) -> isize {
    // SAFETY: it points to this thread's.
    unsafe { *__errno_location() = errno };
    -1
}

/// The C library's own function of this name.
macro_rules! real {
    ($name:literal, $type:ty) => {{
        static REAL: OnceLock<usize> = OnceLock::new();
        // SAFETY: the C library has it, and it has this type.
        unsafe {
            let at = *REAL.get_or_init(|| dlsym(RTLD_NEXT, $name.as_ptr()) as usize);
            assert!(at != 0, "the C library lacks a function");
            std::mem::transmute::<usize, $type>(at)
        }
    }};
}

type Thread = unsafe extern "C" fn(*mut c_void, *const c_void, *const c_void, *mut c_void) -> c_int;
type Open = unsafe extern "C" fn(*const c_char, c_int, c_uint) -> c_int;
type Flush = unsafe extern "C" fn(c_int) -> c_int;
type Plain = unsafe extern "C" fn(c_int, *mut c_void, usize) -> isize;
type At = unsafe extern "C" fn(c_int, *mut c_void, usize, i64) -> isize;
type Map = unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, c_int, i64) -> *mut c_void;

fn flush(fd: c_int, real: Flush) -> c_int {
    let delay = settings().flush;
    if !delay.is_zero() {
        std::thread::sleep(delay);
    }
    match allow(Operation::Flush, fd, 1) {
        // A fault counts calls here, not blocks.
        Err(errno) => fail(errno) as c_int,
        // SAFETY: as it was called.
        Ok(_) => unsafe { real(fd) },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    flush(fd, real!(c"fdatasync", Flush))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    flush(fd, real!(c"fsync", Flush))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_create(
    thread: *mut c_void,
    attributes: *const c_void,
    main: *const c_void,
    argument: *mut c_void,
) -> c_int {
    let is_here = |fault: &&Fault| fault.operation == Operation::Thread && Path::new(&fault.name).exists();
    if let Some(fault) = settings().faults.iter().find(is_here) {
        return fault.errno;
    }
    let real = real!(c"pthread_create", Thread);
    // SAFETY: as it was called.
    unsafe { real(thread, attributes, main, argument) }
}

fn open_file(real: Open, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: a path that is opened is a string.
    let text = || unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned();
    match pass(fault_at(Operation::Open, || Some(text())), 1) {
        Err(errno) => fail(errno) as c_int,
        // SAFETY: as it was called; a mode that was not given is not looked at.
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

fn plain(operation: Operation, real: Plain, fd: c_int, buffer: *mut c_void, bytes: usize) -> isize {
    match allow(operation, fd, bytes) {
        Err(errno) => fail(errno),
        // SAFETY: as it was called, for no more bytes.
        Ok(bytes) => unsafe { real(fd, buffer, bytes) },
    }
}

fn at(operation: Operation, real: At, fd: c_int, buffer: *mut c_void, bytes: usize, offset: i64) -> isize {
    match allow(operation, fd, bytes) {
        Err(errno) => fail(errno),
        // SAFETY: as it was called, for no more bytes.
        Ok(bytes) => unsafe { real(fd, buffer, bytes, offset) },
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buffer: *mut c_void, bytes: usize) -> isize {
    plain(Operation::Write, real!(c"write", Plain), fd, buffer, bytes)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(fd: c_int, buffer: *mut c_void, bytes: usize, offset: i64) -> isize {
    at(Operation::Write, real!(c"pwrite", At), fd, buffer, bytes, offset)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(fd: c_int, buffer: *mut c_void, bytes: usize, offset: i64) -> isize {
    at(Operation::Write, real!(c"pwrite64", At), fd, buffer, bytes, offset)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn read(fd: c_int, buffer: *mut c_void, bytes: usize) -> isize {
    plain(Operation::Read, real!(c"read", Plain), fd, buffer, bytes)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread(fd: c_int, buffer: *mut c_void, bytes: usize, offset: i64) -> isize {
    at(Operation::Read, real!(c"pread", At), fd, buffer, bytes, offset)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread64(fd: c_int, buffer: *mut c_void, bytes: usize, offset: i64) -> isize {
    at(Operation::Read, real!(c"pread64", At), fd, buffer, bytes, offset)
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
    // Memory without a file is asked for before there is an environment to read.
    let is_broken = fd >= 0 && fault_of(Operation::Read, fd).is_some_and(|fault| fault.is_at_once);
    let behind = if is_broken { 1 << 40 } else { 0 };
    // SAFETY: as it was called, or of bytes that no file has.
    unsafe { real(place, bytes, protection, flags, fd, offset + behind) }
}

const _: () = assert!(size_of::<c_long>() == 8, "offsets have 64 bits");
