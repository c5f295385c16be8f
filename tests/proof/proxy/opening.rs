//! What an HTTP/2 client says first: up to the end of its first DATA frame,
//! which in a `Join` stream is the join.

/// How HTTP/2 clients begin.
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const DATA: u8 = 0;
/// A connection that hasn't said it within this is none to copy.
const MOST: usize = 16_384;

/// Listens for it.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    said: Vec<u8>,
    done: bool,
}

impl Opening {
    /// The whole of it, once.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.done {
            return None;
        }
        self.said.extend_from_slice(bytes);
        self.done = self.said.len() > MOST;
        let end = self.end()?;
        self.done = true;
        self.said.truncate(end);
        Some(std::mem::take(&mut self.said))
    }

    fn end(&self) -> Option<usize> {
        let mut at = PREFACE;
        loop {
            let header = self.said.get(at..at + FRAME_HEADER)?;
            let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
            at += FRAME_HEADER + length;
            if header[3] == DATA {
                return (self.said.len() >= at).then_some(at);
            }
        }
    }
}

#[test]
fn it_ends_with_the_first_data_frame_however_it_comes() {
    let frame = |kind: u8, length: u8| [vec![0, 0, length, kind, 0, 0, 0, 0, 1], vec![7; length.into()]].concat();
    let said = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 12), frame(1, 40), frame(0, 20)].concat();
    let more = [said.clone(), frame(0, 5)].concat();
    assert_eq!(Opening::default().hear(&more), Some(said.clone()));
    for step in 1..30 {
        let mut opening = Opening::default();
        let heard: Vec<_> = more.chunks(step).filter_map(|chunk| opening.hear(chunk)).collect();
        assert_eq!(heard, std::slice::from_ref(&said));
    }
}
