//! The blocks a profile can inherit.

/// Names of the template blocks.
pub const NAMES: [&str; 17] = [
    "container",
    "net_container",
    "restricted_net_container",
    "log_container",
    "log_rw_container",
    "log_manage_container",
    "home_container",
    "home_rw_container",
    "home_manage_container",
    "config_container",
    "config_rw_container",
    "config_manage_container",
    "tmp_container",
    "tmp_rw_container",
    "tty_container",
    "virt_container",
    "x_container",
];
