//! spo-seccomp
