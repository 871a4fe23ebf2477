//! The note of all that clients did and were told.

use super::{net, server, trace::Trace};
use bytes::Bytes;
use inkpot_client::{Client, Durability, Error, Outcome};
use inkpot_tests::checker::{AppendId, Deed, Event, History, Level, OperationId, Producer};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

/// By file, producer and number, counted from 0 on.
type Numbered = BTreeMap<(String, Producer, usize), AppendId>;

/// What all clients of a tenant share.
#[derive(Clone)]
pub struct Notebook {
    history: Rc<RefCell<History>>,
    /// Appends of each producer in each file, by their numbers.
    numbered: Rc<RefCell<Numbered>>,
    faults: Rc<RefCell<Vec<String>>>,
    /// Where everything is noted too.
    pub trace: Trace,
    token: &'static str,
}

impl Notebook {
    /// An empty one.
    pub fn new(trace: Trace, token: &'static str) -> Self {
        Self { history: Rc::default(), numbered: Rc::default(), faults: Rc::default(), trace, token }
    }

    /// What was noted.
    pub fn history(&self) -> History {
        self.history.borrow().clone()
    }

    /// What no client should ever have been told.
    pub fn faults(&self) -> Vec<String> {
        self.faults.borrow().clone()
    }

    /// Notes that something happened that never should.
    pub fn fault(&self, fault: String) {
        self.trace.note(&fault);
        self.faults.borrow_mut().push(fault);
    }

    /// Notes that something happened.
    pub fn note(&self, event: Event) {
        match &event {
            Event::Read { file, generation, offset, data, .. } => {
                let crc = crc32c::crc32c(data);
                self.trace.note(format!("read {file} generation {generation} {offset}+{} {crc:08x}", data.len()));
            }
            event => self.trace.note(format!("{event:?}")),
        }
        self.history.borrow_mut().events.push(event);
    }

    /// How many events there are.
    pub fn events(&self) -> usize {
        self.history.borrow().events.len()
    }

    /// Makes up an append.
    pub fn make(&self, file: &str, len: usize) -> AppendId {
        self.history.borrow_mut().append(file, None, len)
    }

    /// The append of a producer with that number, counted from 0 on; the first that asks for it makes it up.
    pub fn numbered(&self, file: &str, producer: &Producer, number: usize, len: usize) -> AppendId {
        let key = (file.to_owned(), producer.clone(), number);
        let make = || self.history.borrow_mut().append(file, Some((producer.clone(), number as u64 + 1)), len);
        *self.numbered.borrow_mut().entry(key).or_insert_with(make)
    }

    /// Makes up an upload.
    pub fn upload(&self, file: &str, len: usize) -> AppendId {
        self.history.borrow_mut().upload(file, len)
    }

    /// Notes that somebody begins to ask for an operation.
    pub fn ask(&self, deed: Deed, if_generation: Option<u64>) -> OperationId {
        self.trace.note(format!("asks for {deed:?}, {if_generation:?}"));
        let operation = self.history.borrow_mut().operation(deed, if_generation);
        self.note(Event::Asked(operation));
        operation
    }

    /// Notes that an append is sent; tells the index of that event.
    pub fn sent(&self, id: AppendId) -> usize {
        let at = self.events();
        self.note(Event::Sent(id));
        at
    }

    /// The bytes of an append or an upload.
    pub fn data(&self, id: AppendId) -> Bytes {
        Bytes::from(self.history.borrow().appends[id].data.clone())
    }

    /// An attempt failed.
    pub fn failed(&self, id: AppendId, error: &Error) {
        self.trace.note(format!("append {id} failed: {error}"));
        if error.outcome() == Outcome::NotApplied {
            self.note(Event::Refused(id));
        }
    }

    /// An attempt is acknowledged.
    pub fn acked(&self, append: AppendId, sent: usize, ack: &inkpot_client::Ack) {
        let level = if ack.level == Durability::Written { Level::Written } else { Level::Synced };
        let (generation, duplicate) = (ack.generation, ack.duplicate);
        self.note(Event::Acked { append, offset: ack.first_offset, level, generation, duplicate, sent });
    }

    /// A client that finds out about dead connections soon, and gives up within seconds.
    pub async fn client(&self, number: usize) -> Client {
        let builder = Client::builder(server::ENDPOINT)
            .token(self.token)
            .connector(move |uri| net::connect(uri, number))
            .connect_timeout(Duration::from_millis(800))
            .keepalive(Duration::from_millis(500), Duration::from_millis(500))
            .give_up_after(Duration::from_secs(3));
        builder.connect().await.expect("the settings are valid")
    }
}
