//! A history that is right, and one that is wrong in each of the ways.
#![allow(clippy::unwrap_used)]

use super::*;

mod generations;

const FILE: &str = "a.log";
const GENERATION: u64 = 7;

fn producer(epoch: u64) -> Producer {
    Producer { id: "p".to_owned(), epoch }
}

/// A history in the making, with the file as it should come out.
#[derive(Default)]
struct Tale {
    history: History,
    content: Vec<u8>,
}

impl Tale {
    fn make(&mut self, producer: Option<(Producer, u64)>) -> AppendId {
        self.history.append(FILE, producer, 12)
    }

    fn event(&mut self, event: Event) {
        self.history.events.push(event);
    }

    fn send(&mut self, epoch: u64, seq: u64) -> AppendId {
        let id = self.make(Some((producer(epoch), seq)));
        self.event(Event::Sent(id));
        id
    }

    fn ack(&mut self, append: AppendId, offset: u64, level: Level) {
        let sent = self.history.events.iter().rposition(|event| *event == Event::Sent(append)).unwrap_or_default();
        let (offset, duplicate) = (Some(offset), false);
        self.event(Event::Acked { append, offset, level, generation: GENERATION, duplicate, sent });
    }

    fn opened(&mut self, epoch: u64, last_seq: u64) {
        let asked = self.history.events.len();
        self.event(Event::Opened { file: FILE.to_owned(), producer: producer(epoch), last_seq, asked });
    }

    fn read(&mut self, offset: u64, data: &[u8]) {
        let (file, data, asked) = (FILE.to_owned(), data.to_vec(), self.history.events.len());
        let end = (offset + data.len() as u64).max(self.content.len() as u64);
        self.event(Event::Read { file, generation: GENERATION, offset, data, end, asked });
    }

    /// Puts it at the end of the file; gives where it begins.
    fn put(&mut self, id: AppendId) -> u64 {
        let offset = self.content.len() as u64;
        self.content.extend_from_slice(&self.history.appends[id].data);
        offset
    }

    /// The most usual thing: sent, there, acknowledged.
    fn write(&mut self, epoch: u64, seq: u64) -> AppendId {
        let id = self.send(epoch, seq);
        let offset = self.put(id);
        self.ack(id, offset, Level::Synced);
        id
    }

    fn judge(&self) -> Vec<Violation> {
        self.judge_with(self.content.clone(), GENERATION)
    }

    fn judge_with(&self, plain: Vec<u8>, generation: u64) -> Vec<Violation> {
        let content = Content { generation, read: self.content.clone(), plain };
        let contents = if self.content.is_empty() { Contents::new() } else { [(FILE.to_owned(), content)].into() };
        check(&self.history, &contents)
    }
}

#[test]
fn history_that_is_right_has_no_violation() {
    let mut tale = Tale::default();
    tale.opened(1, 0);
    tale.write(1, 1);
    let unknown = tale.send(1, 2);
    tale.put(unknown);
    let never = tale.make(None);
    tale.event(Event::Sent(never));
    tale.event(Event::Refused(never));
    let lost = tale.make(None);
    tale.event(Event::Sent(lost));
    tale.opened(1, 2);
    let content = tale.content.clone();
    tale.read(0, &content);
    tale.opened(2, 0);
    tale.write(2, 1);
    assert_eq!(tale.judge(), []);
}

#[test]
fn acknowledged_append_that_is_missing_is_lost() {
    let mut tale = Tale::default();
    tale.write(1, 1);
    let lost = tale.send(1, 2);
    let end = tale.content.len() as u64;
    tale.ack(lost, end, Level::Written);
    assert_eq!(tale.judge(), [Violation::Lost(lost)]);
}

#[test]
fn power_loss_takes_what_was_written_and_not_what_was_synced() {
    let mut tale = Tale::default();
    let written = tale.send(1, 1);
    tale.ack(written, 0, Level::Written);
    tale.event(Event::PowerLost);
    assert_eq!(tale.judge(), []);
    let mut tale = Tale::default();
    let synced = tale.send(1, 1);
    tale.ack(synced, 0, Level::Synced);
    tale.event(Event::PowerLost);
    assert_eq!(tale.judge(), [Violation::Lost(synced)]);
}

#[test]
fn what_was_lost_with_power_may_be_elsewhere_when_it_is_sent_again() {
    let mut tale = Tale::default();
    let first = tale.make(None);
    tale.event(Event::Sent(first));
    let again = tale.send(1, 1);
    tale.ack(again, 12, Level::Written);
    tale.event(Event::PowerLost);
    tale.event(Event::Sent(again));
    let offset = tale.put(again);
    tale.ack(again, offset, Level::Synced);
    assert_eq!(tale.judge(), []);
}

#[test]
fn answer_that_was_on_its_way_when_power_was_lost_promises_nothing_below_synced() {
    let mut tale = Tale::default();
    let late = tale.send(1, 1);
    tale.event(Event::PowerLost);
    tale.ack(late, 0, Level::Written);
    let (file, data) = (FILE.to_owned(), tale.history.appends[late].data.clone());
    tale.event(Event::Read { file, generation: GENERATION, offset: 0, data, end: 6, asked: 1 });
    tale.event(Event::Opened { file: FILE.to_owned(), producer: producer(1), last_seq: 1, asked: 1 });
    tale.opened(1, 0);
    assert_eq!(tale.judge(), []);
}

#[test]
fn append_that_is_there_more_than_once_is_found() {
    let mut tale = Tale::default();
    let twice = tale.make(None);
    tale.event(Event::Sent(twice));
    tale.put(twice);
    tale.put(twice);
    assert_eq!(tale.judge(), [Violation::Twice(twice)]);
}

