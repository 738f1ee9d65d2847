//! spo-selinux-cil
