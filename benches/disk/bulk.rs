//! Ways to write a snapshot beside a log.
//!
//! A thread flushes 4 KiB, past the page cache, two thousand times a second, as a log does. Meanwhile another one writes a
//! file: it flushes each piece and rests as long as that took, as the server does, or (`unpaced`) flushes once, at the end.
//! The percentiles are the log's; CPU times are those of the whole file; `cached_bytes` are in the page cache afterwards.

use super::{ALIGNMENT, Settings, cpu_time, kernel_threads_time, percentiles};
use glommio::io::{DmaStreamWriterBuilder, OpenOptions as DmaOptions};
use glommio::{LocalExecutorBuilder, Placement};
use rustix::fs::{Advice, OFlags, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use rustix::time::ClockId;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that are written, and flushed, at once.
const PIECE_BYTES: usize = 256 << 10;

/// The log's file, which is overwritten again and again.
const LOG_BYTES: usize = 16 << 20;

/// Between two flushes of the log.
const LOG_PAUSE: Duration = Duration::from_micros(500);

/// How long the log is watched without a snapshot.
const ALONE: Duration = Duration::from_secs(2);

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Not at all.
    None,
    /// Through the page cache.
    Buffered,
    /// Through the page cache, out of which each piece is taken once it is flushed.
    Dropped,
    /// Past the page cache, by pwrite.
    Direct,
    /// Past the page cache, through glommio on an executor of its own.
    Glommio,
    /// By pwrite past the page cache, without rests.
    DirectUnpaced,
    /// Through glommio's stream with writes behind, without rests.
    GlommioUnpaced,
}

const WAYS: [(&str, Way); 7] = [
    ("none", Way::None),
    ("buffered", Way::Buffered),
    ("buffered, DONTNEED", Way::Dropped),
    ("direct", Way::Direct),
    ("glommio", Way::Glommio),
    ("direct, unpaced", Way::DirectUnpaced),
    ("glommio stream, unpaced", Way::GlommioUnpaced),
];

/// Compares them, over files at `path` and beside it.
pub fn run(settings: &Settings, path: &Path) -> io::Result<()> {
    let log = log_file(&path.with_extension("log"))?;
    let pieces = settings.mib * (1 << 20) / PIECE_BYTES;
    for round in 0..settings.rounds {
        for turn in 0..WAYS.len() {
            let (name, way) = WAYS[(turn + round) % WAYS.len()];
            let written = measure(way, &log, path, pieces);
            let _ = fs::remove_file(path);
            println!(
                "{{\"what\":\"bulk\",\"way\":\"{name}\",\"round\":{round},\"mib\":{},{}}}",
                settings.mib, written?
            );
        }
    }
    Ok(())
}

