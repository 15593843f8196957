//! Fused CPU kernels for pruning and reconstruction of transformers, on plain slices.
//!
//! Every function takes row-major slices and knows no tensor type. Three properties hold for all of them:
//!
//! * **Run-time dispatch.** A plain build carries each kernel for AVX-512, for AVX2 with FMA and for the baseline, and picks the widest
//!   that the CPU has ([`dispatch::Tier`]). The tiers agree within rounding, not to the bit.
//! * **Same bits for any number of threads.** Work is split over output elements only and every reduction has a fixed order, so a
//!   result depends on the CPU's tier and on the inputs, never on the rayon pool it ran in.
//! * **No state.** Precision and every constant are arguments. Threads keep scratch memory between calls, nothing else.
//!
//! Parallelism is the current rayon pool's; calls may be nested inside rayon tasks. Slice lengths that contradict each other are
//! bugs of the caller and panic with a message.

mod activation;
mod adamw;
mod attention;
mod attention_backward;
mod attention_shape;
mod attention_sinks;
mod buffer;
mod cholesky;
mod clamped_gate;
mod conjugate_gradient;
mod convolution;
mod delta_scan;
mod delta_scan_backward;
mod delta_scan_shape;
pub mod dispatch;
mod distillation;
mod elementwise;
mod gemm;
mod gemm_bf16;
#[cfg(target_arch = "x86_64")]
mod gemm_f32;
mod glu;
mod half_precision;
mod head_scan;
mod head_scan_backward;
mod head_scan_steps;
mod lanes;
mod layer_norm;
mod loss;
mod math;
mod norm;
mod packed;
mod rotary;
mod scan;
mod scan_backward;
mod scratch;
mod soft_cap;
mod subsets;
mod sweep;
mod tile;

pub use activation::{Activation, activate, activate_backward};
pub use adamw::{AdamWStep, adamw};
pub use attention::attention;
pub use attention_backward::attention_backward;
pub use attention_shape::AttentionShape;
pub use attention_sinks::attention_sinks_backward;
pub use buffer::{copied, zeros};
pub use cholesky::cholesky;
pub use clamped_gate::{ClampedGate, clamped_gate, clamped_gate_backward};
pub use conjugate_gradient::{conjugate_gradient_start, conjugate_gradient_step};
pub use convolution::{ConvolutionShape, convolution, convolution_backward};
pub use delta_scan::delta_scan;
pub use delta_scan_backward::delta_scan_backward;
pub use delta_scan_shape::{DeltaScanGradients, DeltaScanInputs, DeltaScanShape};
pub use distillation::{distillation, distillation_backward};
pub use elementwise::{
    add_assign, add_bias, apply_mask, column_products, column_squares, column_sums, multiply_assign,
};
pub use gemm::{Precision, View, matmul, product};
pub use gemm_bf16::bf16_is_native;
pub use glu::{gated, gated_backward};
pub use half_precision::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
pub use head_scan::{HeadScanInputs, HeadScanShape, head_scan};
pub use head_scan_backward::{HeadScanGradients, head_scan_backward};
pub use layer_norm::{layer_norm, layer_norm_backward};
pub use loss::{cross_entropy, cross_entropy_backward, squared_error, squared_error_backward};
pub use norm::{rms_norm, rms_norm_backward};
pub use rotary::{RotaryPairs, rotate};
pub use scan::{CHUNK as SCAN_CHUNK, ScanInputs, ScanShape, selective_scan};
pub use scan_backward::{ScanGradients, selective_scan_backward};
pub use soft_cap::{soft_cap, soft_cap_backward};
pub use subsets::{SUBSET_LANES, SubsetForms};
pub use sweep::Elimination;
