//! W3C trace context (Trace Context, level 1): a saga is one trace, each call a span of it.

use std::fmt::Write;

/// A new trace, for a start that came without one.
pub(super) fn fresh() -> String {
    let mut text = String::with_capacity(55);
    // Zero ids are invalid; these are odd. Writing to a string cannot fail.
    let _ = write!(text, "00-{:032x}-{:016x}-01", fastrand::u128(..) | 1, fastrand::u64(..) | 1);
    text
}

/// The same trace with a new span below `parent`; a new trace where `parent` is none.
pub(super) fn child_of(parent: &str) -> String {
    match (parent.get(..36), parent.get(52..55)) {
        (Some(trace), Some(flags)) if parent.len() == 55 => format!("{trace}{:016x}{flags}", fastrand::u64(..) | 1),
        _ => fresh(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_keeps_the_trace_and_the_flags() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let child = child_of(parent);
        assert_eq!((child.len(), &child[..36], &child[52..]), (55, &parent[..36], "-00"));
        assert_ne!(child, parent);
        assert_eq!(child_of("nonsense").len(), 55);
    }
}
