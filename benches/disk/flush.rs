//! Ways to make one group of the log durable.
//!
//! Each way overwrites blocks of a file that were written before, past the page cache, as the log does, and waits until
//! they are durable. CPU times and context switches are those of one flush.

use super::{ALIGNMENT, Settings, context_switches, cpu_time, kernel_threads_time, percentiles};
use io_uring::{IoUring, opcode, squeue, types};
use rustix::io::{IoSlice, ReadWriteFlags, pwritev2};
use rustix::time::ClockId;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Groups of one client, of 32 that wait for each reply, and of 64 with 16 requests each in flight (half and all of
/// them in one group).
const SIZES: [usize; 4] = [4 << 10, 8 << 10, 64 << 10, 128 << 10];

/// Length of the file, which is written from its start to its end again and again.
const FILE_BYTES: usize = 16 << 20;

/// `RWF_DSYNC` of `linux/fs.h`.
const RWF_DSYNC: i32 = 2;

/// Compares them over a file at `path`.
pub fn run(settings: &Settings, path: &Path) -> io::Result<()> {
    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let mut options = OpenOptions::new();
    let file = options.create_new(true).write(true).custom_flags(direct).open(path)?;
    let mut memory = vec![0; SIZES[SIZES.len() - 1] + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let bytes = &mut memory[start..][..SIZES[SIZES.len() - 1]];
    for offset in (0..FILE_BYTES).step_by(bytes.len()) {
        file.write_all_at(bytes, offset as u64)?;
    }
    file.sync_all()?;
    // Nothing needs its name.
    fs::remove_file(path)?;
    bytes.iter_mut().zip(0_u32..).for_each(|(byte, number)| *byte = (number % 251) as u8);
    let mut ring = match Ring::new(&file, bytes) {
        Ok(ring) => Some(ring),
        Err(error) => {
            eprintln!("without a ring, which is refused: {error}");
            None
        }
    };
    for round in 0..settings.rounds {
        for size in SIZES {
            // Each round begins with another way, so that none always follows the same one.
            for turn in 0..WAYS.len() {
                let (name, way) = WAYS[(turn + round) % WAYS.len()];
                if ring.is_none() && !matches!(way, Way::Plain | Way::PlainDsync) {
                    continue;
                }
                let measured = measure(settings.flushes, |offset| {
                    way.flush(&file, ring.as_mut(), &bytes[..size], (offset * size % FILE_BYTES) as u64)
                })?;
                println!(
                    "{{\"what\":\"flush\",\"bytes\":{size},\"way\":\"{name}\",\"round\":{round},{measured}}}"
                );
            }
        }
    }
    Ok(())
}

/// Does `flush` so many times, and renders what it took.
fn measure(flushes: usize, mut flush: impl FnMut(usize) -> io::Result<()>) -> io::Result<String> {
    // The first ones pay for what the way before left in caches.
    for number in 0..flushes / 10 {
        flush(number)?;
    }
    let mut times = Vec::with_capacity(flushes);
    let (cpu, kernel, switches) =
        (cpu_time(ClockId::ProcessCPUTime), kernel_threads_time(), context_switches());
    for number in 0..flushes {
        let started = Instant::now();
        flush(number)?;
        times.push(started.elapsed());
    }
    let (cpu, switches) = (cpu_time(ClockId::ProcessCPUTime) - cpu, context_switches() - switches);
    let kernel = kernel_threads_time().saturating_sub(kernel);
    let each_us = |time: Duration| time.as_nanos() as f64 / 1000.0 / flushes as f64;
    let (cpu, kernel, switches) = (each_us(cpu), each_us(kernel), switches as f64 / flushes as f64);
    let times = percentiles(times);
    Ok(format!("{times},\"cpu_us\":{cpu:.1},\"kernel_us\":{kernel:.1},\"switches\":{switches:.2}"))
}

/// How a group becomes durable.
#[derive(Clone, Copy)]
enum Way {
    /// pwrite, fdatasync: as the log does it.
    Plain,
    /// pwritev2 with `RWF_DSYNC`.
    PlainDsync,
    /// On the ring: a write, and an fdatasync that is linked to it.
    Linked,
    /// On the ring: a write with `RWF_DSYNC`.
    RingDsync,
    /// As `Linked`, of a registered buffer and file.
    LinkedFixed,
    /// As `RingDsync`, of a registered buffer and file.
    RingDsyncFixed,
}

const WAYS: [(&str, Way); 6] = [
    ("pwrite+fdatasync", Way::Plain),
    ("pwritev2(DSYNC)", Way::PlainDsync),
    ("ring:write>fdatasync", Way::Linked),
    ("ring:write(DSYNC)", Way::RingDsync),
    ("ring:fixed:write>fdatasync", Way::LinkedFixed),
    ("ring:fixed:write(DSYNC)", Way::RingDsyncFixed),
];

impl Way {
    fn flush(self, file: &File, ring: Option<&mut Ring>, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (address, length) = (bytes.as_ptr(), bytes.len() as u32);
        let (plain, fixed) = (types::Fd(file.as_raw_fd()), types::Fixed(0));
        let entries: &[squeue::Entry] = match self {
            Self::Plain => {
                file.write_all_at(bytes, offset)?;
                return file.sync_data();
            }
            Self::PlainDsync => {
                let written = pwritev2(file, &[IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC)?;
                assert_eq!(written, bytes.len(), "a short write");
                return Ok(());
            }
            Self::Linked => &[
                opcode::Write::new(plain, address, length)
                    .offset(offset)
                    .build()
                    .flags(squeue::Flags::IO_LINK),
                opcode::Fsync::new(plain).flags(types::FsyncFlags::DATASYNC).build(),
            ],
            Self::RingDsync => {
                &[opcode::Write::new(plain, address, length).offset(offset).rw_flags(RWF_DSYNC).build()]
            }
            Self::LinkedFixed => &[
                opcode::WriteFixed::new(fixed, address, length, 0)
                    .offset(offset)
                    .build()
                    .flags(squeue::Flags::IO_LINK),
                opcode::Fsync::new(fixed).flags(types::FsyncFlags::DATASYNC).build(),
            ],
            Self::RingDsyncFixed => &[opcode::WriteFixed::new(fixed, address, length, 0)
                .offset(offset)
                .rw_flags(RWF_DSYNC)
                .build()],
        };
        ring.expect("a ring").run(entries, bytes.len())
    }
}

/// A ring as the server's threads have it.
struct Ring(IoUring);

impl Ring {
    fn new(file: &File, bytes: &mut [u8]) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun();
        let ring = builder.build(8)?;
        ring.submitter().register_files(&[file.as_raw_fd()])?;
        let buffers = [IoSliceMut::new(bytes)];
        // SAFETY: an `IoSliceMut` is laid out as an `iovec` is, and the memory outlives the ring.
        #[allow(unsafe_code, reason = "io_uring")]
        unsafe {
            ring.submitter()
                .register_buffers(std::slice::from_raw_parts(buffers.as_ptr().cast(), buffers.len()))?;
        }
        Ok(Self(ring))
    }

    /// Submits `entries` and waits for all of them, in one system call.
    fn run(&mut self, entries: &[squeue::Entry], bytes: usize) -> io::Result<()> {
        // SAFETY: memory and file of each entry outlive this function, which returns after the last completion.
        #[allow(unsafe_code, reason = "io_uring")]
        unsafe {
            self.0.submission().push_multiple(entries).expect("room for all");
        }
        self.0.submit_and_wait(entries.len())?;
        let mut results = self.0.completion();
        for number in 0..entries.len() {
            let result = results.next().expect("all are complete").result();
            if result < 0 {
                return Err(io::Error::from_raw_os_error(-result));
            }
            assert_eq!(result as usize, if number == 0 { bytes } else { 0 }, "a short write");
        }
        Ok(())
    }
}
