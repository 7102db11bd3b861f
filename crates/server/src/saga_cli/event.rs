//! Reads `text/event-stream`: bytes in, events out.

/// The longest event.
const EVENT_MAX: usize = 1024 * 1024;

/// An event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// What came and is no whole event yet.
#[derive(Debug, Default)]
pub(super) struct Reader {
    rest: Vec<u8>,
}

impl Reader {
    /// Takes what came; gives what is whole, or `None` where an event has no end.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Option<Vec<Event>> {
        self.rest.extend_from_slice(piece);
        let mut events = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            events.extend(event(&String::from_utf8_lossy(&block)));
        }
        (self.rest.len() <= EVENT_MAX).then_some(events)
    }
}

/// A block of lines; comments and what has no data are no events.
fn event(block: &str) -> Option<Event> {
    let mut event = Event::default();
    let mut has_data = false;
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut event.name),
            "id" => event.id = Some(value.to_owned()),
            "data" => {
                if has_data {
                    event.data.push('\n');
                }
                event.data.push_str(value);
                has_data = true;
            }
            _ => {}
        }
    }
    has_data.then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_they_come() {
        let stream = "retry: 2000\n\n: still here\n\nevent: change\nid: 3\ndata: {\"a\":1}\n\nevent: end\ndata:x\ndata: y\n\ndata";
        let expected = [
            Event { name: "change".into(), id: Some("3".into()), data: "{\"a\":1}".into() },
            Event { name: "end".into(), id: None, data: "x\ny".into() },
        ];
        for size in 1..stream.len() {
            let mut reader = Reader::default();
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                found.extend(reader.feed(piece).unwrap());
            }
            assert_eq!(found, expected, "{size}");
        }
        assert!(Reader::default().feed(&vec![b'x'; EVENT_MAX + 1]).is_none());
    }
}
