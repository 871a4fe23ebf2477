//! All schedules within bounds, one after the other. A schedule is the choices that were made where there was one; the
//! first choice is always the natural one (what came first is taken first), the others are departures from it, of which
//! a bounded number is made.

/// How far schedules depart from the natural one.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How often something other than what came first is taken.
    pub orders: usize,
    /// How many failures there are.
    pub faults: usize,
}

/// The choices of one schedule.
#[derive(Debug, Default)]
pub struct Choices {
    /// What was chosen, of how many.
    made: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    /// Chooses one of `count`.
    pub fn choose(&mut self, count: usize) -> usize {
        let at = self.at;
        self.at += 1;
        match self.made.get(at) {
            Some((chosen, known)) => {
                assert_eq!(*known, count, "the same choices led elsewhere, at choice {at} of {:?}", self.made);
                *chosen
            }
            None => {
                self.made.push((0, count));
                0
            }
        }
    }

    /// Goes to the next schedule, if there is one.
    pub fn go_on(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, count)) = self.made.pop() {
            if chosen + 1 < count {
                self.made.push((chosen + 1, count));
                return true;
            }
        }
        false
    }
}

/// Runs every schedule; returns how many there were.
pub fn run_all(mut run: impl FnMut(&mut Choices)) -> usize {
    let mut choices = Choices::default();
    let mut count = 0;
    loop {
        count += 1;
        run(&mut choices);
        if !choices.go_on() {
            return count;
        }
    }
}

#[test]
fn every_schedule_comes_once() {
    let mut seen = Vec::new();
    let count = run_all(|choices| {
        let first = choices.choose(2);
        seen.push((first, if first == 1 { choices.choose(3) } else { 0 }));
    });
    assert_eq!((count, seen), (4, vec![(0, 0), (1, 0), (1, 1), (1, 2)]));
}
