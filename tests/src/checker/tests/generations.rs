//! Histories of operations on files as a whole: one that is right, and one that is wrong in each of the ways.

use crate::checker::*;

/// What happened, and what the files are in the end.
#[derive(Default)]
struct Tale {
    history: History,
    contents: Contents,
}

fn delete(path: &str) -> Deed {
    Deed::Delete { path: path.to_owned() }
}

fn rename(from: &str, to: &str) -> Deed {
    Deed::Rename { from: from.to_owned(), to: to.to_owned(), replace: true }
}

fn truncate(path: &str, size: u64) -> Deed {
    Deed::Truncate { path: path.to_owned(), size }
}

fn publish(parts: &[(&str, AppendId)]) -> Deed {
    let part = |(path, upload): &(&str, AppendId)| Part { path: (*path).to_owned(), upload: *upload, replace: true };
    Deed::Publish { parts: parts.iter().map(part).collect() }
}

impl Tale {
    fn event(&mut self, event: Event) {
        self.history.events.push(event);
    }

    /// An append that is acknowledged there, and its bytes.
    fn write(&mut self, file: &str, generation: u64, offset: u64) -> (AppendId, Vec<u8>) {
        self.write_as(file, generation, offset, Level::Synced)
    }

    fn write_as(&mut self, file: &str, generation: u64, offset: u64, level: Level) -> (AppendId, Vec<u8>) {
        let append = self.history.append(file, None, 10);
        let sent = self.history.events.len();
        self.event(Event::Sent(append));
        let offset = Some(offset);
        self.event(Event::Acked { append, offset, level, generation, duplicate: false, sent });
        (append, self.history.appends[append].data.clone())
    }

    fn upload(&mut self, file: &str) -> (AppendId, Vec<u8>) {
        let upload = self.history.upload(file, 10);
        (upload, self.history.appends[upload].data.clone())
    }

    fn ask(&mut self, deed: Deed, if_generation: Option<u64>) -> OperationId {
        let operation = self.history.operation(deed, if_generation);
        self.event(Event::Asked(operation));
        operation
    }

    fn done(&mut self, operation: OperationId, generations: &[u64]) {
        self.event(Event::Done { operation, generations: generations.to_vec(), size: None });
    }

    fn carry_out(&mut self, deed: Deed, generations: &[u64]) {
        let operation = self.ask(deed, None);
        self.done(operation, generations);
    }

    fn read(&mut self, file: &str, generation: u64, data: &[u8]) {
        let (asked, end) = (self.history.events.len(), data.len() as u64);
        self.event(Event::Read { file: file.to_owned(), generation, offset: 0, data: data.to_vec(), end, asked });
    }

    fn see(&mut self, file: &str, generation: Option<u64>, size: u64) {
        let asked = self.history.events.len();
        self.event(Event::Seen { file: file.to_owned(), generation, size, crc32c: None, asked });
    }

    fn holds(&mut self, file: &str, generation: u64, pieces: &[&[u8]]) {
        let read = pieces.concat();
        self.contents.insert(file.to_owned(), Content { generation, plain: read.clone(), read });
    }

    fn judge(&self) -> Vec<Violation> {
        check(&self.history, &self.contents)
    }
}

fn lost(id: AppendId) -> Violation {
    Violation::Lost(id)
}

#[test]
fn history_of_every_operation_that_is_right_has_no_violation() {
    let mut tale = Tale::default();
    let (_, first) = tale.write("a", 1, 0);
    tale.carry_out(truncate("a", 4), &[2]);
    let (_, second) = tale.write("a", 2, 4);
    tale.read("a", 2, &[&first[..4], &second].concat());
    tale.carry_out(rename("a", "b"), &[2]);
    let (_, whole) = tale.upload("a");
    tale.carry_out(publish(&[("a", 2)]), &[3]);
    let (_, third) = tale.write("a", 3, whole.len() as u64);
    tale.write("c", 4, 0);
    tale.carry_out(delete("c"), &[]);
    let never = tale.ask(delete("a"), None);
    tale.event(Event::Denied(never));
    let unknown = tale.ask(delete("b"), None);
    assert_eq!(tale.history.operations[unknown].if_generation, None);
    let (_, old) = tale.write("r.log", 5, 0);
    let (_, new) = tale.write("r.log", 6, 0);
    let seal = tale.ask(Deed::Seal { path: "a".to_owned() }, None);
    let size = (whole.len() + third.len()) as u64;
    tale.event(Event::Done { operation: seal, generations: vec![3], size: Some(size) });
    tale.holds("a", 3, &[&whole, &third]);
    tale.holds("b", 2, &[&first[..4], &second]);
    tale.holds("r@1.log", 5, &[&old]);
    tale.holds("r.log", 6, &[&new]);
    assert_eq!(tale.judge(), []);
}

