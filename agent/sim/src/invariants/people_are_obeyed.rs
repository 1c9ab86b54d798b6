//! People are obeyed: while a pause stands nobody takes over, and what was asked for once is not begun twice.

use super::Violation;

/// `by` has just been written as holder in place of another member.
pub fn pause(stands: bool, by: &str) -> Option<Violation> {
    stands.then(|| Violation::TakenInPause { by: by.to_owned() })
}

/// The hand-over that this request asked for was just begun; `again`: not for the first time.
pub fn once(again: bool, id: &str) -> Option<Violation> {
    again.then(|| Violation::DoneTwice { id: id.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pause_forbids_to_take_over_and_only_a_second_time_counts() {
        assert_eq!((pause(false, "a-1"), once(false, "r1")), (None, None));
        assert_eq!(pause(true, "a-1"), Some(Violation::TakenInPause { by: "a-1".into() }));
        assert_eq!(once(true, "r1"), Some(Violation::DoneTwice { id: "r1".into() }));
    }
}
