//! Benchmarks of the workspace, each beside the real peer in the same run; see `benches/benches`.
//!
//! `cluster_load` (`src/bin/cluster_load`) measures the operator on a cluster instead: time, writes, memory.
