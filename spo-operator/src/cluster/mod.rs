//! The API server as this crate sees it: what things are called, and the objects of the group as watches tell them.

pub mod names;
pub mod news;
pub mod request;
pub mod resource;
pub mod watch;
