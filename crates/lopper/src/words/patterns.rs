//! What is asked of the matrices, in words: of all of them, and of each kind where they differ.

use crate::error::Result;
use crate::method::Order;
use crate::plan::{Plan, PruningPlan, Ratios};
use crate::sparsity::{Extent, Pattern, Scope};

use super::units;

/// What the plan asks where no rule says otherwise.
///
/// # Errors
/// If it contradicts itself.
pub fn asked(plan: &Plan) -> Result<String> {
    if plan.shrink.narrows() {
        let neurons = plan
            .shrink
            .width
            .map(|width| format!("{} of the neurons of every feed-forward layer", units::percent(1.0 - width)));
        let heads = plan.shrink.kv_heads.map(|keep| format!("all but {keep} key/value heads of every attention"));
        return Ok(neurons.into_iter().chain(heads).collect::<Vec<_>>().join(" and "));
    }
    let Pattern::Unstructured { sparsity, .. } = plan.pattern()? else {
        let Pattern::NofM { keep, of } = plan.pattern()? else { return Ok(String::new()) };
        return Ok(format!("{keep}:{of} (at most {keep} of every {of} consecutive weights kept)"));
    };
    let share = units::percent(sparsity);
    Ok(match (plan.pruning.ratios, plan.extent()?) {
        (Ratios::Owl, Extent::Row) => format!("{share} of all (owl: of each row less in blocks with more outliers)"),
        (Ratios::Owl, _) => format!("{share} of all (owl: of each matrix less in blocks with more outliers)"),
        (Ratios::Uniform, Extent::Row) => format!("{share} of each row"),
        (Ratios::Uniform, Extent::Matrix) => format!("{share} of each matrix"),
        (Ratios::Uniform, Extent::Block) => format!("{share} of each block"),
        (Ratios::Uniform, Extent::Model) => format!("{share} of the model"),
    })
}

/// Whether anything is asked of the blocks that stay.
pub fn prune_blocks(Plan { shrink, pruning, .. }: &Plan) -> bool {
    let asks = [pruning.sparsity.is_some(), pruning.pattern.is_some(), !pruning.rules.is_empty()];
    !shrink.is_asked() || shrink.narrows() || asks.contains(&true)
}

/// Whether matrices get anything but the same pattern.
pub fn differ(plan: &Plan) -> bool {
    let wide = plan.extent().is_ok_and(Extent::is_wide);
    !plan.pruning.rules.is_empty() || plan.shrink.is_asked() || plan.pruning.ratios != Ratios::Uniform || wide
}

/// Matrices whose patterns are of one kind.
struct Kind<'a> {
    /// An unstructured pattern stands for all of its scope.
    pattern: Option<Pattern>,
    /// In the order of the model.
    roles: Vec<&'a str>,
    matrices: usize,
    /// Smallest and largest sparsity.
    range: (f64, f64),
}

impl Kind<'_> {
    fn holds(&self, pattern: Option<Pattern>) -> bool {
        match (self.pattern, pattern) {
            (Some(Pattern::Unstructured { scope: a, .. }), Some(Pattern::Unstructured { scope: b, .. })) => a == b,
            (a, b) => a == b,
        }
    }

    fn words(&self, all: usize) -> String {
        let (low, high) = (units::percent(self.range.0), units::percent(self.range.1));
        let share = if low == high { low } else { format!("{low} – {high}") };
        let what = match self.pattern {
            None => "left dense".to_owned(),
            Some(Pattern::NofM { keep, of }) => format!("{keep}:{of}"),
            Some(Pattern::Inputs { keep, of, .. }) => {
                format!("{} of {} inputs kept", units::count(keep), units::count(of))
            }
            Some(Pattern::Outputs { keep, of }) => {
                format!("{} of {} outputs kept", units::count(keep), units::count(of))
            }
            Some(Pattern::Unstructured { scope: Scope::Row, .. }) => format!("{share} of each row"),
            Some(Pattern::Unstructured { scope: Scope::Matrix, .. }) => format!("{share} of each matrix"),
        };
        let matrices = if self.matrices == 1 { "1 matrix".into() } else { format!("{} matrices", self.matrices) };
        let roles = if self.roles.len() == all { "of every role".into() } else { self.roles.join(", ") };
        format!("{what}: {matrices} ({roles})")
    }
}

/// Pattern, criterion and compensation.
pub fn pruning(plan: &Plan) -> String {
    let rest = if plan.pruning.rules.is_empty() { "" } else { " where no rule says otherwise" };
    let asked = asked(plan).unwrap_or_default();
    format!("{asked}{rest}, chosen by {}, compensation {}", chosen_by(plan), plan.pruning.compensation)
}

/// A line for each kind of pattern, in the order of the model. Roles are said in the order in which they come.
pub fn kinds<'a>(matrices: impl Iterator<Item = (&'a str, Option<Pattern>)>) -> Vec<String> {
    let (mut kinds, mut all): (Vec<Kind>, Vec<&str>) = (Vec::new(), Vec::new());
    for (role, pattern) in matrices {
        if !all.contains(&role) {
            all.push(role);
        }
        let place = kinds.iter().position(|kind| kind.holds(pattern)).unwrap_or_else(|| {
            kinds.push(Kind { pattern, roles: Vec::new(), matrices: 0, range: (1.0, 0.0) });
            kinds.len() - 1
        });
        let (kind, sparsity) = (&mut kinds[place], pattern.map_or(0.0, |pattern| pattern.sparsity()));
        if !kind.roles.contains(&role) {
            kind.roles.push(role);
        }
        kind.matrices += 1;
        kind.range = (kind.range.0.min(sparsity), kind.range.1.max(sparsity));
    }
    kinds.iter().map(|kind| kind.words(all.len())).collect()
}

/// The criterion in words, with what is not its default.
pub fn chosen_by(plan: &Plan) -> String {
    let (criterion, PruningPlan { order, swaps, .. }) = (plan.criterion(), &plan.pruning);
    let order = match order {
        Some(Order::Blocks) => " block by block",
        Some(Order::Whole) => " at once",
        None => "",
    };
    let swaps = if *swaps > 0 { format!(" and up to {swaps} swaps per row") } else { String::new() };
    format!("{criterion}{order}{swaps}")
}

#[cfg(test)]
mod tests {
    use super::kinds;
    use crate::sparsity::{Pattern, Scope};

    const ROLES: [&str; 7] = ["query", "key", "value", "output", "gate", "up", "down"];

    #[test]
    fn matrices_of_one_kind_share_a_line() {
        let share = |sparsity| Some(Pattern::Unstructured { sparsity, scope: Scope::Row });
        let two_of_four = Some(Pattern::NofM { keep: 2, of: 4 });
        let block = |low, high| {
            ROLES.map(|role| match role {
                "down" => (role, two_of_four),
                "output" => (role, None),
                "query" => (role, share(low)),
                _ => (role, share(high)),
            })
        };
        let lines = kinds(block(0.4, 0.5).into_iter().chain(block(0.55, 0.6)));
        assert_eq!(
            lines,
            [
                "40 % – 60 % of each row: 10 matrices (query, key, value, gate, up)",
                "left dense: 2 matrices (output)",
                "2:4: 2 matrices (down)"
            ]
        );
        let all = kinds(ROLES.into_iter().map(|role| (role, share(0.5))));
        assert_eq!(all, ["50 % of each row: 7 matrices (of every role)"]);
    }
}
