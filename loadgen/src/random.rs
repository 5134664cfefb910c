//! Seeded random numbers: the same seed makes the same load.

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of one stream of a run; streams of the same seed are independent.
    pub const fn new(seed: u64, stream: u64) -> Self {
        Self(seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    /// 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub const fn below(&mut self, bound: u32) -> u32 {
        (((self.bits() >> 32) * bound as u64) >> 32) as u32
    }

    /// A number in `[0, 1)`.
    pub const fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Time to the next arrival of a Poisson process, in the unit of `mean`.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -(1.0 - self.unit()).ln() * mean
    }
}

/// Numbers below a bound, small ones more often: number `k` in proportion to `1 / (k + 1)^exponent`.
///
/// Rejection-inversion (Hörmann, Derflinger, "Rejection-inversion to generate variates from monotone discrete
/// distributions", TOMACS 1996): it needs no table, and little more than one draw per number for any bound and
/// exponent.
#[derive(Clone, Copy, Debug)]
pub struct Zipf {
    bound: f64,
    exponent: f64,
    /// The integral of the hat over the first number.
    first: f64,
    /// The integral of the hat over all numbers.
    all: f64,
    /// A draw that is below a number by at most this is always accepted.
    near: f64,
}

impl Zipf {
    /// Numbers below `bound`, which is at least 1; `exponent` is above 0.
    pub fn new(bound: u32, exponent: f64) -> Self {
        assert!(bound > 0 && exponent > 0.0, "zipf of {bound} numbers with exponent {exponent}");
        let mut zipf = Self { bound: bound.into(), exponent, first: 0.0, all: 0.0, near: 0.0 };
        zipf.first = zipf.integral(1.5) - 1.0;
        zipf.all = zipf.integral(zipf.bound + 0.5);
        zipf.near = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    /// Draws a number.
    pub fn draw(&self, random: &mut Random) -> u32 {
        loop {
            let area = self.all + random.unit() * (self.first - self.all);
            let at = self.inverse(area);
            let number = at.round().clamp(1.0, self.bound);
            if number - at <= self.near || area >= self.integral(number + 0.5) - self.weight(number) {
                return number as u32 - 1;
            }
        }
    }

    fn weight(&self, at: f64) -> f64 {
        at.powf(-self.exponent)
    }

    /// The integral of the weight, from 1.
    fn integral(&self, to: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power == 0.0 { to.ln() } else { (power * to.ln()).exp_m1() / power }
    }

    fn inverse(&self, area: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power == 0.0 { area.exp() } else { ((power * area).max(-1.0).ln_1p() / power).exp() }
    }
}

/// How often each key is used.
#[derive(Clone, Copy, Debug)]
pub enum Keys {
    /// All of this many keys equally often.
    Uniform(u32),
    /// The first keys more often.
    Zipf(Zipf),
}

impl Keys {
    /// Draws a key.
    pub fn draw(&self, random: &mut Random) -> u32 {
        match self {
            Self::Uniform(keys) => random.below(*keys),
            Self::Zipf(zipf) => zipf.draw(random),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrivals have the mean and the spread of a Poisson process: both are the mean.
    #[test]
    fn arrivals_are_poisson() {
        let mut random = Random::new(1, 0);
        let gaps: Vec<f64> = (0..100_000).map(|_| random.exponential(200.0)).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 200.0).abs() < 3.0, "{mean}");
        assert!((variance.sqrt() - 200.0).abs() < 5.0, "{}", variance.sqrt());
    }

    /// Numbers below a bound reach all of it and nothing else.
    #[test]
    fn below_is_uniform() {
        let mut random = Random::new(2, 3);
        let mut seen = [0; 10];
        for _ in 0..100_000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (9_000..11_000).contains(count)), "{seen:?}");
    }

    /// Each number comes in proportion to its weight, for exponents below, at and above 1.
    #[test]
    fn zipf_has_its_weights() {
        const DRAWS: u32 = 400_000;
        for exponent in [0.5, 0.99, 1.0, 1.5, 3.0] {
            for bound in [1u32, 2, 3, 50] {
                let (zipf, mut random) = (Zipf::new(bound, exponent), Random::new(7, 0));
                let mut seen = vec![0u32; bound as usize];
                for _ in 0..DRAWS {
                    seen[zipf.draw(&mut random) as usize] += 1;
                }
                let weights: Vec<f64> = (1..=bound).map(|at| f64::from(at).powf(-exponent)).collect();
                let sum: f64 = weights.iter().sum();
                for (at, (seen, weight)) in seen.iter().zip(&weights).enumerate() {
                    let want = f64::from(DRAWS) * weight / sum;
                    // Five standard deviations of a binomial count.
                    let off = (f64::from(*seen) - want).abs();
                    assert!(off < 5.0 * want.sqrt() + 3.0, "{exponent} {bound} {at}: {seen} of {want}");
                }
            }
        }
    }

    /// The greatest bound is reached and not passed.
    #[test]
    fn zipf_of_many() {
        let (zipf, mut random) = (Zipf::new(100_000_000, 0.5), Random::new(1, 1));
        let most = (0..100_000).map(|_| zipf.draw(&mut random)).max().expect("a number");
        assert!((99_000_000..100_000_000).contains(&most), "{most}");
    }
}
