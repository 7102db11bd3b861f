//! "Did you mean …?"

/// A way out for a name that is not known: the nearest known one, else all of them.
pub(super) fn advise(name: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return "there are none here".to_owned();
    }
    let near = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3);
    if let Some((_, candidate)) = near {
        return format!("did you mean `{candidate}`?");
    }
    let shown: Vec<&str> = known.iter().copied().take(20).collect();
    let more = if known.len() > shown.len() { ", …" } else { "" };
    format!("known: {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::advise;

    #[test]
    fn the_nearest_is_named_or_all_are() {
        assert_eq!(advise("compensat", &["compensate", "action"]), "did you mean `compensate`?");
        assert_eq!(advise("zzz", &["compensate", "action"]), "known: compensate, action");
        assert_eq!(advise("zzz", &[]), "there are none here");
    }
}
