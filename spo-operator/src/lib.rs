//! spo-operator