#[test]
fn append_that_no_operation_can_have_taken_is_lost() {
    // Over before it was sent; refused; meant for another generation; of another path; behind a cut.
    for (asked_before, denied, if_generation, deed) in [
        (true, false, None, delete("a")),
        (false, true, None, delete("a")),
        (false, false, Some(9), delete("a")),
        (false, false, None, delete("b")),
        (false, false, None, truncate("a", 100)),
        (false, false, None, rename("a", "b")),
    ] {
        let mut tale = Tale::default();
        let before = tale.ask(deed, if_generation);
        if asked_before {
            tale.done(before, &[]);
        }
        let (id, _) = tale.write("a", 1, 0);
        if denied {
            tale.event(Event::Denied(before));
        }
        let found = tale.judge();
        assert_eq!(found, [lost(id)], "{:?}", tale.history);
    }
    let mut tale = Tale::default();
    tale.write("a", 1, 0);
    tale.ask(delete("a"), None);
    assert_eq!(tale.judge(), []);
}

#[test]
fn bytes_that_a_cut_should_have_kept_are_missed() {
    let mut tale = Tale::default();
    let (id, bytes) = tale.write("a", 1, 0);
    tale.carry_out(truncate("a", bytes.len() as u64), &[2]);
    tale.holds("a", 2, &[]);
    assert_eq!(tale.judge(), [lost(id)]);
    tale.holds("a", 2, &[&bytes]);
    assert_eq!(tale.judge(), []);
}

#[test]
fn file_that_did_not_arrive_at_its_new_path_is_missed() {
    let mut tale = Tale::default();
    let (id, bytes) = tale.write("a", 1, 0);
    tale.carry_out(rename("a", "b"), &[1]);
    let gone = Violation::Vanished { file: "b".to_owned(), generation: 1 };
    assert_eq!(tale.judge(), [lost(id), gone]);
    tale.holds("b", 1, &[&bytes]);
    assert_eq!(tale.judge(), []);
}

#[test]
fn content_at_two_paths_is_found() {
    let mut tale = Tale::default();
    let (id, bytes) = tale.write("a", 1, 0);
    tale.carry_out(rename("a", "b"), &[1]);
    tale.holds("a", 1, &[&bytes]);
    tale.holds("b", 1, &[&bytes]);
    let back = Violation::CameBack { file: "a".to_owned(), generation: 1 };
    assert_eq!(tale.judge(), [Violation::TwoPaths("a".to_owned(), "b".to_owned()), Violation::Twice(id), back]);
}

#[test]
fn bytes_at_a_path_to_which_nobody_moved_them_are_invented() {
    let mut tale = Tale::default();
    let (_, bytes) = tale.write("a", 1, 0);
    tale.holds("b", 1, &[&bytes]);
    assert_eq!(tale.judge(), [Violation::Invented { file: "b".to_owned(), offset: 0 }]);
}

#[test]
fn part_of_an_append_is_invented_unless_somebody_cut_there() {
    let mut tale = Tale::default();
    let (_, bytes) = tale.write("a", 1, 0);
    tale.carry_out(truncate("a", 5), &[2]);
    tale.holds("a", 2, &[&bytes[..5]]);
    assert_eq!(tale.judge(), []);
    tale.holds("a", 2, &[&bytes[..4]]);
    assert_eq!(tale.judge(), [Violation::Invented { file: "a".to_owned(), offset: 0 }]);
}

