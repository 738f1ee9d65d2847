//! Other compilers and the kernel, each behind a feature of its name.

#[cfg(feature = "libseccomp")]
pub mod libseccomp;
#[cfg(feature = "load")]
pub mod load;
#[cfg(feature = "seccompiler")]
pub mod seccompiler;
