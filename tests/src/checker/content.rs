//! What files hold, taken apart into appends and uploads, and what must be true of each such row.

use super::{
    AppendId, Contents, Event, History, Producer, Violation,
    facts::Acks,
    operations::{Courses, base},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
};

/// What a file held at some time.
pub struct Body<'a> {
    file: &'a str,
    generation: u64,
    bytes: &'a [u8],
    /// There may be more behind it.
    is_part: bool,
    /// When it was seen, by the index of the event.
    at: usize,
    /// What it holds, as far as that is known.
    pieces: Vec<Piece>,
}

/// An append or an upload in a file.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub id: AppendId,
    pub offset: u64,
    /// Bytes that are there.
    len: usize,
}

pub fn first_difference(one: &[u8], other: &[u8]) -> Option<u64> {
    let common = one.iter().zip(other).position(|(one, other)| one != other);
    common.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len()))).map(|at| at as u64)
}

/// All files as they are in the end, and what was read of others from the beginning on: of each generation the most.
pub fn bodies<'a>(history: &'a History, contents: &'a Contents) -> Vec<Body<'a>> {
    let is_final: BTreeSet<u64> = contents.values().map(|content| content.generation).collect();
    let mut read: BTreeMap<u64, Body<'a>> = BTreeMap::new();
    for (at, event) in history.events.iter().enumerate() {
        let Event::Read { file, generation, offset: 0, data, .. } = event else { continue };
        let is_more = read.get(generation).is_none_or(|body| body.bytes.len() < data.len());
        if is_more && !is_final.contains(generation) {
            let body = Body { file, generation: *generation, bytes: data, is_part: true, at, pieces: Vec::new() };
            read.insert(*generation, body);
        }
    }
    let last = history.events.len();
    let finals = contents.iter().map(|(file, content)| Body {
        file,
        generation: content.generation,
        bytes: &content.read,
        is_part: false,
        at: last,
        pieces: Vec::new(),
    });
    finals.chain(read.into_values()).collect()
}

/// Finds the appends and uploads; tells of bytes that are none, and of uploads that are not whole.
pub fn take_apart(history: &History, courses: &Courses, body: &mut Body, violations: &mut Vec<Violation>) {
    let mut seen = BTreeSet::new();
    let mut offset = 0;
    while offset < body.bytes.len() {
        let Some((id, len)) = piece_at(history, courses, body, offset) else {
            violations.push(Violation::Invented { file: body.file.to_owned(), offset: offset as u64 });
            return;
        };
        let at = offset as u64;
        offset += len;
        let Some(id) = id else { continue };
        let piece = Piece { id, offset: at, len };
        if !seen.insert(piece.id) {
            violations.push(Violation::Twice(piece.id));
        }
        if history.appends[piece.id].is_upload {
            if piece.offset > 0 {
                violations.push(Violation::Partial(piece.id));
            }
            if !courses.publish(piece.id) {
                violations.push(Violation::Unpublished(piece.id));
            }
        }
        body.pieces.push(piece);
    }
}

/// What begins at an offset, and how much of it is there. Of a few bytes nobody can say what they are the beginning of.
fn piece_at(history: &History, courses: &Courses, body: &Body, offset: usize) -> Option<(Option<AppendId>, usize)> {
    let rest = &body.bytes[offset..];
    let may_be_here = |id: AppendId| courses.connect(&history.appends[id].file, body.file);
    if let Some(id) = history.append_at(rest) {
        return may_be_here(id).then(|| (Some(id), history.appends[id].data.len()));
    }
    // Only a cut leaves a part; or whoever read has read no more.
    let ends = courses.cuts().filter_map(|size| usize::try_from(size).ok()?.checked_sub(offset));
    let ends = ends.chain(body.is_part.then_some(rest.len())).filter(|len| (1..=rest.len()).contains(len));
    let mut ends: Vec<usize> = ends.collect();
    ends.sort_unstable();
    // The longest first: other cuts may have been in the middle of it. What came behind the cut begins there, though.
    let mut pieces = ends.into_iter().rev().filter_map(|len| {
        let begins = |id: &AppendId| history.appends[*id].data.starts_with(&rest[..len]) && may_be_here(*id);
        let mut those = (0..history.appends.len()).filter(begins);
        let first = those.next()?;
        Some((those.next().is_none().then_some(first), len))
    });
    let longest = pieces.next()?;
    let goes_on = |(_, len): &(Option<AppendId>, usize)| {
        *len == rest.len() || piece_at(history, courses, body, offset + len).is_some()
    };
    Some(iter::once(longest).chain(pieces).find(goes_on).unwrap_or(longest))
}

/// Uploads that somebody saw, and when.
pub fn uploads_seen(history: &History, bodies: &[Body]) -> Vec<(AppendId, usize)> {
    let of_bodies = bodies.iter().filter_map(|body| Some((body.pieces.first()?.id, body.at)));
    let of_reads = history.events.iter().enumerate().filter_map(|(at, event)| match event {
        Event::Read { offset: 0, data, .. } => Some((history.append_at(data)?, at)),
        _ => None,
    });
    of_bodies.chain(of_reads).filter(|(id, _)| history.appends[*id].is_upload).collect()
}

