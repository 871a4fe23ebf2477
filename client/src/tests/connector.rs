//! Connections that the application makes.

use super::{in_time, record, session_with, singly};
use crate::fake::{Act, Fake};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::net::TcpStream;

#[tokio::test]
async fn each_connection_is_made_by_the_connector_that_was_given() {
    let fake = Fake::start(|_| Act::Serve).await;
    let address = fake.endpoint.strip_prefix("http://").unwrap().to_owned();
    let made = Arc::new(AtomicUsize::new(0));
    let (counter, connect_to) = (Arc::clone(&made), address.clone());
    let session = session_with(&fake, |builder| {
        builder.connector(move |uri| {
            assert_eq!(uri.authority().unwrap().as_str(), connect_to);
            counter.fetch_add(1, Ordering::SeqCst);
            TcpStream::connect(connect_to.clone())
        })
    });
    let session = session.await;
    let writer = in_time(session.open("f", singly())).await.unwrap();
    writer.write(record(0)).await.unwrap();
    in_time(writer.finish()).await.unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 1);
}
