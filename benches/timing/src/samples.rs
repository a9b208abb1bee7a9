//! Times of two classes of inputs, and whether they differ: Welch's t-test, as in dudect (Reparaz, Balasch, Verbauwhede:
//! "Dude, is my code constant time?", 2017).

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// Beyond it, the classes differ.
pub const LEAK: f64 = 4.5;
/// Beyond it, they differ beyond doubt.
pub const DEFINITE: f64 = 10.0;
/// Shares of the fastest times of both classes together. Each is tested by itself, and the largest `t` counts: what
/// else the machine does is in the slowest times.
const KEPT: [f64; 6] = [1.0, 0.99, 0.9, 0.75, 0.5, 0.25];

/// Nanoseconds, by class.
#[derive(Default)]
pub struct Samples(pub [Vec<f64>; 2]);

impl Samples {
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    pub fn median(&self, class: usize) -> f64 {
        quantile(&mut self.0[class].clone(), 0.5)
    }

    /// The `t` farthest from zero, of all shares.
    pub fn t(&self) -> f64 {
        let mut all = self.0.concat();
        let by_share = KEPT.map(|share| self.welch(quantile(&mut all, share)));
        by_share.into_iter().filter(|t| t.is_finite()).max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(0.0)
    }

    /// Welch's `t` of the times up to `limit`.
    fn welch(&self, limit: f64) -> f64 {
        let [left, right] = [0, 1].map(|class| Moments::of(self.0[class].iter().filter(|time| **time <= limit)));
        (left.mean - right.mean) / (left.variance / left.count + right.variance / right.count).sqrt()
    }

    /// The smallest difference that these times could have shown: they are dealt to two classes anew, one of them is
    /// slowed down, and the test is asked whether it sees it. Less than a step of the clock is a step for some of them.
    pub fn smallest_visible(&self, rng: &mut StdRng) -> f64 {
        let mut all = self.0.concat();
        all.shuffle(rng);
        let (left, right) = all.split_at(all.len() / 2);
        let (mut unseen, mut seen) = (0.0, self.median(0));
        for _ in 0..16 {
            let shift = f64::midpoint(unseen, seen);
            let slower = right.iter().map(|time| (time + shift + rng.random::<f64>()).floor()).collect();
            let is_seen = Self([left.to_vec(), slower]).t().abs() > LEAK;
            *if is_seen { &mut seen } else { &mut unseen } = shift;
        }
        seen
    }
}

struct Moments {
    count: f64,
    mean: f64,
    variance: f64,
}

impl Moments {
    fn of<'a>(times: impl Iterator<Item = &'a f64> + Clone) -> Self {
        let count = times.clone().count() as f64;
        let mean = times.clone().sum::<f64>() / count;
        let variance = times.map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Self { count, mean, variance }
    }
}

fn quantile(times: &mut [f64], share: f64) -> f64 {
    let last = times.len() - 1;
    *times.select_nth_unstable_by((last as f64 * share) as usize, f64::total_cmp).1
}
