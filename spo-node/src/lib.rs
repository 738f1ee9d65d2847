//! spo-node
