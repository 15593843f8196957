//! Scratch memory that a thread keeps between calls, and a pointer that tasks with disjoint outputs share.

use std::cell::RefCell;
use std::marker::PhantomData;

/// Floats per cache line: scratch starts on one, so that full-width loads do not straddle two.
const LINE: usize = 16;

/// Most floats that a thread keeps in one piece: 64 MiB.
const MOST: usize = 16 << 20;

thread_local! {
    static KEPT: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with `length` floats, aligned to a cache line, whose contents are unspecified.
///
/// The memory is taken out of the thread's keeping while `work` runs, so a nested call (also one stolen by rayon) gets its own.
pub(crate) fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut memory = KEPT.with_borrow_mut(Vec::pop).unwrap_or_default();
    if memory.len() < length + LINE {
        memory = vec![0.0; length + LINE];
    }
    let start = memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
    let result = work(&mut memory[start..start + length]);
    if memory.len() <= MOST {
        KEPT.with_borrow_mut(|kept| kept.push(memory));
    }
    result
}

/// A mutable slice that parallel tasks write disjoint pieces of.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    length: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: the slice is borrowed mutably for 'a, and `slice` puts the duty of disjointness on its caller.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), lifetime: PhantomData }
    }

    /// The piece `start..start + length`, checked against the bounds.
    ///
    /// # Safety
    ///
    /// No other reference to any element of the piece may live at the same time.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's duty, as documented")]
    pub(crate) unsafe fn slice(&self, start: usize, length: usize) -> &'a mut [T] {
        assert!(
            start <= self.length && length <= self.length - start,
            "piece {start}+{length} of a slice of {}",
            self.length
        );
        // SAFETY: in bounds by the assertion; unaliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }

    /// A pointer to element `index`, for a strided piece that runs up to `end` at most.
    pub(crate) fn pointer(&self, index: usize, end: usize) -> *mut T {
        assert!(index <= end && end <= self.length, "piece {index}..{end} of a slice of {}", self.length);
        // SAFETY: in bounds by the assertion.
        unsafe { self.start.add(index) }
    }
}