pub fn refused_is_nowhere(history: &History, bodies: &[Body], violations: &mut Vec<Violation>) {
    // Attempts that may have been applied: each one until it is refused.
    let mut open: BTreeMap<AppendId, usize> = BTreeMap::new();
    let mut sent: BTreeMap<AppendId, usize> = BTreeMap::new();
    for event in &history.events {
        match event {
            Event::Sent(id) => {
                *open.entry(*id).or_default() += 1;
                *sent.entry(*id).or_default() += 1;
            }
            Event::Refused(id) => {
                let attempts = open.entry(*id).or_default();
                *attempts = attempts.saturating_sub(1);
            }
            _ => {}
        }
    }
    let mut places: BTreeMap<AppendId, usize> = BTreeMap::new();
    for body in bodies {
        let ids: BTreeSet<AppendId> = body.pieces.iter().map(|piece| piece.id).collect();
        for id in ids.into_iter().filter(|id| !history.appends[*id].is_upload) {
            *places.entry(id).or_default() += usize::from(!body.is_part);
        }
    }
    for (id, times) in places {
        if open.get(&id).copied().unwrap_or_default() == 0 {
            violations.push(Violation::Refused(id));
        }
        if times > sent.get(&id).copied().unwrap_or_default().max(1) {
            violations.push(Violation::Twice(id));
        }
    }
}

/// Whether a part of the file was given another path.
pub fn is_rotated(file: &str, contents: &Contents) -> bool {
    contents.keys().any(|path| path != file && base(path) == file)
}

pub fn producers_keep_order(
    history: &History,
    courses: &Courses,
    contents: &Contents,
    bodies: &[Body],
    violations: &mut Vec<Violation>,
) {
    for body in bodies {
        // What stands before the beginning of a file has another generation.
        let is_base = base(body.file) == body.file;
        let is_whole = is_base && courses.leave_alone(body.file) && !is_rotated(body.file, contents);
        let mut last: BTreeMap<&Producer, (u64, Option<AppendId>)> = BTreeMap::new();
        let mut cut = 0;
        for piece in &body.pieces {
            let append = &history.appends[piece.id];
            if piece.len < append.data.len() || courses.cuts().any(|size| size == piece.offset) {
                cut = piece.offset;
                last.values_mut().for_each(|(_, id)| *id = None);
            }
            let Some((producer, seq)) = &append.producer else { continue };
            let (last_seq, last_id) = last.get(producer).copied().unwrap_or_default();
            let follows = last_id.is_some() || (is_whole && cut == 0);
            if *seq <= last_seq {
                violations.push(Violation::OutOfOrder(last_id.unwrap_or(piece.id), piece.id));
            } else if *seq > last_seq + 1 && follows {
                let (file, producer) = (body.file.to_owned(), producer.clone());
                violations.push(Violation::Gap { file, producer, seq: last_seq + 1 });
            }
            last.insert(producer, (*seq, Some(piece.id)));
        }
    }
}

pub fn time_keeps_order(
    history: &History,
    acks: &Acks,
    courses: &Courses,
    bodies: &[Body],
    violations: &mut Vec<Violation>,
) {
    for body in bodies {
        // From the end on: whichever of those behind was acknowledged first.
        let mut earliest: Option<(usize, AppendId)> = None;
        for id in body.pieces.iter().rev().map(|piece| piece.id) {
            if let (Some((acked, behind)), Some(sent)) = (earliest, acks.sent.get(&id))
                && acked < *sent
            {
                violations.push(Violation::Overtaken(behind, id));
            }
            // Where producers are forgotten, the same append may be in several files.
            let is_here = || !courses.rename(&history.appends[id].file);
            let of_it = |place: Option<(u64, u64)>| place.map_or_else(is_here, |(_, it)| it == body.generation);
            let ack = acks.holding.get(&id).filter(|ack| of_it(ack.place));
            earliest = [earliest, ack.map(|ack| (ack.at, id))].into_iter().flatten().min();
        }
    }
}

pub fn fenced_is_silent(history: &History, courses: &Courses, bodies: &[Body], violations: &mut Vec<Violation>) {
    for body in bodies {
        let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
        for id in body.pieces.iter().map(|piece| piece.id) {
            let Some((producer, _)) = &history.appends[id].producer else { continue };
            let epoch = highest.entry(&producer.id).or_default();
            if producer.epoch < *epoch {
                violations.push(Violation::NotFenced(id));
            }
            *epoch = producer.epoch.max(*epoch);
        }
    }
    let places: BTreeSet<AppendId> = bodies.iter().flat_map(|body| &body.pieces).map(|piece| piece.id).collect();
    let mut opened: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut sent = BTreeSet::new();
    for event in &history.events {
        match event {
            // A file that comes to the path brings its own producers.
            Event::Opened { file, producer, .. } if !courses.rename(file) => {
                let epoch = opened.entry((file, &producer.id)).or_default();
                *epoch = producer.epoch.max(*epoch);
            }
            Event::Sent(id) if sent.insert(*id) && places.contains(id) => {
                let append = &history.appends[*id];
                let Some((producer, _)) = &append.producer else { continue };
                if opened.get(&(append.file.as_str(), producer.id.as_str())).is_some_and(|e| *e > producer.epoch) {
                    violations.push(Violation::NotFenced(*id));
                }
            }
            _ => {}
        }
    }
}

/// The highest number of each producer in the files that are there.
pub fn last_numbers<'a>(history: &'a History, bodies: &[Body]) -> BTreeMap<(&'a str, &'a Producer), u64> {
    let mut there: BTreeMap<(&str, &Producer), u64> = BTreeMap::new();
    for piece in bodies.iter().filter(|body| !body.is_part).flat_map(|body| &body.pieces) {
        let append = &history.appends[piece.id];
        let Some((producer, seq)) = &append.producer else { continue };
        let last = there.entry((&append.file, producer)).or_default();
        *last = (*last).max(*seq);
    }
    there
}
