//! Clocks that are set, or run fast or slow, for whatever process this library is preloaded into: all nodes of the sandbox are one
//! machine, whose clock is nobody's to set.
//!
//! What a clock says comes from a file, which is looked at anew every few milliseconds: three numbers, the time by
//! `CLOCK_BOOTTIME` from which on it runs differently (ns), by how much (millionths), and by how much the time of day is
//! set forward (ns). Without a file clocks are true. `CLOCK_BOOTTIME` and the time of day run fast or slow together, in every
//! process alike; `CLOCK_MONOTONIC` stays true, since the kernel's timers are.
//!
//! It is called in signal handlers: no memory is allocated and no lock taken.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use libc::{c_int, c_void, clockid_t, time_t, timespec, timeval};

const FILE: &std::ffi::CStr = c"/var/lib/pgha/clock";
const SECOND_NS: i64 = 1_000_000_000;
/// A file is believed for so long.
const LOOK_NS: i64 = 20_000_000;

static LOOKED_NS: AtomicI64 = AtomicI64::new(0);
static FROM_NS: AtomicI64 = AtomicI64::new(0);
static MILLIONTHS: AtomicI64 = AtomicI64::new(0);
static SET_NS: AtomicI64 = AtomicI64::new(0);

/// See clock_gettime(2).
///
/// # Safety
/// `time` points to a `timespec`, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's pointer is handed on as it is; the kernel checks it.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as c_int;
    let lies = matches!(clock, libc::CLOCK_BOOTTIME | libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE);
    if result != 0 || !lies {
        return result;
    }
    let wrong_ns = wrong_ns(clock != libc::CLOCK_BOOTTIME);
    // SAFETY: the kernel has just written to it.
    unsafe { *time = of_ns(in_ns(&*time) + wrong_ns) };
    0
}

/// See gettimeofday(2).
///
/// # Safety
/// `time` points to a `timeval`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut timeval, _zone: *mut c_void) -> c_int {
    let now = now(libc::CLOCK_REALTIME);
    // SAFETY: the caller's pointer is to be written to.
    unsafe { *time = timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1_000 } };
    0
}

/// See time(2).
///
/// # Safety
/// `time` points to a `time_t`, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(time: *mut time_t) -> time_t {
    let now = now(libc::CLOCK_REALTIME).tv_sec;
    if !time.is_null() {
        // SAFETY: the caller's pointer is to be written to.
        unsafe { *time = now };
    }
    now
}

fn now(clock: clockid_t) -> timespec {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it points to a timespec.
    unsafe { clock_gettime(clock, &raw mut time) };
    time
}

fn in_ns(time: &timespec) -> i64 {
    time.tv_sec * SECOND_NS + time.tv_nsec
}

fn of_ns(ns: i64) -> timespec {
    timespec { tv_sec: ns.div_euclid(SECOND_NS), tv_nsec: ns.rem_euclid(SECOND_NS) }
}

/// How far the clock is from the true one.
fn wrong_ns(of_day: bool) -> i64 {
    let mut boot = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it points to a timespec.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_BOOTTIME, &raw mut boot) };
    let boot_ns = in_ns(&boot);
    if boot_ns - LOOKED_NS.load(Relaxed) >= LOOK_NS {
        LOOKED_NS.store(boot_ns, Relaxed);
        look();
    }
    let ran_ns = (boot_ns - FROM_NS.load(Relaxed)).max(0);
    let drifted_ns = i128::from(ran_ns) * i128::from(MILLIONTHS.load(Relaxed)) / 1_000_000;
    drifted_ns as i64 + if of_day { SET_NS.load(Relaxed) } else { 0 }
}

/// Reads the file, if there is one.
fn look() {
    let mut text = [0_u8; 96];
    // SAFETY: errno is the thread's own; the descriptor is closed here; no more than the buffer's length is read.
    let read = unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let file = libc::open(FILE.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        let read = if file < 0 { -1 } else { libc::read(file, text.as_mut_ptr().cast(), text.len()) };
        if file >= 0 {
            libc::close(file);
        }
        *errno = before;
        read
    };
    let told = usize::try_from(read).ok().and_then(|read| std::str::from_utf8(text.get(..read)?).ok());
    let mut numbers = told.unwrap_or_default().split_ascii_whitespace().map(str::parse::<i64>);
    if let (Some(Ok(from_ns)), Some(Ok(millionths)), Some(Ok(set_ns))) =
        (numbers.next(), numbers.next(), numbers.next())
    {
        FROM_NS.store(from_ns, Relaxed);
        MILLIONTHS.store(millionths, Relaxed);
        SET_NS.store(set_ns, Relaxed);
    }
}