#[test]
fn append_that_is_not_where_the_ack_said_is_misplaced() {
    let mut tale = Tale::default();
    let id = tale.send(1, 1);
    tale.put(id);
    tale.ack(id, 3, Level::Synced);
    assert_eq!(tale.judge(), [Violation::Misplaced { append: id, acked: 3, found: 0 }]);
}

#[test]
fn bytes_that_nobody_sent_are_invented() {
    for bytes in [&b"zeros: \0\0\0"[..], b"\0\0\0\0", b"0:abc"] {
        let mut tale = Tale::default();
        tale.write(1, 1);
        let offset = tale.content.len() as u64;
        tale.content.extend_from_slice(bytes);
        assert_eq!(tale.judge(), [Violation::Invented { file: FILE.to_owned(), offset }]);
    }
}

#[test]
fn bytes_of_another_file_are_invented() {
    let mut tale = Tale::default();
    let id = tale.history.append("b.log", None, 12);
    tale.event(Event::Sent(id));
    tale.put(id);
    assert_eq!(tale.judge(), [Violation::Invented { file: FILE.to_owned(), offset: 0 }]);
}

#[test]
fn refused_append_that_is_there_is_found_unless_another_attempt_may_have_brought_it() {
    let mut tale = Tale::default();
    let id = tale.send(1, 1);
    tale.event(Event::Refused(id));
    tale.put(id);
    assert_eq!(tale.judge(), [Violation::Refused(id)]);
    tale.event(Event::Sent(id));
    assert_eq!(tale.judge(), []);
}

#[test]
fn append_that_was_never_sent_is_found() {
    let mut tale = Tale::default();
    let id = tale.make(None);
    tale.put(id);
    assert_eq!(tale.judge(), [Violation::Refused(id)]);
}

#[test]
fn producer_whose_appends_changed_places_is_found() {
    let mut tale = Tale::default();
    let (one, two) = (tale.send(1, 1), tale.send(1, 2));
    tale.put(two);
    tale.put(one);
    let gap = Violation::Gap { file: FILE.to_owned(), producer: producer(1), seq: 1 };
    assert_eq!(tale.judge(), [gap, Violation::OutOfOrder(two, one)]);
}

#[test]
fn gap_of_a_producer_is_found() {
    let mut tale = Tale::default();
    tale.write(1, 1);
    tale.send(1, 2);
    let three = tale.send(1, 3);
    tale.put(three);
    assert_eq!(tale.judge(), [Violation::Gap { file: FILE.to_owned(), producer: producer(1), seq: 2 }]);
}

#[test]
fn append_that_stands_before_one_that_was_acknowledged_earlier_is_found() {
    let mut tale = Tale::default();
    let early = tale.make(None);
    tale.event(Event::Sent(early));
    tale.event(Event::Acked {
        append: early,
        offset: None,
        level: Level::Synced,
        generation: GENERATION,
        duplicate: false,
        sent: 0,
    });
    let late = tale.make(None);
    tale.event(Event::Sent(late));
    tale.put(late);
    tale.put(early);
    assert_eq!(tale.judge(), [Violation::Overtaken(early, late)]);
}

#[test]
fn fenced_producer_that_still_wrote_is_found() {
    let mut tale = Tale::default();
    tale.opened(2, 0);
    let late = tale.send(1, 1);
    tale.put(late);
    assert_eq!(tale.judge(), [Violation::NotFenced(late)]);
    let mut tale = Tale::default();
    let (old, new) = (tale.send(1, 1), tale.send(2, 1));
    tale.put(new);
    tale.put(old);
    assert_eq!(tale.judge(), [Violation::NotFenced(old)]);
}

#[test]
fn producer_that_was_told_of_less_than_was_acknowledged_is_found() {
    let mut tale = Tale::default();
    tale.write(1, 1);
    tale.opened(1, 0);
    let wrong = |told, bounds| Violation::WrongLastSeq { file: FILE.to_owned(), producer: producer(1), told, bounds };
    assert_eq!(tale.judge(), [wrong(0, (1, 1))]);
    let mut tale = Tale::default();
    tale.write(1, 1);
    tale.opened(1, 2);
    assert_eq!(tale.judge(), [wrong(2, (1, 1)), wrong(2, (1, 1))]);
}

#[test]
fn bytes_that_were_read_and_changed_are_found() {
    let mut tale = Tale::default();
    tale.write(1, 1);
    tale.write(1, 2);
    tale.read(2, b"x");
    let end = tale.content.len() as u64;
    tale.read(end, b"ahead");
    let unread = |offset| Violation::Unread { file: FILE.to_owned(), offset };
    assert_eq!(tale.judge(), [unread(2), unread(end)]);
    tale.event(Event::PowerLost);
    assert_eq!(tale.judge(), []);
}

#[test]
fn generation_that_is_not_the_one_that_was_told_is_found() {
    let mut tale = Tale::default();
    let id = tale.write(1, 1);
    assert_eq!(tale.judge_with(tale.content.clone(), GENERATION + 1), [Violation::Lost(id)]);
}

#[test]
fn plain_file_that_differs_is_found() {
    let mut tale = Tale::default();
    tale.write(1, 1);
    let mut plain = tale.content.clone();
    plain.pop();
    let offset = plain.len() as u64;
    assert_eq!(tale.judge_with(plain, GENERATION), [Violation::Plain { file: FILE.to_owned(), offset }]);
}
