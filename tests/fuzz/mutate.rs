//! Changes of inputs, from a seed.

/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
pub struct Random(u64);

/// Numbers at which lengths and counts go wrong.
const NUMBERS: [i64; 12] =
    [0, 1, -1, 2, 0x7F, 0x80, 0xFFFF, i32::MAX as i64, i32::MIN as i64, 1 << 20, i64::MAX, i64::MIN];

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// One of `inputs` with one to eight changes, of at most `bytes_max` bytes.
    pub fn changed(&mut self, inputs: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
        let mut input = inputs[self.below(inputs.len())].clone();
        for _ in 0..1 << self.below(4) {
            self.change(&mut input, inputs);
        }
        input.truncate(bytes_max);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let rest = input.len() - at;
        match self.below(9) {
            0 if rest > 0 => input[at] ^= 1 << self.below(8),
            1 if rest > 0 => input[at] = self.next() as u8,
            2 if rest >= 4 => {
                let number = NUMBERS[self.below(NUMBERS.len())] as i32;
                input[at..at + 4].copy_from_slice(&number.to_be_bytes());
            }
            3 if rest >= 8 => {
                let number = NUMBERS[self.below(NUMBERS.len())];
                input[at..at + 8].copy_from_slice(&number.to_be_bytes());
            }
            // A length or count that is one off, or tells how much there is.
            4 if rest >= 4 => {
                let before = i32::from_be_bytes(input[at..at + 4].try_into().unwrap());
                let wanted = [before.wrapping_add(1), before.wrapping_sub(1), rest as i32 - 4][self.below(3)];
                input[at..at + 4].copy_from_slice(&wanted.to_be_bytes());
            }
            5 => input.truncate(at),
            6 if rest > 0 => drop(input.drain(at..at + 1 + self.below(rest.min(64)))),
            7 if rest > 0 => {
                let piece = input[at..at + 1 + self.below(rest.min(256))].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            // From another input on.
            _ => {
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
}
