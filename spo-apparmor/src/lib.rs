//! spo-apparmor
