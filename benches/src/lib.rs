//! Benchmarks of the workspace, each beside the real peer in the same run; see `benches/benches`.
