//! The tests of the kernels, as one program.

mod reference;

mod activation;
mod adamw;
mod attention;
mod cholesky;
mod clamped_gate;
mod conjugate_gradient;
mod delta_scan;
mod distillation;
mod elementwise;
mod gemm;
mod glu;
mod head_scan;
mod layer_norm;
mod loss;
mod norm;
mod pruning;
mod rotary;
mod scan;