#[test]
fn what_came_behind_a_cut_tells_where_the_cut_was() {
    let mut tale = Tale::default();
    let mut written: Vec<_> = (0..10).map(|_| tale.history.append("a", None, 10)).collect();
    written.push(tale.write("a", 1, 0).0);
    tale.carry_out(truncate("a", 1), &[2]);
    tale.ask(truncate("b", 2), None);
    let sent = tale.history.events.len();
    tale.event(Event::Sent(written[0]));
    let (offset, level) = (Some(1), Level::Synced);
    tale.event(Event::Acked { append: written[0], offset, level, generation: 2, duplicate: false, sent });
    // The 1 of append 10 and the 0 of append 0: the first two bytes of append 10 as well.
    let [first, .., last] = &written[..] else { unreachable!() };
    let bytes = [&tale.history.appends[*last].data[..1], &tale.history.appends[*first].data].concat();
    tale.holds("a", 2, &[&bytes]);
    assert_eq!(tale.judge(), []);
}

#[test]
fn operation_that_is_undone_is_found() {
    let back = |generation| Violation::CameBack { file: "a".to_owned(), generation };
    for deed in [delete("a"), Deed::DeletePrefix { prefix: String::new() }, truncate("a", 0)] {
        let mut tale = Tale::default();
        let (_, bytes) = tale.write("a", 1, 0);
        tale.carry_out(deed, &[]);
        tale.holds("a", 1, &[&bytes]);
        assert_eq!(tale.judge(), [back(1)]);
    }
}

#[test]
fn prefix_that_is_deleted_takes_what_is_there_for_sure() {
    for level in [Level::Synced, Level::Written] {
        let mut tale = Tale::default();
        let (_, bytes) = tale.write_as("a", 1, 0, level);
        tale.event(Event::PowerLost);
        tale.carry_out(Deed::DeletePrefix { prefix: String::new() }, &[]);
        tale.holds("a", 1, &[&bytes]);
        let back = Violation::CameBack { file: "a".to_owned(), generation: 1 };
        assert_eq!(tale.judge(), if level == Level::Synced { vec![back] } else { vec![] });
    }
}

#[test]
fn path_that_leads_to_a_generation_again_is_found() {
    for elsewhere in [None, Some(2)] {
        let mut tale = Tale::default();
        let (_, bytes) = tale.write("a", 1, 0);
        tale.ask(delete("a"), None);
        tale.see("a", elsewhere, 0);
        tale.holds("a", 1, &[&bytes]);
        assert_eq!(tale.judge(), [Violation::CameBack { file: "a".to_owned(), generation: 1 }]);
    }
}

#[test]
fn file_that_was_not_there_after_power_was_lost_may_come_again() {
    let mut tale = Tale::default();
    tale.see("a", Some(1), 0);
    tale.event(Event::PowerLost);
    tale.see("a", None, 0);
    let (_, bytes) = tale.write("a", 1, 0);
    tale.holds("a", 1, &[&bytes]);
    assert_eq!(tale.judge(), []);
}

#[test]
fn generation_that_was_seen_and_is_gone_is_missed() {
    let mut tale = Tale::default();
    tale.see("a", Some(1), 0);
    assert_eq!(tale.judge(), [Violation::Vanished { file: "a".to_owned(), generation: 1 }]);
    tale.event(Event::PowerLost);
    assert_eq!(tale.judge(), []);
}

#[test]
fn upload_that_was_published_and_is_missing_is_lost() {
    let mut tale = Tale::default();
    let (id, _) = tale.upload("a");
    tale.carry_out(publish(&[("a", id)]), &[1]);
    assert_eq!(tale.judge(), [lost(id)]);
}

#[test]
fn upload_that_nobody_published_is_found() {
    let mut tale = Tale::default();
    let (id, bytes) = tale.upload("a");
    tale.holds("a", 1, &[&bytes]);
    assert_eq!(tale.judge(), [Violation::Unpublished(id)]);
    let refused = tale.ask(publish(&[("a", id)]), None);
    tale.event(Event::Denied(refused));
    assert_eq!(tale.judge(), [Violation::Unpublished(id)]);
}

