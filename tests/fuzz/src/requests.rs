//! Messages of the wire, as bytes, to domain types.

use crate::{edits::Input, memory::within};
use inkpot_proto::{
    limits::{MAX_PATH_BYTES, MAX_PRODUCER_ID_BYTES},
    path::TenantName,
    v1,
};
use inkpot_server::{
    config::Limits,
    rpc::convert::{self, Checked, OpenRequest, Terms, file},
};
use prost::Message;
use std::{fmt::Debug, time::UNIX_EPOCH};

/// Memory of a message and its checked form, for each byte of input, and beside that.
const OF_A_BYTE: usize = 512;
const BASE: usize = 64 << 10;

/// A message of some call, decoded and checked as the server does. What was decoded encodes to the same again, and what
/// passed keeps to the limits.
pub fn messages(bytes: &[u8]) {
    within(BASE + OF_A_BYTE * bytes.len(), || check_message(bytes));
}

fn check_message(bytes: &[u8]) {
    let mut input = Input(bytes);
    let limits = Limits::default();
    match input.byte() % 11 {
        0 => message(input.0, |open: v1::Open| convert::open(&open).inspect(check_open)),
        1 => {
            let open = v1::Open { path: "f".into(), framing: i32::from(input.byte() % 6), ..v1::Open::default() };
            let open = v1::Open { timestamps: input.byte() % 2 == 1, ..open };
            let Ok(OpenRequest { terms, .. }) = convert::open(&open) else { return };
            message(input.0, |append: v1::Append| {
                convert::append(append, &terms, &limits, || UNIX_EPOCH)
                    .inspect(|checked| check_append(checked, &limits))
            });
        }
        2 => message(input.0, |request: v1::AppendRequest| {
            convert::unary(request, &limits, || UNIX_EPOCH).inspect(|checked| {
                check_open(&checked.open);
                check_append(&checked.append, &limits);
            })
        }),
        3 => {
            let has_producer = input.byte() % 2 == 1;
            let open = v1::Open {
                path: "f".into(),
                mode: v1::Mode::Create.into(),
                producer_id: if has_producer { "p".into() } else { String::new() },
                ..v1::Open::default()
            };
            let terms: Terms = convert::open(&open).expect("it keeps to the rules").terms;
            message(input.0, |finish: v1::Finish| convert::finish(&finish, &terms));
        }
        4 => message(input.0, |request: v1::ReadRequest| file::read(&request)),
        5 => message(input.0, file::list),
        6 => message(input.0, file::delete_prefix),
        7 => message(input.0, |request: v1::CommitFilesRequest| {
            file::set(TenantName::parse("default").expect("a name"), request)
        }),
        8 => message(input.0, |operator: v1::Operator| file::operator(Some(operator))),
        9 => message(input.0, |request: v1::WriteRequest| Ok::<_, ()>(request)),
        _ => message(input.0, |request: v1::RenameRequest| {
            convert::path(&request.from).and_then(|from| convert::path(&request.to).map(|to| (from, to)))
        }),
    }
}

/// Decodes, and checks that encoding what was decoded loses nothing that this version knows.
fn message<M: Message + Default + PartialEq + Debug, T, E>(bytes: &[u8], check: impl FnOnce(M) -> Result<T, E>) {
    let Ok(message) = M::decode(bytes) else { return };
    let again = M::decode(message.encode_to_vec().as_slice()).expect("what was encoded decodes");
    assert!(again == message, "{message:?} is another one after a round");
    // Both are fine: what matters is that it says one or the other.
    let _ = check(message);
}

fn check_open(open: &OpenRequest) {
    assert!(open.path.as_str().len() <= MAX_PATH_BYTES);
    let again = v1::Open { path: open.path.as_str().to_owned(), ..v1::Open::default() };
    assert_eq!(convert::open(&again).map(|open| open.path).ok().as_ref(), Some(&open.path));
}

fn check_append(append: &Checked, limits: &Limits) {
    assert!(!append.data.is_empty() && append.data.len() as u64 <= limits.append_bytes);
    assert!(append.records >= 1);
    let end = append.expected_offset.map(|offset| offset.checked_add(append.data.len() as u64));
    assert_ne!(end, Some(None), "an append would end beyond all offsets");
}

/// Page tokens and names of producers. A token that the server made says what it was made of.
pub fn tokens(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    within(BASE + OF_A_BYTE * bytes.len(), || {
        let token = file::token_of_text(&text);
        assert_eq!(told(file::text_of_token(&token)), Ok(text.clone().into_owned()));
        if let Ok(found) = file::text_of_token(&text)
            && !found.is_empty()
        {
            assert_eq!(told(file::text_of_token(&file::token_of_text(&found))), Ok(found));
        }
        if let Ok(Some(producer)) = convert::producer_id(&text) {
            assert!(producer.len() <= MAX_PRODUCER_ID_BYTES && *producer == *text);
        }
    });
}

fn told<T: Debug, E: Debug>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{error:?}"))
}
