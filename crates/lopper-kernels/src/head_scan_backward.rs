//! The gradient of the scan by heads: first of the states, chunk by chunk from the end, then every chunk by itself.
//!
//! With G = C·Bᵀ, M = G ∘ e^(ΔA from u to t)·Δ_u, w_u = e^(ΔA from u to the end)·Δ_u, H the state before a chunk and R the gradient of that
//! after it: ∂x = Mᵀ·∂y + w ∘ (B·R) + D·∂y, ∂G = (∂y·xᵀ) ∘ M/G, ∂B = ∂Gᵀ·C + (w ∘ x)·Rᵀ and
//! ∂C = ∂G·B + (e^(ΔA) ∘ ∂y)·Hᵀ. What the exponents give goes to Δ and A by their running sum.

use crate::dispatch::simd;
use crate::head_scan::{HeadScanInputs, HeadScanShape, Scan};
use crate::head_scan_steps::{add_scaled, gathered, product, product_of, remainders, scaled, transposed};
use crate::scan::{CHUNK, Chunk, chunks};
use crate::scratch::Shared;
use crate::tile::{Left, Right};

/// Where gradients of a scan by heads go: of the shapes of its inputs, added to what is there.
#[derive(Debug)]
pub struct HeadScanGradients<'a> {
    /// [tokens, heads·head_dim]
    pub x: &'a mut [f32],
    /// [tokens, heads]
    pub step: &'a mut [f32],
    /// [tokens, groups·states]
    pub into: &'a mut [f32],
    /// [tokens, groups·states]
    pub out_of: &'a mut [f32],
    /// `[heads]`
    pub decay: &'a mut [f32],
    /// `[heads]`
    pub skip: &'a mut [f32],
    /// `[heads]`
    pub bias: &'a mut [f32],
}

simd! {
    /// The weights of a row of M, from what is left of each token, and its part of the gradients of G, of Δ and of the running sums; returns
    /// what the sum of the row itself gets.
    fn weigh(
        weights: &mut [f32],
        slopes: &[f32],
        scores: &[f32],
        delta: &[f32],
        d_scores: &mut [f32],
        d_delta: &mut [f32],
        d_fall: &mut [f64],
    ) -> f64 {
        // what one token gets and another one loses cancels in the sums that follow
        let mut own = [0f64; 8];
        for (start, weights) in (0..).step_by(8).zip(weights.chunks_mut(8)) {
            for (i, weight) in weights.iter_mut().enumerate() {
                let at = start + i;
                let by = slopes[at] * *weight;
                let q = by * scores[at];
                let moved = f64::from(q * delta[at]);
                d_scores[at] += by * delta[at];
                d_delta[at] += q;
                d_fall[at] -= moved;
                own[i] += moved;
                *weight *= scores[at] * delta[at];
            }
        }
        own.iter().sum()
    }
}

/// Where the tasks write.
struct Shares<'a> {
    x: Shared<'a, f32>,
    step: Shared<'a, f32>,
    into: Shared<'a, f32>,
    out_of: Shared<'a, f32>,
    /// Of A, D and b [chunks, heads, 3].
    of_heads: Shared<'a, f32>,
}

/// Adds the gradients of a scan whose output has the gradient `dy` [tokens, heads·head_dim]. `kept` is what the way forward left.
///
/// # Panics
/// If a slice is not as long as the shape says.
pub fn head_scan_backward(
    shape: &HeadScanShape,
    inputs: &HeadScanInputs,
    (dy, kept): (&[f32], &[f32]),
    gradients: HeadScanGradients,
) {
    let scan = Scan::new(shape, inputs);
    assert!(dy.len() == inputs.x.len() && kept.len() == shape.kept(), "what the way forward left");
    if dy.is_empty() {
        return;
    }
    let numbered: Vec<(usize, Chunk)> = chunks(shape.offsets).enumerate().collect();
    let mut after = crate::zeros(kept.len());
    let of_head = |sequence: &[(usize, Chunk)], head, after| scan.state_gradients(sequence, head, dy, &after);
    scan.by_head(&numbered, Shared::new(&mut after), of_head);
    let mut of_heads = vec![0.0; numbered.len() * shape.heads * 3];
    let HeadScanGradients { x, step, into, out_of, decay, skip, bias } = gradients;
    assert!(x.len() == dy.len() && step.len() == inputs.step.len(), "gradients of x and steps");
    assert!(into.len() == inputs.into.len() && out_of.len() == inputs.into.len(), "gradients of B and C");
    let [x, step, into, out_of] = [x, step, into, out_of].map(Shared::new);
    let out = Shares { x, step, into, out_of, of_heads: Shared::new(&mut of_heads) };
    scan.by_group(&numbered, |number, chunk, group| {
        scan.chunk_gradients((number, chunk, group), [dy, kept, &after], &out);
    });
    for (which, gradient) in [decay, skip, bias].into_iter().enumerate() {
        assert_eq!(gradient.len(), shape.heads, "gradients of A, D and b");
        for (head, gradient) in gradient.iter_mut().enumerate() {
            let parts = of_heads.iter().skip(3 * head + which).step_by(3 * shape.heads);
            *gradient += parts.map(|&part| f64::from(part)).sum::<f64>() as f32;
        }
    }
}

