//! Installs a program into the running thread or process with `seccomp(2)`.

#![allow(unsafe_code, reason = "system calls; every block says why it is sound")]

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{FromRawFd, OwnedFd},
};

use crate::{Program, bpf::Insn};

/// Whom the filter binds, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadOptions {
    /// All threads of the process instead of the calling one (`SECCOMP_FILTER_FLAG_TSYNC`).
    pub all_threads: bool,
    /// Flags of the profile, see [`flags`](crate::flags).
    pub flags: u32,
    /// Whether to set `PR_SET_NO_NEW_PRIVS` first, which the kernel wants of callers without `CAP_SYS_ADMIN`.
    pub no_new_privs: bool,
}

impl LoadOptions {
    /// The calling thread only, without new privileges, and with the flags of a profile.
    pub fn new(flags: u32) -> Self {
        Self { all_threads: false, flags, no_new_privs: true }
    }

    /// The same for all threads.
    #[must_use]
    pub fn all_threads(self) -> Self {
        Self { all_threads: true, ..self }
    }

    /// The same without setting `PR_SET_NO_NEW_PRIVS`.
    #[must_use]
    pub fn keep_privileges(self) -> Self {
        Self { no_new_privs: false, ..self }
    }
}

/// Binds the calling thread, or all threads, to the program. There is no way back.
///
/// # Errors
/// The kernel's error. With [`LoadOptions::all_threads`] a thread that cannot be synchronised gives `ESRCH`.
pub fn load(program: &Program, options: &LoadOptions) -> io::Result<()> {
    install(program.insns(), options, 0).map(|_| ())
}

/// As [`load`], and returns the listener that answers `SCMP_ACT_NOTIFY`.
///
/// # Errors
/// As [`load`]; `EBUSY` when a filter of the thread has a listener already.
pub fn load_with_listener(program: &Program, options: &LoadOptions) -> io::Result<OwnedFd> {
    let fd = install(program.insns(), options, NEW_LISTENER)?;
    let fd = i32::try_from(fd).map_err(|_| io::Error::other("the kernel returned no descriptor"))?;
    // SAFETY: with NEW_LISTENER a successful seccomp(2) returns a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds the calling thread to a program, if there is one, and executes a file; comes back only with an error.
///
/// Between the filter and the new image there is nothing but `execve(2)`: no allocation, no other call, so a filter
/// need not allow more than that and what the new program does.
pub fn load_and_exec(
    filter: Option<(&Program, LoadOptions)>,
    path: &CStr,
    argv: &[CString],
    envp: &[CString],
) -> io::Error {
    let pointers = |list: &[CString]| {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (argv, envp) = (pointers(argv), pointers(envp));
    if let Some((program, options)) = filter
        && let Err(error) = install(program.insns(), &options, 0)
    {
        return error;
    }
    // SAFETY: `path` is a C string; both lists hold pointers to C strings that outlive the call, and end with null.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::last_os_error()
}

const SET_MODE_FILTER: libc::c_ulong = 1;
const TSYNC: u32 = 1;
const NEW_LISTENER: u32 = 8;
const TSYNC_ESRCH: u32 = 16;
const WAIT_KILLABLE: u32 = 32;

#[repr(C)]
struct Header {
    len: u16,
    filter: *const Insn,
}

fn install(insns: &[Insn], options: &LoadOptions, extra: u32) -> io::Result<libc::c_long> {
    let len = u16::try_from(insns.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut flags = options.flags | extra;
    if options.all_threads || flags & TSYNC != 0 {
        flags |= TSYNC | TSYNC_ESRCH;
    }
    if extra & NEW_LISTENER == 0 {
        // The kernel takes it with a listener only.
        flags &= !WAIT_KILLABLE;
    }
    if options.no_new_privs {
        // SAFETY: PR_SET_NO_NEW_PRIVS reads its four integer arguments only.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let header = Header { len, filter: insns.as_ptr() };
    // SAFETY: `header` describes `insns`, which has the layout of struct sock_filter (repr(C), checked by a test)
    // and lives until the call returns; the kernel copies it.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, libc::c_ulong::from(flags), &header) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
