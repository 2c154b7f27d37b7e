//! "Did you mean": the nearest known word.

/// Words longer than this are not compared: the cost grows with the product of the lengths.
const MAX_LENGTH: usize = 64;

/// The candidate nearest to `word`, if one is near enough to be what was meant.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if word.len() > MAX_LENGTH {
        return None;
    }
    let limit = match word.chars().count() {
        0 => return None,
        1..=3 => 1,
        4..=7 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= limit)
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_the_near_and_leaves_the_far() {
        let words = ["l2-dsr", "ipip-dsr", "gue-dsr", "dnat", "full-nat", "local"];
        assert_eq!(nearest("l2-drs", words), Some("l2-dsr"));
        assert_eq!(nearest("fullnat", words), Some("full-nat"));
        assert_eq!(nearest("snat", words), Some("dnat"));
        assert_eq!(nearest("masquerade", words), None);
        assert_eq!(nearest("", words), None);
    }
}
