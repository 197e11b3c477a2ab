//! Asking for memory ahead of its use. Only hints: any address will do, and nothing is read.
//!
//! For places where one load tells where the next is, and that one is known by other means already.
//!
//! Contract of the unsafe code: the instruction does not fault and changes no state that a program sees.

#![cfg_attr(
    all(prefetch_x86, not(miri)),
    expect(
        unsafe_code,
        reason = "the instruction has no safe name; measured in docs/benchmarks/journal.md"
    )
)]

const LINE_BYTES: usize = 64;

/// What no processor's own prefetching crosses.
const PAGE_BYTES: usize = 4 << 10;

/// Pages of one run that are asked for: those behind would be forgotten before they are read.
const PAGES_MAX: usize = 16;

/// Asks for a cache line that is soon read.
#[inline]
pub(crate) fn fetch<T>(place: *const T) {
    #[cfg(all(prefetch_x86, not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint; it reads nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }
    #[cfg(not(all(prefetch_x86, not(miri))))]
    let _ = place;
}

/// Asks for the first lines of a long run of `bytes` that is soon read from front to back: one of each page, where the processor's own
/// prefetching begins anew. Not into the first cache: there they are in the way of what is read meanwhile.
#[inline]
pub(crate) fn fetch_pages(bytes: &[u8]) {
    for page in bytes.chunks(PAGE_BYTES).take(PAGES_MAX) {
        #[cfg(all(prefetch_x86, not(miri)))]
        {
            use std::arch::x86_64::{_MM_HINT_T2, _mm_prefetch};
            // SAFETY: a hint; it reads nothing, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T2>(page.as_ptr().cast()) };
        }
        #[cfg(not(all(prefetch_x86, not(miri))))]
        let _ = page;
    }
}

/// Asks for the lines of `bytes` from `start` on, at most `lines` of them.
#[inline]
pub(crate) fn fetch_lines(start: *const u8, bytes: usize, lines: usize) {
    for line in 0..bytes.div_ceil(LINE_BYTES).min(lines) {
        fetch(start.wrapping_add(line.wrapping_mul(LINE_BYTES)));
    }
}

/// Lines at the front of a block that a scan reads before the next ones can be asked for.
const FRONT_LINES: usize = 8;

/// Asks for the front of the block at `start`.
#[inline]
pub(crate) fn fetch_front(start: *const u8) {
    fetch_lines(start, usize::MAX, FRONT_LINES);
}