#[test]
fn upload_that_is_not_whole_is_found() {
    let mut tale = Tale::default();
    let (id, bytes) = tale.upload("a");
    tale.ask(publish(&[("a", id)]), None);
    tale.holds("a", 1, &[&bytes[..5]]);
    assert_eq!(tale.judge(), [Violation::Invented { file: "a".to_owned(), offset: 0 }]);
    let (_, before) = tale.write("a", 1, 0);
    tale.holds("a", 1, &[&before, &bytes]);
    assert_eq!(tale.judge(), [Violation::Partial(id)]);
}

#[test]
fn half_of_a_set_is_found() {
    // In the end.
    let mut tale = Tale::default();
    let ((one, bytes), (two, _)) = (tale.upload("a"), tale.upload("b"));
    tale.ask(publish(&[("a", one), ("b", two)]), None);
    assert_eq!(tale.judge(), []);
    tale.holds("a", 1, &[&bytes]);
    assert_eq!(tale.judge(), [lost(two)]);
    // And by the way: the first is seen, and afterwards the file before the second.
    let mut tale = Tale::default();
    let (_, old) = tale.write("b", 5, 0);
    let ((one, first), (two, second)) = (tale.upload("a"), tale.upload("b"));
    tale.ask(publish(&[("a", one), ("b", two)]), None);
    tale.read("a", 1, &first);
    tale.read("b", 5, &old);
    tale.holds("a", 1, &[&first]);
    tale.holds("b", 6, &[&second]);
    assert_eq!(tale.judge(), [Violation::CameBack { file: "b".to_owned(), generation: 5 }]);
}

#[test]
fn file_that_grew_after_it_was_sealed_is_found() {
    let mut tale = Tale::default();
    let (_, one) = tale.write("a", 1, 0);
    let seal = tale.ask(Deed::Seal { path: "a".to_owned() }, None);
    tale.event(Event::Done { operation: seal, generations: vec![1], size: Some(one.len() as u64) });
    let (_, two) = tale.write("a", 1, one.len() as u64);
    tale.holds("a", 1, &[&one, &two]);
    assert_eq!(tale.judge(), [Violation::Sealed { file: "a".to_owned(), generation: 1 }]);
}

#[test]
fn file_that_was_sealed_without_what_was_lost_with_power_is_right() {
    let mut tale = Tale::default();
    let (_, one) = tale.write("a", 1, 0);
    let lost = tale.history.append("a", None, 10);
    tale.event(Event::Sent(lost));
    let (sent, offset, level) = (tale.history.events.len() - 1, Some(one.len() as u64), Level::Written);
    tale.event(Event::Acked { append: lost, offset, level, generation: 1, duplicate: false, sent });
    tale.event(Event::PowerLost);
    let seal = tale.ask(Deed::Seal { path: "a".to_owned() }, None);
    tale.event(Event::Done { operation: seal, generations: vec![1], size: Some(one.len() as u64) });
    tale.holds("a", 1, &[&one]);
    assert_eq!(tale.judge(), []);
}

#[test]
fn end_before_what_was_acknowledged_is_found() {
    let mut tale = Tale::default();
    let (_, bytes) = tale.write("a", 1, 0);
    tale.see("a", Some(1), 3);
    tale.holds("a", 1, &[&bytes]);
    let acked = bytes.len() as u64;
    assert_eq!(tale.judge(), [Violation::Behind { file: "a".to_owned(), generation: 1, told: 3, acked }]);
}

#[test]
fn checksum_that_is_not_that_of_the_bytes_is_found() {
    let mut tale = Tale::default();
    let (_, bytes) = tale.write("a", 1, 0);
    let (asked, size) = (tale.history.events.len(), bytes.len() as u64);
    tale.event(Event::Seen { file: "a".to_owned(), generation: Some(1), size, crc32c: Some(1), asked });
    tale.holds("a", 1, &[&bytes]);
    assert_eq!(tale.judge(), [Violation::Checksum { file: "a".to_owned(), generation: 1 }]);
}
