//! The gradient of the scan by the delta rule, chunk by chunk from the end.
//!
//! With the terms of [`crate::delta_scan`], S the state before a chunk, R the gradient of that after it, w what is left of each token at its
//! end, P = E ∘ Q·Kᵀ and N = V − e ∘ K·S: ∂U = Pᵀ·∂O + (w ∘ K)·R, ∂(β ∘ N) = D = (I + L)⁻ᵀ·∂U, ∂P = ∂O·Uᵀ and ∂L = −D·Uᵀ. Then
//! ∂V = β ∘ D, ∂Q = (e ∘ ∂O)·Sᵀ + (E ∘ ∂P)·K, ∂K = w ∘ (U·Rᵀ) − (β ∘ e ∘ D)·Sᵀ and what L and P give it, and
//! ∂S = e_L·R + Qᵀ·(e ∘ ∂O) − Kᵀ·(β ∘ e ∘ D). What the exponents give goes to Δ and A by their running sum.

use crate::delta_scan::{Delta, Keys, Solved};
use crate::delta_scan_shape::{DeltaScanGradients, DeltaScanInputs, DeltaScanShape};
use crate::dispatch::simd;
use crate::head_scan_steps::{add_scaled, gathered, multiply_all, product, product_of, transposed};
use crate::math::mul_add;
use crate::scan::{CHUNK, Chunk};
use crate::scratch::Shared;
use crate::tile::{Left, Right};

simd! {
    /// Rows of (I + L)⁻ᵀ·U in the place of those of U, L [length, length] below its diagonal.
    fn substitute_back(links: &[f32], length: usize, rows: &mut [f32], width: usize) {
        for t in (0..length).rev() {
            let (row, after) = rows[t * width..].split_at_mut(width);
            let below = links[t..].iter().step_by(length).skip(t + 1);
            for (link, other) in below.zip(after.chunks(width)) {
                for (x, y) in row.iter_mut().zip(other) {
                    *x = mul_add::<FUSED>(-link, *y, *x);
                }
            }
        }
    }
}

/// Where the tasks write.
struct Shares<'a> {
    query: Shared<'a, f32>,
    key: Shared<'a, f32>,
    value: Shared<'a, f32>,
    step: Shared<'a, f32>,
    strength: Shared<'a, f32>,
    /// Of a and b [chunks, value_heads, 2].
    of_heads: Shared<'a, f32>,
}

/// Gradients of a chunk of a key head, of all its value heads together.
struct KeyGradients {
    /// [length, key_dim]
    query: Vec<f32>,
    /// [length, key_dim]
    key: Vec<f32>,
    /// Of K·Kᵀ [length, length].
    with_keys: Vec<f32>,
    /// Of Q·Kᵀ [length, length].
    with_queries: Vec<f32>,
}

/// Gradients of a chunk of a value head, by token.
struct Sums {
    /// Of the running sum of what the steps let fall.
    fall: [f64; CHUNK],
    /// Of β.
    strength: [f32; CHUNK],
}

/// Adds the gradients of a scan whose output has the gradient `dy` [tokens, value_heads·value_dim]. `kept` is what the way forward left.
///
/// # Panics
/// If a slice is not as long as the shape says.
pub fn delta_scan_backward(
    shape: &DeltaScanShape,
    inputs: &DeltaScanInputs,
    (dy, kept): (&[f32], &[f32]),
    gradients: DeltaScanGradients,
) {
    let scan = Delta::new(shape, inputs);
    assert!(dy.len() == inputs.value.len() && kept.len() == shape.kept(), "what the way forward left");
    if dy.is_empty() {
        return;
    }
    let mut of_heads = vec![0.0; kept.len() / shape.state() * 2];
    let DeltaScanGradients { query, key, value, step, strength, decay, bias } = gradients;
    assert!(query.len() == inputs.query.len() && key.len() == query.len(), "gradients of queries and keys");
    assert!(value.len() == dy.len(), "gradients of values");
    assert!(step.len() == inputs.step.len() && strength.len() == step.len(), "gradients of steps and strengths");
    let [query, key, value, step, strength] = [query, key, value, step, strength].map(Shared::new);
    let out = Shares { query, key, value, step, strength, of_heads: Shared::new(&mut of_heads) };
    scan.by_key_head(|sequence, key_head| scan.gradients(sequence, key_head, [dy, kept], &out));
    for (which, gradient) in [decay, bias].into_iter().enumerate() {
        assert_eq!(gradient.len(), shape.value_heads, "gradients of A and b");
        for (head, gradient) in gradient.iter_mut().enumerate() {
            let parts = of_heads.iter().skip(2 * head + which).step_by(2 * shape.value_heads);
            *gradient += parts.map(|&part| f64::from(part)).sum::<f64>() as f32;
        }
    }
}

