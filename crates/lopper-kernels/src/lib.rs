//! Fused CPU kernels for pruning and reconstruction, on plain slices.
