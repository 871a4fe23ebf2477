//! What may have happened to bytes on a disk, drawn from an input: bits flipped, pieces overwritten, the end cut off.

/// Takes fields off the front of an input; zeros where it has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.bytes(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// Up to so many bytes.
    pub(crate) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Does to `bytes` what the rest of the input says.
pub(crate) fn edit(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    while !input.is_empty() && !bytes.is_empty() {
        let (how, at) = (input.byte(), usize::from(u16::from_le_bytes(input.array())));
        let at = at % bytes.len();
        match how % 8 {
            0 => bytes.truncate(at),
            1 => bytes[at] = input.byte(),
            2 => {
                let over = input.bytes(usize::from(how));
                let end = bytes.len().min(at + over.len());
                bytes[at..end].copy_from_slice(&over[..end - at]);
            }
            3 => bytes[at..].fill(0),
            // A piece is found in another place, as after a misdirected write.
            4 => {
                let from = usize::from(u16::from_le_bytes(input.array())) % bytes.len();
                let len = usize::from(how).min(bytes.len() - at.max(from));
                bytes.copy_within(from..from + len, at);
            }
            _ => bytes[at] ^= 1 << (how >> 5),
        }
    }
}
