//! The buffers that one ring receives into.
//!
//! The kernel takes a buffer when bytes arrive, and not before: connections that wait for a request hold none. Source:
//! `io_uring_register_buf_ring(3)`.

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use memmap2::MmapMut;
use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

/// Buffers of a ring; a power of two.
const COUNT: u16 = 256;

/// Bytes of each: 2 MiB for a ring.
pub const BYTES: usize = 8 << 10;

/// The number by which requests name these buffers.
pub const GROUP: u16 = 0;

/// Buffers that the kernel fills, and lends back one at a time.
pub struct Buffers {
    /// The entries that the kernel reads; the first one's last field is the tail.
    entries: RefCell<MmapMut>,
    bytes: MmapMut,
    tail: Cell<u16>,
    /// Buffers that are with the kernel.
    free: Cell<u16>,
}

impl Buffers {
    /// Gives all buffers to `ring`.
    ///
    /// # Errors
    /// The kernel is older than 5.19, or has no memory.
    pub fn register(ring: &IoUring) -> io::Result<Self> {
        let entries = MmapMut::map_anon(usize::from(COUNT) * size_of::<BufRingEntry>())?;
        let bytes = MmapMut::map_anon(usize::from(COUNT) * BYTES)?;
        let buffers = Self { entries: RefCell::new(entries), bytes, tail: Cell::new(0), free: Cell::new(0) };
        let base = buffers.entries.borrow_mut().as_mut_ptr();
        // SAFETY: `base` is a mapping, so on a page's start, of `COUNT` zeroed entries. It lives in the reactor, which is
        // dropped after the ring and after every request has ended.
        #[allow(unsafe_code)]
        unsafe {
            ring.submitter().register_buf_ring_with_flags(base as u64, COUNT, GROUP, 0)?;
        }
        for number in 0..COUNT {
            buffers.give_back(number);
        }
        Ok(buffers)
    }

    /// True if the kernel has no buffer left.
    pub fn are_used_up(&self) -> bool {
        self.free.get() == 0
    }

    /// The kernel has put bytes into buffer `number`, which is the caller's now.
    pub fn take(&self, number: u16) {
        assert!(
            number < COUNT && self.free.get() > 0,
            "the kernel gives buffer {number}, which it does not have"
        );
        self.free.set(self.free.get() - 1);
    }

    /// The bytes from `start` to `end` of a buffer that the caller has.
    pub fn bytes(&self, number: u16, start: usize, end: usize) -> &[u8] {
        assert!(end <= BYTES, "{end} bytes in a buffer of {BYTES}");
        let begin = usize::from(number) * BYTES;
        &self.bytes[begin + start..begin + end]
    }

    /// Gives a buffer to the kernel.
    pub fn give_back(&self, number: u16) {
        assert!(self.free.get() < COUNT, "buffer {number} is given back twice");
        let (tail, address) =
            (self.tail.get(), self.bytes.as_ptr() as u64 + u64::from(number) * BYTES as u64);
        let mut entries = self.entries.borrow_mut();
        let base: *mut BufRingEntry = entries.as_mut_ptr().cast();
        // SAFETY: the mapping has `COUNT` entries, and the index is below that. The kernel reads an entry only once the
        // tail, which is stored last, is beyond it. The tail shares the first entry with fields that are not touched.
        #[allow(unsafe_code)]
        unsafe {
            let entry = &mut *base.add(usize::from(tail & (COUNT - 1)));
            entry.set_addr(address);
            entry.set_len(BYTES as u32);
            entry.set_bid(number);
            let shared = AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut());
            shared.store(tail.wrapping_add(1), Ordering::Release);
        }
        self.tail.set(tail.wrapping_add(1));
        self.free.set(self.free.get() + 1);
    }
}
