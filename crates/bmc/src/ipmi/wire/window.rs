//! Which packets of a session have been seen: sequence numbers are accepted once, and only near the
//! newest (section 6.12.13), because UDP repeats and reorders, and so does whoever replays.

/// How far behind the newest a late packet may be.
const BEHIND: u32 = 31;

/// How far ahead of the newest the next one may be: that many may be lost on the way.
const AHEAD: u32 = 1 << 16;

/// The numbers that one side of a session has received.
#[derive(Debug, Clone, Default)]
pub struct Window {
    newest: u32,
    /// Bit n: `newest - n` has been received.
    seen: u32,
}

impl Window {
    /// Whether a packet of this number is new; it then is not the next time. 0 never is: it marks
    /// packets outside of a session.
    pub fn accept(&mut self, number: u32) -> bool {
        let ahead = number.wrapping_sub(self.newest);
        if number == 0 {
            false
        } else if ahead != 0 && ahead <= AHEAD {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = number;
            true
        } else {
            let behind = self.newest.wrapping_sub(number);
            let fresh = behind <= BEHIND && self.seen & (1 << behind) == 0;
            if fresh {
                self.seen |= 1 << behind;
            }
            fresh
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_counts_once_in_whatever_order() {
        let mut window = Window::default();
        let accepted: Vec<_> = [1, 3, 2, 3, 1, 40, 2, 9, 9, 41]
            .into_iter()
            .map(|number| window.accept(number))
            .collect();
        assert_eq!(
            accepted,
            [
                true, true, true, false, false, true, false, true, false, true
            ]
        );
    }

    #[test]
    fn what_is_far_away_is_not_of_this_session() {
        let mut window = Window::default();
        assert!(!window.accept(0));
        assert!(!window.accept(1 << 20));
        assert!(window.accept(1000));
        assert!(!window.accept(900));
    }
}