/// A file whose blocks were written once; its name is gone.
fn log_file(path: &Path) -> io::Result<File> {
    let direct = OFlags::DIRECT.bits().cast_signed();
    let file = OpenOptions::new().create_new(true).write(true).custom_flags(direct).open(path)?;
    fs::remove_file(path)?;
    let piece = Memory::new();
    for offset in (0..LOG_BYTES).step_by(PIECE_BYTES) {
        file.write_all_at(piece.bytes(), offset as u64)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// A piece where a disk can be written from.
struct Memory(Vec<u8>);

impl Memory {
    fn new() -> Self {
        Self(vec![7; PIECE_BYTES + ALIGNMENT])
    }

    fn bytes(&self) -> &[u8] {
        &self.0[self.0.as_ptr().align_offset(ALIGNMENT)..][..PIECE_BYTES]
    }
}

/// Writes the file beside the log, and renders what it took and how the log fared.
fn measure(way: Way, log: &File, path: &Path, pieces: usize) -> io::Result<String> {
    let ends = AtomicBool::new(false);
    let kernel = kernel_threads_time();
    let (cpu, started) = (cpu_time(ClockId::ProcessCPUTime), Instant::now());
    let (flushed, took) = thread::scope(|scope| {
        let log = scope.spawn(|| flush_log(log, &ends));
        let written = match way {
            Way::None => {
                thread::sleep(if pieces < 100 { LOG_PAUSE } else { ALONE });
                Ok(())
            }
            Way::Glommio | Way::GlommioUnpaced => write_glommio(way, path, pieces),
            way => write_plain(way, path, pieces),
        };
        let took = written.map(|()| started.elapsed());
        ends.store(true, Ordering::Relaxed);
        (log.join().expect("no panic"), took)
    });
    let (times, log_cpu) = flushed?;
    let cpu = (cpu_time(ClockId::ProcessCPUTime) - cpu).saturating_sub(log_cpu);
    let kernel = kernel_threads_time().saturating_sub(kernel);
    let cached = if way == Way::None { 0 } else { cached_bytes(path)? };
    Ok(format!(
        "\"took_ms\":{},\"cpu_ms\":{:.1},\"kernel_ms\":{:.1},\"cached_bytes\":{cached},{}",
        took?.as_millis(),
        cpu.as_secs_f64() * 1e3,
        kernel.as_secs_f64() * 1e3,
        percentiles(times)
    ))
}

/// Flushes until `ends`; returns how long each flush took, and the thread's CPU time.
fn flush_log(log: &File, ends: &AtomicBool) -> io::Result<(Vec<Duration>, Duration)> {
    let memory = Memory::new();
    let (mut times, mut offset) = (Vec::new(), 0);
    while !ends.load(Ordering::Relaxed) || times.is_empty() {
        let started = Instant::now();
        log.write_all_at(&memory.bytes()[..ALIGNMENT], offset as u64)?;
        log.sync_data()?;
        times.push(started.elapsed());
        offset = (offset + ALIGNMENT) % LOG_BYTES;
        thread::sleep(LOG_PAUSE.saturating_sub(started.elapsed()));
    }
    Ok((times, cpu_time(ClockId::ThreadCPUTime)))
}

fn write_plain(way: Way, path: &Path, pieces: usize) -> io::Result<()> {
    let is_direct = matches!(way, Way::Direct | Way::DirectUnpaced);
    let flags = if is_direct { OFlags::DIRECT.bits().cast_signed() } else { 0 };
    let file = OpenOptions::new().create_new(true).write(true).custom_flags(flags).open(path)?;
    let memory = Memory::new();
    for number in 0..pieces {
        let started = Instant::now();
        file.write_all_at(memory.bytes(), (number * PIECE_BYTES) as u64)?;
        if way == Way::DirectUnpaced {
            continue;
        }
        file.sync_data()?;
        if way == Way::Dropped {
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        thread::sleep(started.elapsed());
    }
    file.sync_all()
}

/// The pieces are made on the executor: handing them over from another thread would cost more.
fn write_glommio(way: Way, path: &Path, pieces: usize) -> io::Result<()> {
    let path = path.to_owned();
    let builder = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(64 << 10)
        .ring_depth(128)
        .preempt_timer(Duration::from_secs(3600));
    let executor = builder.spawn(move || async move {
        // An executor of glommio may sleep although a task could run: the ticks wake it.
        let ticks = glommio::spawn_local(async {
            loop {
                glommio::timer::sleep(Duration::from_millis(10)).await;
            }
        });
        let file = DmaOptions::new().create_new(true).write(true).dma_open(&path).await?;
        let memory = Memory::new();
        if way == Way::GlommioUnpaced {
            use futures_lite::AsyncWriteExt;
            let mut stream = DmaStreamWriterBuilder::new(file).with_buffer_size(PIECE_BYTES).build();
            for _ in 0..pieces {
                stream.write_all(memory.bytes()).await?;
            }
            stream.close().await?;
        } else {
            for number in 0..pieces {
                let started = Instant::now();
                let mut buffer = file.alloc_dma_buffer(PIECE_BYTES);
                buffer.as_bytes_mut().copy_from_slice(memory.bytes());
                let written = file.write_at(buffer, (number * PIECE_BYTES) as u64).await?;
                assert_eq!(written, PIECE_BYTES, "a short write");
                file.fdatasync().await?;
                glommio::timer::sleep(started.elapsed()).await;
            }
            file.fdatasync().await?;
            file.close().await?;
        }
        ticks.cancel().await;
        Ok(())
    });
    executor?.join().unwrap_or_else(|error| Err(io::Error::from(error)))
}

/// Bytes of the file that can be read without a disk.
fn cached_bytes(path: &Path) -> io::Result<usize> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    // A page that is asked for is read, so each is asked for once, and none is read ahead.
    fadvise(&file, 0, None, Advice::Random)?;
    let is_cached = |offset: &u64| {
        preadv2(&file, &mut [IoSliceMut::new(&mut [0])], *offset, ReadWriteFlags::NOWAIT).is_ok()
    };
    Ok((0..length).step_by(ALIGNMENT).filter(is_cached).count() * ALIGNMENT)
}
