//! The order of names that people expect: `net2` before `net10`.

use std::cmp::Ordering;

/// Numbers within names count by their value, and of equal ones those with fewer zeros in front come first; digits come
/// before other characters, which are compared byte by byte.
pub(crate) fn order(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one.as_bytes(), other.as_bytes());
    while let (Some(a), Some(b)) = (left.first(), right.first()) {
        match (a.is_ascii_digit(), b.is_ascii_digit()) {
            (true, true) => {
                let (one, other);
                (one, left) = number(left);
                (other, right) = number(right);
                let order = one.digits.len().cmp(&other.digits.len()).then(one.digits.cmp(other.digits));
                match order.then(one.zeros.cmp(&other.zeros)) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                }
            }
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) if a != b => return a.cmp(b),
            (false, false) => (left, right) = (&left[1..], &right[1..]),
        }
    }
    left.len().cmp(&right.len())
}

struct Number<'a> {
    zeros: usize,
    digits: &'a [u8],
}

fn number(text: &[u8]) -> (Number<'_>, &[u8]) {
    let zeros = text.iter().take_while(|byte| **byte == b'0').count();
    let text = &text[zeros..];
    let (digits, rest) = text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count());
    (Number { zeros, digits }, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_by_their_value() {
        let sorted = ["", "1", "01", "2", "10", "a", "a2", "a2b", "a02", "a10", "aa", "b"];
        for (index, one) in sorted.iter().enumerate() {
            for (place, other) in sorted.iter().enumerate() {
                assert_eq!(order(one, other), index.cmp(&place), "{one} {other}");
            }
        }
    }
}
