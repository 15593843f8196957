//! How many weights each matrix loses when several share one target: counts that add up, scores compared beyond one
//! matrix, and ratios by outliers. Matrices are places in a slice here; what they are called is the plan's business.

mod apportion;
mod outliers;
mod pooled;

pub use apportion::{Quota, apportion};
pub use outliers::{block_sparsities, outlier_share};
pub use pooled::{Histogram, pooled_counts};
