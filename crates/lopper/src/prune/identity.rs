//! What a run is known by when it goes on after an interruption.

use lopper_kernels::dispatch::Tier;

use super::job::Job;
use super::journal::Identity;
use crate::error::{Error, Result};
use crate::plan::{Plan, ShrinkPlan};
use crate::schedule::Run;

/// Names everything that the outcome depends on.
pub(super) fn identity(run: &Run, model: &str, job: &Job, redo: Option<usize>) -> Result<Identity> {
    let mut plan = run.plan.resolved(run.spec)?;
    // the bytes of the outcome depend on none of these
    (plan.model, plan.compute.threads, plan.compute.memory) = (String::new(), None, None);
    // kernels of another kind sum in another order
    let machine = format!("{} {:?} {}", std::env::consts::ARCH, Tier::detect(), lopper_kernels::bf16_is_native());
    let arithmetic = format!("{} on {} {:?}", plan.compute.dtype.name(), std::env::consts::ARCH, Tier::detect());
    let (program, texts) = (env!("CARGO_PKG_VERSION"), job.digest());
    let name = |plan: &Plan, redo: &str| {
        let parts = [program, &machine, &plan.to_toml()?, model, &texts, redo];
        Ok::<_, Error>(blake3::hash(parts.join("\n").as_bytes()).to_hex().to_string())
    };
    let run = name(&plan, &redo.map_or_else(String::new, |blocks| blocks.to_string()))?;
    let Plan { calibration, evaluation, compute, shrink: ShrinkPlan { drop, experts, .. }, .. } = plan;
    let shrink = ShrinkPlan { drop, experts, ..ShrinkPlan::default() };
    let input = name(&Plan { calibration, shrink, evaluation, compute, ..Plan::default() }, "")?;
    Ok(Identity { run, input, arithmetic })
}