impl Scan<'_> {
    /// The gradient of the states of a head after every chunk of a sequence.
    fn state_gradients(&self, sequence: &[(usize, Chunk)], head: usize, dy: &[f32], after: &Shared<f32>) {
        let (shape, size) = (self.shape, self.shape.state());
        let group = head / (shape.heads / shape.groups);
        let (mut r, mut fallen) = (vec![0.0; size], vec![0.0; size]);
        for &(number, chunk) in sequence.iter().rev() {
            // SAFETY: no two heads of a chunk have a place in common.
            unsafe { after.slice((number * shape.heads + head) * size, size) }.copy_from_slice(&r);
            if chunk.begins {
                break;
            }
            let (steps, length) = (self.steps(chunk, head), chunk.end - chunk.start);
            scaled(self.tier, &r, steps.left(length - 1), &mut fallen);
            let left: Vec<f32> = (0..length).map(|token| steps.left(token)).collect();
            let dy = gathered(self.tier, self.head(dy, chunk, head), [shape.width(), shape.head_dim], &left);
            let out_of = Left { data: self.way(self.inputs.out_of, chunk, group), row: 1, depth: shape.ways() };
            let dy = Right { data: &dy, leading: shape.head_dim };
            product(self.tier, [shape.states, shape.head_dim, length], out_of, dy, &mut fallen, true);
            std::mem::swap(&mut r, &mut fallen);
        }
    }

    fn chunk_gradients(
        &self,
        (number, chunk, group): (usize, Chunk, usize),
        [dy, kept, after]: [&[f32]; 3],
        out: &Shares,
    ) {
        let Self { tier, shape, inputs } = *self;
        let (n, ways, length) = (shape.states, shape.ways(), chunk.end - chunk.start);
        let (into, out_of) = (self.way(inputs.into, chunk, group), self.way(inputs.out_of, chunk, group));
        let scores = self.scores(chunk, group);
        let mut d_scores = vec![0.0; length * length];
        let mut ways_back = [vec![0.0; length * n], vec![0.0; length * n]];
        for head in self.heads(group) {
            let place = (number * shape.heads + head) * shape.state();
            let states = [kept, after].map(|states| &states[place..][..shape.state()]);
            let of_heads =
                self.head_gradients((chunk, group, head), (dy, states), (&scores, &mut d_scores), &mut ways_back, out);
            // SAFETY: no two tasks have a head of a chunk in common.
            unsafe { out.of_heads.slice((number * shape.heads + head) * 3, 3) }.copy_from_slice(&of_heads);
        }
        let [d_into, d_out_of] = &mut ways_back;
        let by_row = Left { data: &d_scores, row: length, depth: 1 };
        product(self.tier, [length, n, length], by_row, Right { data: into, leading: ways }, d_out_of, true);
        let by_column = Left { data: &d_scores, row: 1, depth: length };
        product(self.tier, [length, n, length], by_column, Right { data: out_of, leading: ways }, d_into, true);
        for (out, rows) in [(&out.into, d_into), (&out.out_of, d_out_of)] {
            for (token, row) in (chunk.start..).zip(rows.chunks(n)) {
                // SAFETY: no two tasks have a group of a token in common.
                add_scaled(tier, row, 1.0, unsafe { out.slice(token * ways + group * n, n) });
            }
        }
    }

    /// The gradients of one head of a chunk; returns those of a, D and b. `states` are those before the chunk, and the gradient of those after it.
    fn head_gradients(
        &self,
        (chunk, group, head): (Chunk, usize, usize),
        (dy, [before, after]): (&[f32], [&[f32]; 2]),
        (scores, d_scores): (&[f32], &mut [f32]),
        [d_into, d_out_of]: &mut [Vec<f32>; 2],
        out: &Shares,
    ) -> [f32; 3] {
        let Self { tier, shape, inputs } = *self;
        let (n, p, ways, width) = (shape.states, shape.head_dim, shape.ways(), shape.width());
        let length = chunk.end - chunk.start;
        let (steps, last) = (self.steps(chunk, head), length - 1);
        let (x, dy) = (self.head(inputs.x, chunk, head), self.head(dy, chunk, head));
        let (into, out_of) = (self.way(inputs.into, chunk, group), self.way(inputs.out_of, chunk, group));
        let (mut d_delta, mut d_fall) = ([0f32; CHUNK], [0f64; CHUNK]);
        // within the chunk
        let turned = transposed(x, width, [length, p]);
        let mut slopes = vec![0.0; length * length];
        let rows = Left { data: dy, row: width, depth: 1 };
        product(self.tier, [length, length, p], rows, Right { data: &turned, leading: length }, &mut slopes, false);
        let d_skip = slopes.iter().step_by(length + 1).sum();
        let mut weights = vec![0.0; length * length];
        for t in 0..length {
            let row = t * length..t * length + t + 1;
            let own = &mut weights[row.clone()];
            remainders(tier, &steps.fall, steps.fall[t], own);
            let (slopes, scores) = (&slopes[row.clone()], &scores[row.clone()]);
            d_fall[t] +=
                weigh(tier, own, slopes, scores, &steps.delta, &mut d_scores[row], &mut d_delta, &mut d_fall[..]);
        }
        let mut dx = vec![0.0; length * p];
        let columns = Left { data: &weights, row: 1, depth: length };
        product(self.tier, [length, p, length], columns, Right { data: dy, leading: width }, &mut dx, false);
        // by way of the states after it
        let mut by_state = vec![0.0; length * p];
        let rows = Left { data: into, row: ways, depth: 1 };
        product(self.tier, [length, p, n], rows, Right { data: after, leading: p }, &mut by_state, false);
        let mut added = [0.0; CHUNK];
        for (token, row) in by_state.chunks(p).enumerate() {
            let remains = steps.remains(token, length);
            added[token] = remains * steps.delta[token];
            let slope = product_of(tier, row, &x[token * width..][..p]);
            d_delta[token] += slope * remains;
            let moved = f64::from(slope * added[token]);
            d_fall[token] -= moved;
            d_fall[last] += moved;
            let dx = &mut dx[token * p..][..p];
            add_scaled(tier, row, added[token], dx);
            add_scaled(tier, &dy[token * width..][..p], inputs.skip[head], dx);
        }
        d_fall[last] += f64::from(steps.left(last) * product_of(tier, before, after));
        let x = gathered(tier, x, [width, p], &added[..length]);
        let turned = transposed(after, p, [n, p]);
        product(
            self.tier,
            [length, n, p],
            Left { data: &x, row: p, depth: 1 },
            Right { data: &turned, leading: n },
            d_into,
            true,
        );
        // and of those before it
        let left: Vec<f32> = (0..length).map(|token| steps.left(token)).collect();
        let dy = gathered(tier, dy, [width, p], &left);
        let turned = transposed(before, p, [n, p]);
        let mut own = vec![0.0; length * n];
        product(
            self.tier,
            [length, n, p],
            Left { data: &dy, row: p, depth: 1 },
            Right { data: &turned, leading: n },
            &mut own,
            false,
        );
        for (token, row) in own.chunks(n).enumerate() {
            d_fall[token] += f64::from(product_of(tier, row, &out_of[token * ways..][..n]));
            add_scaled(tier, row, 1.0, &mut d_out_of[token * n..][..n]);
        }
        let (mut later, mut d_rate, mut d_bias) = (0.0, 0.0, 0.0);
        for token in (0..length).rev() {
            later += d_fall[token];
            d_rate += later * f64::from(steps.delta[token]);
            let step = (d_delta[token] + later as f32 * steps.rate) * steps.slope[token];
            d_bias += step;
            // SAFETY: no two tasks have a head of a token in common.
            let (steps, rows) = unsafe {
                let token = chunk.start + token;
                (out.step.slice(token * shape.heads + head, 1), out.x.slice(token * width + head * p, p))
            };
            steps[0] += step;
            add_scaled(tier, &dx[token * p..][..p], 1.0, rows);
        }
        // A = −eᵃ is its own slope
        [d_rate as f32 * steps.rate, d_skip, d_bias]
    }
}
