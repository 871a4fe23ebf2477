//! Memory of the server while more is sent than it could hold.
#![allow(clippy::unwrap_used)]

use inkpot_proto::v1::write_response::Frame as Say;
use inkpot_tests::{
    Server, Setup,
    harness::{
        memory::{self, MIB},
        session::{append, open_as},
    },
};

const SESSIONS: usize = 16;
const APPENDS: u64 = 40;
/// What a session may have in hand beside the limits: the HTTP/2 window of its stream, a message that is being decoded,
/// and those of a round.
const OF_A_SESSION: usize = 4 * MIB + 2 * MIB + 2 * MIB;
/// Everything else: segments, catalogs, the program.
const REST: usize = 160 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_bounded_under_a_flood() {
    // Writes in flight, and what is committed and not applied yet.
    let config = "[limits]\nappend_bytes = \"1MiB\"\n[memory]\nwrites_bytes = \"8MiB\"\n\
                  [tenant_defaults]\nbytes_in_flight = \"8MiB\"\n[apply]\nbudget_bytes = \"8MiB\"";
    let bound = 8 * MIB + 8 * MIB + SESSIONS * OF_A_SESSION + REST;
    assert!(bound < SESSIONS * APPENDS as usize * MIB / 2, "the flood is no flood");
    let server = Server::start(Setup::default().arg("--shards").arg("1").config(config));
    let mut tasks = Vec::new();
    for number in 0..SESSIONS {
        let mut session = server.session().await;
        tasks.push(tokio::spawn(async move {
            session.opened(open_as(1, &format!("f{number}"), "p", 1)).await;
            let record = vec![b'x'; MIB];
            for seq in 1..=APPENDS {
                session.append(append(1, seq, record.clone())).await;
            }
            session.half_close();
            session.drain().await
        }));
    }
    for task in tasks {
        let (frames, end) = task.await.unwrap();
        assert!(end.is_ok(), "{end:?}");
        let last = frames.iter().rev().find_map(|frame| match frame {
            Say::Ack(ack) => Some(ack.through_seq),
            _ => None,
        });
        assert_eq!(last, Some(APPENDS));
    }
    let peak = memory::peak(server.pid());
    println!("{} MiB in, {} MiB at the peak", SESSIONS * APPENDS as usize, peak / MIB);
    assert!(peak < bound, "{} MiB at the peak, {} MiB is the bound", peak / MIB, bound / MIB);
}
