//! Run-time choice of the instruction set: each kernel is compiled once per tier, and a call picks one.
//!
//! The tier is read once, at the entry of a public function, and handed down as a value, so that all threads of a call use the same.

use std::cell::Cell;

/// An instruction set that the kernels are compiled for, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// What the build's target guarantees; on `x86_64` that is SSE2, without fused multiply-add.
    Portable,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
}

impl Tier {
    /// The widest tier that this CPU has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            if avx2 && wide && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl") {
                return Self::Avx512;
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Every tier that this CPU has, narrowest first.
    pub fn available() -> Vec<Self> {
        [Self::Portable, Self::Avx2, Self::Avx512].into_iter().filter(|tier| *tier <= Self::detect()).collect()
    }
}

/// Whether the portable tier may call `mul_add`: only where it is an instruction, since elsewhere it is a call into libm.
pub(crate) const PORTABLE_FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

thread_local! {
    static LIMIT: Cell<Tier> = const { Cell::new(Tier::Avx512) };
}

/// The tier for a call made on this thread; never more than the CPU has.
pub(crate) fn tier() -> Tier {
    Tier::detect().min(LIMIT.get())
}

/// Runs `call` with kernels of at most `limit`: for the tests that compare tiers. Holds for calls made on this thread.
#[doc(hidden)]
pub fn with_tier<R>(limit: Tier, call: impl FnOnce() -> R) -> R {
    struct Restore(Tier);
    impl Drop for Restore {
        fn drop(&mut self) {
            LIMIT.set(self.0);
        }
    }
    let _restore = Restore(LIMIT.replace(limit));
    call()
}

/// Defines functions that take a [`Tier`] first and run their body compiled for it.
///
/// Inside the body, `FUSED` is a constant: whether fused multiply-add is an instruction (see [`crate::math::mul_add`]).
macro_rules! simd {
    ($($(#[$attribute:meta])* $visible:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => { $(
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments, reason = "row kernels take their slices one by one")]
        $visible fn $name(tier: $crate::dispatch::Tier, $($argument: $type),*) $(-> $result)? {
            #[allow(clippy::inline_always, reason = "the body has to be compiled inside each tier's target features")]
            #[allow(clippy::extra_unused_type_parameters, clippy::too_many_arguments, reason = "the same signature for every body")]
            #[inline(always)]
            fn body<const FUSED: bool>($($argument: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as the body")]
            fn avx512($($argument: $type),*) $(-> $result)? { body::<true>($($argument),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "as the body")]
            fn avx2($($argument: $type),*) $(-> $result)? { body::<true>($($argument),*) }
            match tier {
                // SAFETY: `tier()` never returns more than `Tier::detect` found on this CPU.
                #[cfg(target_arch = "x86_64")]
                $crate::dispatch::Tier::Avx512 => unsafe { avx512($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::dispatch::Tier::Avx2 => unsafe { avx2($($argument),*) },
                _ => body::<{ $crate::dispatch::PORTABLE_FUSED }>($($argument),*),
            }
        }
    )* };
}
pub(crate) use simd;
