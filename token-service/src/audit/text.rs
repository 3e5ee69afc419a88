//! Text that somebody else chose: bounded when it is kept, harmless when it is shown.

/// Cuts `text` to at most `max` bytes, between characters, and says so with an ellipsis. A NUL, which SQL functions
/// take for an end, is replaced.
#[must_use]
pub fn clip(text: &str, max: usize) -> String {
    if text.contains('\0') {
        return clip(&text.replace('\0', "?"), max);
    }
    if text.len() <= max {
        return text.to_owned();
    }
    const ELLIPSIS: &str = "…";
    let end = text.floor_char_boundary(max.saturating_sub(ELLIPSIS.len()));
    let mut cut = text.get(..end).unwrap_or_default().to_owned();
    cut.push_str(ELLIPSIS);
    cut
}

/// `text` without anything a terminal would act on or that changes the reading order of a line.
#[must_use]
pub fn printable(text: &str) -> String {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars()
        .map(|c| if acts(c) { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(clip("short", 10), "short");
        assert_eq!(clip("ääää", 7), "ää…");
        assert!(clip(&"x".repeat(100), 10).len() <= 10);
    }

    #[test]
    fn a_name_cannot_draw_on_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\u{202e}c"), "a\u{fffd}[31mb\u{fffd}c");
    }
}
