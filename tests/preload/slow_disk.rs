//! A disk that is slower than it is: a library for `LD_PRELOAD`, which works for a JVM as it does for zkfast.
//!
//! ```text
//! rustc -O --edition 2024 --crate-type cdylib -C panic=abort -o libslow_disk.so tests/preload/slow_disk.rs
//! SLOW_DISK_DIR=/data/zk SLOW_DISK_CONTROL=/run/control LD_PRELOAD=./libslow_disk.so zkfast zoo.cfg
//! ```
//!
//! Writes to files below `SLOW_DISK_DIR` share `bytes_per_s` of the process, and each flush of such a file
//! (`fsync`, `fdatasync`) takes `flush_us` more. Both stand in the file `SLOW_DISK_CONTROL`, which the library
//! maps: a test that writes other numbers into it changes a disk in use. Four numbers of 64 bits, least byte
//! first: `bytes_per_s`, `flush_us` (0 each: as the disk is), and what the library adds up: flushes, bytes written.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

const CONTROL_BYTES: usize = 32;
const RTLD_NEXT: *mut c_void = -1isize as *mut c_void;
const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;
/// A sleep lasts some 60 microseconds longer than it is told: many small writes sleep once together.
const DEBT_MAX: Duration = Duration::from_millis(5);

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    fn readlink(path: *const c_char, buffer: *mut c_char, bytes: usize) -> isize;
    fn mmap(
        at: *mut c_void,
        bytes: usize,
        prot: c_int,
        flags: c_int,
        fd: c_int,
        offset: c_long,
    ) -> *mut c_void;
}

/// One piece of a `writev`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IoVec {
    base: *const c_void,
    bytes: usize,
}

struct Disk {
    directory: Vec<u8>,
    control: &'static [AtomicU64; 4],
    /// When everything is written that has been accepted.
    free: Mutex<Option<Instant>>,
}

fn disk() -> Option<&'static Disk> {
    static DISK: OnceLock<Option<Disk>> = OnceLock::new();
    DISK.get_or_init(|| {
        use std::os::fd::AsRawFd;
        let directory = std::env::var_os("SLOW_DISK_DIR")?;
        let path = std::env::var_os("SLOW_DISK_CONTROL")?;
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).ok()?;
        if file.metadata().ok()?.len() < CONTROL_BYTES as u64 {
            return None;
        }
        // SAFETY: a new mapping of a file that is long enough; it is never unmapped, and only read and written as
        // atomic numbers.
        let control = unsafe {
            let at =
                mmap(std::ptr::null_mut(), CONTROL_BYTES, PROT_READ_WRITE, MAP_SHARED, file.as_raw_fd(), 0);
            if at as isize == -1 {
                return None;
            }
            &*at.cast::<[AtomicU64; 4]>()
        };
        Some(Disk { directory: directory.as_bytes().to_vec(), control, free: Mutex::new(None) })
    })
    .as_ref()
}

impl Disk {
    fn holds(&self, fd: c_int) -> bool {
        let mut link = [0u8; 40];
        let digits = format_number(fd, &mut link);
        let mut target = [0u8; 4096];
        // SAFETY: `link` ends with a zero byte behind its digits, `target` is as long as is said.
        let bytes = unsafe { readlink(digits, target.as_mut_ptr().cast(), target.len()) };
        let Ok(bytes) = usize::try_from(bytes) else { return false };
        target[..bytes].strip_prefix(&*self.directory).is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    fn before_write(&self, bytes: usize) {
        self.control[3].fetch_add(bytes as u64, Relaxed);
        let rate = self.control[0].load(Relaxed);
        if rate == 0 {
            return;
        }
        let now = Instant::now();
        let until = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let until =
                free.map_or(now, |free| free.max(now)) + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *free = Some(until);
            until
        };
        let wait = until - now;
        if wait > DEBT_MAX {
            std::thread::sleep(wait);
        }
    }

    fn before_flush(&self) {
        self.control[2].fetch_add(1, Relaxed);
        std::thread::sleep(Duration::from_micros(self.control[1].load(Relaxed)));
    }
}

/// Writes `/proc/self/fd/FD` and a zero byte without memory of the heap: a caller may hold the allocator's lock.
fn format_number(fd: c_int, into: &mut [u8; 40]) -> *const c_char {
    const BEGIN: &[u8] = b"/proc/self/fd/";
    into[..BEGIN.len()].copy_from_slice(BEGIN);
    let mut digits = [0u8; 12];
    let (mut at, mut rest) = (digits.len(), fd.max(0));
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    into[BEGIN.len()..][..digits.len() - at].copy_from_slice(&digits[at..]);
    into.as_ptr().cast()
}

fn written(fd: c_int, bytes: usize) {
    if let Some(disk) = disk()
        && disk.holds(fd)
    {
        disk.before_write(bytes);
    }
}

fn flushed(fd: c_int) {
    if let Some(disk) = disk()
        && disk.holds(fd)
    {
        disk.before_flush();
    }
}

/// The function of that name of the library after this one, libc.
fn next(name: &CStr, cache: &AtomicU64) -> u64 {
    let found = cache.load(Relaxed);
    if found != 0 {
        return found;
    }
    // SAFETY: `name` ends with a zero byte.
    let found = unsafe { dlsym(RTLD_NEXT, name.as_ptr()) } as u64;
    assert!(found != 0, "{name:?} is not in libc");
    cache.store(found, Relaxed);
    found
}

macro_rules! before {
    ($($name:literal $function:ident($fd:ident $(, $argument:ident: $kind:ty)*) -> $result:ty { $first:expr })*) => {$(
        /// As libc's, which it calls, after the wait.
        ///
        /// # Safety
        ///
        /// As libc's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $function($fd: c_int $(, $argument: $kind)*) -> $result {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            $first;
            // SAFETY: libc's function of the same name has the same type, and gets what the caller gave.
            unsafe {
                let next: unsafe extern "C" fn(c_int $(, $kind)*) -> $result =
                    std::mem::transmute(next($name, &NEXT));
                next($fd $(, $argument)*)
            }
        }
    )*};
}

fn sum(pieces: *const IoVec, count: c_int) -> usize {
    // SAFETY: the caller of `writev` and its like says that `count` pieces stand there.
    (0..usize::try_from(count).unwrap_or(0)).map(|at| unsafe { (*pieces.add(at)).bytes }).sum()
}

before! {
    c"write" write(fd, data: *const c_void, bytes: usize) -> isize { written(fd, bytes) }
    c"pwrite" pwrite(fd, data: *const c_void, bytes: usize, offset: c_long) -> isize { written(fd, bytes) }
    c"pwrite64" pwrite64(fd, data: *const c_void, bytes: usize, offset: c_long) -> isize { written(fd, bytes) }
    c"writev" writev(fd, pieces: *const IoVec, count: c_int) -> isize { written(fd, sum(pieces, count)) }
    c"pwritev" pwritev(fd, pieces: *const IoVec, count: c_int, offset: c_long) -> isize { written(fd, sum(pieces, count)) }
    c"pwritev64" pwritev64(fd, pieces: *const IoVec, count: c_int, offset: c_long) -> isize { written(fd, sum(pieces, count)) }
    c"fsync" fsync(fd) -> c_int { flushed(fd) }
    c"fdatasync" fdatasync(fd) -> c_int { flushed(fd) }
}