impl Delta<'_> {
    fn gradients(&self, sequence: &[(usize, Chunk)], key_head: usize, [dy, kept]: [&[f32]; 2], out: &Shares) {
        let shape = self.shape;
        let (size, width, keys_wide) = (shape.state(), shape.key_dim, shape.keys());
        let heads = shape.sharing(key_head);
        let mut after = vec![0.0; heads.len() * size];
        for &(number, chunk) in sequence.iter().rev() {
            let (keys, length) = (self.keys(chunk, key_head), chunk.end - chunk.start);
            let [query, key] = [vec![0.0; length * width], vec![0.0; length * width]];
            let [with_keys, with_queries] = [vec![0.0; length * length], vec![0.0; length * length]];
            let mut found = KeyGradients { query, key, with_keys, with_queries };
            for (head, after) in heads.clone().zip(after.chunks_mut(size)) {
                let place = number * shape.value_heads + head;
                let states = (&kept[place * size..][..size], after);
                let of_heads = self.head_gradients((chunk, key_head, head), (dy, states), &keys, &mut found, out);
                // SAFETY: no two tasks have a head of a chunk in common.
                unsafe { out.of_heads.slice(place * 2, 2) }.copy_from_slice(&of_heads);
            }
            let KeyGradients { mut query, mut key, with_keys, with_queries } = found;
            let [queries, keys] = [self.inputs.query, self.inputs.key].map(|of| self.of_key(of, chunk, key_head));
            let by_row = |data| Left { data, row: length, depth: 1 };
            let by_column = |data| Left { data, row: 1, depth: length };
            let add = |a, data, out: &mut [f32]| {
                product(self.tier, [length, width, length], a, Right { data, leading: keys_wide }, out, true);
            };
            add(by_row(&with_queries), keys, &mut query);
            add(by_column(&with_queries), queries, &mut key);
            add(by_row(&with_keys), keys, &mut key);
            add(by_column(&with_keys), keys, &mut key);
            for (out, rows) in [(&out.query, query), (&out.key, key)] {
                for (token, row) in (chunk.start..).zip(rows.chunks(width)) {
                    // SAFETY: no two tasks have a key head of a token in common.
                    add_scaled(self.tier, row, 1.0, unsafe { out.slice(token * keys_wide + key_head * width, width) });
                }
            }
        }
    }

    /// The gradients of one value head of a chunk; returns those of a and b. The states are the one before the chunk and the gradient of the
    /// one after it, which becomes that of the one before it.
    fn head_gradients(
        &self,
        at: (Chunk, usize, usize),
        (dy, (before, after)): (&[f32], (&[f32], &mut [f32])),
        keys: &Keys,
        found: &mut KeyGradients,
        out: &Shares,
    ) -> [f32; 2] {
        let (Self { tier, shape, .. }, (chunk, _, head)) = (*self, at);
        let (width, length) = (shape.value_dim, chunk.end - chunk.start);
        let own = self.solve(at, keys, before);
        let (dy, leading) = (self.of_value(dy, chunk, head), shape.values());
        let mut sums = Sums { fall: [0.0; CHUNK], strength: [0.0; CHUNK] };
        // of the changes, by what reads them in the chunk and by the state after it
        let mut d_changes = vec![0.0; length * width];
        let weights = Left { data: &own.weights, row: 1, depth: length };
        product(self.tier, [length, width, length], weights, Right { data: dy, leading }, &mut d_changes, false);
        if !chunk.ends {
            self.by_state_after(at, &own, [before, &*after], (&mut d_changes, found, &mut sums));
        }
        substitute_back(tier, &own.links, length, &mut d_changes, width);
        self.within(&own, (dy, &d_changes), keys, found, &mut sums);
        for (t, (row, surprise)) in d_changes.chunks_mut(width).zip(own.surprise.chunks(width)).enumerate() {
            sums.strength[t] += product_of(tier, row, surprise);
            multiply_all(tier, own.strength[t], row);
            // SAFETY: no two tasks have a head of a token in common.
            let values = unsafe { out.value.slice((chunk.start + t) * leading + head * width, width) };
            add_scaled(tier, row, 1.0, values);
        }
        if !chunk.begins {
            self.by_state_before(at, &own, (dy, &d_changes), (before, after), (found, &mut sums));
        }
        let (mut later, mut d_rate, mut d_bias) = (0.0, 0.0, 0.0);
        for token in (0..length).rev() {
            later += sums.fall[token];
            d_rate += later * f64::from(own.steps.delta[token]);
            let step = later as f32 * own.steps.rate * own.steps.slope[token];
            d_bias += step;
            let place = (chunk.start + token) * shape.value_heads + head;
            // SAFETY: no two tasks have a head of a token in common.
            let (steps, strengths) = unsafe { (out.step.slice(place, 1), out.strength.slice(place, 1)) };
            steps[0] += step;
            strengths[0] += sums.strength[token];
        }
        // A = −eᵃ is its own slope
        [d_rate as f32 * own.steps.rate, d_bias]
    }

    /// What changes and keys get by way of the state after the chunk, of which `after` is the gradient.
    fn by_state_after(
        &self,
        (chunk, key_head, _): (Chunk, usize, usize),
        own: &Solved,
        [before, after]: [&[f32]; 2],
        (d_changes, found, sums): (&mut [f32], &mut KeyGradients, &mut Sums),
    ) {
        let Self { tier, shape, inputs } = *self;
        let (wide, width, length) = (shape.key_dim, shape.value_dim, chunk.end - chunk.start);
        let (key, last) = (self.of_key(inputs.key, chunk, key_head), length - 1);
        let remains: Vec<f32> = (0..length).map(|token| own.steps.remains(token, length)).collect();
        let kept = gathered(self.tier, key, [shape.keys(), wide], &remains);
        let kept = Left { data: &kept, row: wide, depth: 1 };
        product(self.tier, [length, width, wide], kept, Right { data: after, leading: width }, d_changes, true);
        let rows = self.through(&own.changes, &transposed(after, width, [wide, width]));
        for (t, row) in rows.chunks(wide).enumerate() {
            let moved = f64::from(remains[t] * product_of(tier, row, &key[t * shape.keys()..][..wide]));
            sums.fall[t] -= moved;
            sums.fall[last] += moved;
            add_scaled(tier, row, remains[t], &mut found.key[t * wide..][..wide]);
        }
        sums.fall[last] += f64::from(own.steps.left(last) * product_of(tier, before, after));
    }

    /// What queries, keys and the state before the chunk get by way of that state. `d_changes` are those of the right side, β ∘ D.
    fn by_state_before(
        &self,
        (chunk, key_head, _): (Chunk, usize, usize),
        own: &Solved,
        (dy, d_changes): (&[f32], &[f32]),
        (before, after): (&[f32], &mut [f32]),
        (found, sums): (&mut KeyGradients, &mut Sums),
    ) {
        let Self { tier, shape, inputs } = *self;
        let (wide, width, length) = (shape.key_dim, shape.value_dim, chunk.end - chunk.start);
        let left: Vec<f32> = (0..length).map(|token| own.steps.left(token)).collect();
        let opposite: Vec<f32> = left.iter().map(|left| -left).collect();
        let read = gathered(self.tier, dy, [shape.values(), width], &left);
        let erased = gathered(self.tier, d_changes, [width; 2], &opposite);
        let turned = transposed(before, width, [wide, width]);
        multiply_all(tier, left[length - 1], after);
        let [query, key] = [inputs.query, inputs.key].map(|of| self.of_key(of, chunk, key_head));
        for (rows, of, gradient) in [(&read, query, &mut found.query), (&erased, key, &mut found.key)] {
            for (t, row) in self.through(rows, &turned).chunks(wide).enumerate() {
                sums.fall[t] += f64::from(product_of(tier, row, &of[t * shape.keys()..][..wide]));
                add_scaled(tier, row, 1.0, &mut gradient[t * wide..][..wide]);
            }
            let of = Left { data: of, row: 1, depth: shape.keys() };
            product(self.tier, [wide, width, length], of, Right { data: rows, leading: width }, after, true);
        }
    }

    /// Rows [length, value_dim] times the transpose of a state, `turned` [value_dim, key_dim].
    fn through(&self, rows: &[f32], turned: &[f32]) -> Vec<f32> {
        let (wide, width) = (self.shape.key_dim, self.shape.value_dim);
        let length = rows.len() / width;
        let mut out = vec![0.0; length * wide];
        let rows = Left { data: rows, row: width, depth: 1 };
        product(self.tier, [length, wide, width], rows, Right { data: turned, leading: wide }, &mut out, false);
        out
    }

    /// What tokens of a chunk give to each other, by L and P.
    fn within(
        &self,
        own: &Solved,
        (dy, d_changes): (&[f32], &[f32]),
        keys: &Keys,
        found: &mut KeyGradients,
        sums: &mut Sums,
    ) {
        let width = self.shape.value_dim;
        let length = own.changes.len() / width;
        let turned = transposed(&own.changes, width, [length, width]);
        let [d_weights, d_links] = [(dy, self.shape.values()), (d_changes, width)].map(|(data, row)| {
            let mut of = vec![0.0; length * length];
            let rows = Left { data, row, depth: 1 };
            product(self.tier, [length, length, width], rows, Right { data: &turned, leading: length }, &mut of, false);
            of
        });
        for t in 0..length {
            let mut own_fall = 0.0;
            for u in 0..=t {
                let at = t * length + u;
                found.with_queries[at] += d_weights[at] * own.remain[at];
                let mut moved = f64::from(d_weights[at] * own.weights[at]);
                if u < t {
                    // L has the opposite sign in what it changes
                    let slope = -d_links[at] * own.remain[at];
                    found.with_keys[at] += slope * own.strength[t];
                    sums.strength[t] += slope * keys.with_keys[at];
                    moved -= f64::from(d_links[at] * own.links[at]);
                }
                own_fall += moved;
                sums.fall[u] -= moved;
            }
            sums.fall[t] += own_fall;
        }
    }
}
