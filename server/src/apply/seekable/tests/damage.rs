//! Files that are not what was written: an error, or the right bytes; no panic, and no memory that the file asks for.

use super::*;

/// The error, which has to say that the file is damaged.
fn refusal(bytes: &[u8]) -> String {
    let error = read_all(file(bytes).as_ref()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    error.to_string()
}

/// Frames, and a table with these entries behind them.
fn with_table(frames: &[u8], entries: &[(u32, u32)]) -> Vec<u8> {
    let count = u32::try_from(entries.len()).unwrap();
    let entries: Vec<u8> =
        entries.iter().flat_map(|(stored, len)| [stored.to_le_bytes(), len.to_le_bytes()].concat()).collect();
    [frames, &header(count), &entries, &footer(count)].concat()
}

/// One frame of zstd.
fn frame(content: &[u8]) -> Vec<u8> {
    let stored = compressed(content);
    stored[..stored.len() - 25].to_vec()
}

#[test]
fn cut_at_any_byte_is_found() {
    for content in [content(0), content(500), [vec![b'x'; FRAME], content(5)].concat()] {
        let stored = compressed(&content);
        for len in 0..stored.len() {
            refusal(&stored[..len]);
        }
    }
}

#[test]
fn bytes_before_or_behind_are_found() {
    let stored = compressed(&content(500));
    for junk in [vec![0], vec![0; 17], stored.clone()] {
        refusal(&[stored.as_slice(), &junk].concat()[..stored.len() + junk.len().min(17)]);
        refusal(&[&junk, stored.as_slice()].concat());
    }
}

#[test]
fn flipped_bit_is_found_or_changes_nothing() {
    let noise: Vec<u8> = (0..200_u32).map(|number| (number * number / 7) as u8).collect();
    for content in [vec![], content(700), noise, [vec![b'x'; FRAME], content(40)].concat()] {
        let stored = compressed(&content);
        let mut found = 0;
        for bit in 0..stored.len() * 8 {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match read_all(file(&damaged).as_ref()) {
                Ok(read) => assert!(read == content, "bit {bit} of {} bytes", stored.len()),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
                    found += 1;
                }
            }
        }
        // A few bits mean nothing: one in the header of each frame, some that decode to the same.
        assert!(found * 100 >= stored.len() * 8 * 99, "{found} of {} bits are found", stored.len() * 8);
    }
}

#[test]
fn overwritten_sectors_are_found() {
    let content = content(2 * FRAME);
    let stored = compressed(&content);
    let mut rng = SmallRng::seed_from_u64(3);
    for _ in 0..20 {
        let mut damaged = stored.clone();
        let start = rng.random_range(0..stored.len() - 512);
        damaged[start..start + 512].fill(0);
        refusal(&damaged);
    }
}

#[test]
fn table_that_does_not_fit_is_refused_whatever_it_claims() {
    let good = frame(b"content");
    let stored = u32::try_from(good.len()).unwrap();
    assert_eq!(read_all(file(&with_table(&good, &[(stored, 7)])).as_ref()).unwrap(), b"content");
    let whole = FRAME as u32;
    let cases: [&[(u32, u32)]; 9] = [
        &[],
        &[(0, 7)],
        &[(stored, 0)],
        &[(stored + 1, 7)],
        &[(stored - 1, 7)],
        &[(stored, whole + 1)],
        &[(u32::MAX, 7)],
        &[(stored, u32::MAX)],
        &[(stored - 1, 7), (1, 7)],
    ];
    for entries in cases {
        let text = refusal(&with_table(&good, entries));
        assert!(text.contains("seek table"), "{text}");
    }
}

#[test]
fn number_of_frames_that_asks_for_much_memory_is_refused() {
    for frames in [1, 1000, MAX_FRAMES as u32, MAX_FRAMES as u32 + 1, u32::MAX / 8, u32::MAX] {
        for before in [vec![], vec![0; 100], header(frames).to_vec()] {
            let text = refusal(&[before.as_slice(), &footer(frames)].concat());
            assert!(text.contains("seek table"), "{text}");
        }
    }
}

#[test]
fn frame_with_another_content_than_the_table_says_is_refused() {
    let stored = |frame: &[u8]| u32::try_from(frame.len()).unwrap();
    let (good, bomb) = (frame(b"content"), zstd::bulk::compress(&vec![0; 64 * FRAME], 1).unwrap());
    let skipped = [SKIPPABLE_MAGIC.to_le_bytes(), [4, 0, 0, 0], [0; 4]].concat();
    for (frames, len) in [(&good, 6), (&good, 8), (&bomb, FRAME as u32), (&skipped, 1)] {
        let text = refusal(&with_table(frames, &[(stored(frames), len)]));
        assert!(text.contains("frame 0 at byte 0"), "{text}");
    }
}

#[test]
fn content_without_meaning_is_refused() {
    let mut rng = SmallRng::seed_from_u64(4);
    for round in 0..3000 {
        let mut bytes = vec![0; rng.random_range(0..120)];
        rng.fill_bytes(&mut bytes);
        if round % 2 == 0 {
            let entries: Vec<_> =
                (0..rng.random_range(1..4)).map(|_| (rng.random_range(0..60), FRAME as u32)).collect();
            bytes = with_table(&bytes, &entries);
        }
        refusal(&bytes);
    }
}
