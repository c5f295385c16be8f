//! What frames mean, but for those of fields.

use super::{
    Connection, Error, ErrorCode, Event, StreamId,
    connection::{Phase, Reading},
    frame::{self, FrameHead, flag, kind, number, setting},
    send::{PING, SHUT_DOWN_PING},
    window,
};

type Result<T, E = Error> = std::result::Result<T, E>;

impl<S> Connection<S> {
    /// The header of a DATA frame.
    pub(super) fn on_data<'a>(&mut self, head: FrameHead) -> Result<Option<Event<'a, S>>> {
        if self.closed.is_idle(head.stream) {
            return Err(Error::protocol("DATA on an idle stream"));
        }
        if !self.inbound.take(head.length) {
            return Err(Error::new(ErrorCode::FLOW_CONTROL_ERROR, "more data than the connection's window"));
        }
        if !head.has(flag::PADDED) {
            return self.begin_body(head, head.length, 0);
        }
        if head.length == 0 {
            return Err(Error::frame_size("DATA without its padding's length"));
        }
        self.reading = Reading::PadLength(head);
        Ok(None)
    }

    /// The length of a DATA frame's padding.
    pub(super) fn on_data_padding<'a>(&mut self, head: FrameHead, padding: u8) -> Result<Option<Event<'a, S>>> {
        let Some(data) = (head.length - 1).checked_sub(u32::from(padding)) else {
            return Err(Error::protocol("more padding than frame"));
        };
        self.refund_connection(head.length as usize - data as usize);
        self.begin_body(head, data, padding)
    }

    fn begin_body<'a>(&mut self, head: FrameHead, data: u32, padding: u8) -> Result<Option<Event<'a, S>>> {
        let (id, end) = (head.stream, head.has(flag::END_STREAM));
        if data > 0 {
            self.guard.useful();
            self.reading = Reading::Data { stream: id, left: data, padding, end };
        } else {
            self.reading = Reading::skip(u32::from(padding));
            if !end {
                self.guard.useless()?;
            }
        }
        let Some(stream) = self.streams.get_mut(id) else {
            if !self.closed.is_early(id) {
                return self.fail_any(id, ErrorCode::STREAM_CLOSED);
            }
            if end {
                self.closed.end(id);
            }
            return Ok(None);
        };
        let mut length = stream.length;
        if let Some(length) = &mut length {
            *length = length.wrapping_sub(u64::from(data));
        }
        let fits = match (stream.length, length) {
            (Some(announced), Some(left)) => left <= announced && (left == 0 || !end),
            _ => true,
        };
        stream.length = length;
        if stream.request_ended {
            self.fail(id, ErrorCode::STREAM_CLOSED)
        } else if !stream.inbound.take(head.length) {
            self.fail(id, ErrorCode::FLOW_CONTROL_ERROR)
        } else if !fits {
            self.fail(id, ErrorCode::PROTOCOL_ERROR)
        } else if stream.state.is_none() {
            self.fail(id, ErrorCode::REFUSED_STREAM)
        } else {
            self.refund_stream(id, (head.length - data) as usize);
            Ok(if data == 0 && end { self.on_piece(id, &[], true) } else { None })
        }
    }

    /// A piece of a body.
    pub(super) fn on_piece<'a>(&mut self, id: StreamId, data: &'a [u8], end: bool) -> Option<Event<'a, S>> {
        let Some(stream) = self.streams.get_mut(id) else {
            self.refund_connection(data.len());
            if end {
                self.closed.end(id);
            }
            return None;
        };
        stream.request_ended |= end;
        Some(Event::Data { stream: id, data, end })
    }

    /// A frame that isn't DATA.
    pub(super) fn on_frame<'a>(&mut self, head: FrameHead, payload: &[u8]) -> Result<Option<Event<'a, S>>> {
        match head.kind {
            kind::HEADERS => self.on_headers(head, payload),
            kind::CONTINUATION => self.on_continuation(head, payload),
            kind::PRIORITY => self.on_priority(head, payload),
            kind::RST_STREAM => self.on_reset(head, payload),
            kind::SETTINGS => self.on_settings(head, payload),
            kind::PING => self.on_ping(head, payload),
            kind::GOAWAY => self.on_go_away(head, payload),
            kind::WINDOW_UPDATE => self.on_window_update(head, payload),
            kind::PUSH_PROMISE => Err(Error::protocol("PUSH_PROMISE from a client")),
            _ => Ok(None),
        }
    }

    fn on_priority<'a>(&mut self, head: FrameHead, payload: &[u8]) -> Result<Option<Event<'a, S>>> {
        if head.stream == 0 {
            return Err(Error::protocol("PRIORITY on no stream"));
        }
        self.guard.useless()?;
        if payload.len() != 5 {
            if self.closed.is_idle(head.stream) {
                return Err(Error::frame_size("PRIORITY of a wrong size"));
            }
            return self.fail_any(head.stream, ErrorCode::FRAME_SIZE_ERROR);
        }
        if number(payload).is_some_and(|on| on & window::MAX_BYTES == head.stream) {
            if self.closed.is_idle(head.stream) {
                return Err(Error::protocol("a stream that depends on itself"));
            }
            return self.fail_any(head.stream, ErrorCode::PROTOCOL_ERROR);
        }
        Ok(None)
    }

    fn on_reset<'a>(&mut self, head: FrameHead, payload: &[u8]) -> Result<Option<Event<'a, S>>> {
        let Some(code) = number(payload).filter(|_| payload.len() == 4) else {
            return Err(Error::frame_size("RST_STREAM of a wrong size"));
        };
        if self.closed.is_idle(head.stream) {
            return Err(Error::protocol("RST_STREAM on an idle stream"));
        }
        let Some(stream) = self.streams.remove(head.stream) else {
            self.closed.end(head.stream);
            return Ok(None);
        };
        if !stream.answered {
            self.guard.reset()?;
        }
        Ok(Some(Event::Reset { stream: head.stream, state: stream.state, code: ErrorCode(code) }))
    }

    fn on_settings<'a>(&mut self, head: FrameHead, payload: &[u8]) -> Result<Option<Event<'a, S>>> {
        if head.stream != 0 {
            return Err(Error::protocol("SETTINGS on a stream"));
        }
        if head.has(flag::ACK) {
            if !payload.is_empty() {
                return Err(Error::frame_size("an acknowledgement with settings"));
            }
            return Ok(None);
        }
        let (settings, []) = payload.as_chunks::<6>() else {
            return Err(Error::frame_size("SETTINGS of a wrong size"));
        };
        self.guard.answer(&self.output)?;
        self.guard.useless()?;
        let before = self.peer.initial_window;
        for [a, b, value @ ..] in settings {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*a, *b]) {
                setting::HEADER_TABLE_SIZE if value < super::hpack::TABLE_BYTES as u32 => {
                    self.peer.shrank_table = !self.peer.uses_no_table;
                }
                setting::ENABLE_PUSH if value > 1 => return Err(Error::protocol("ENABLE_PUSH is neither 0 nor 1")),
                setting::INITIAL_WINDOW_SIZE if value > window::MAX_BYTES => {
                    return Err(Error::new(ErrorCode::FLOW_CONTROL_ERROR, "too large an initial window"));
                }
                setting::INITIAL_WINDOW_SIZE => self.peer.initial_window = value,
                setting::MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => {
                    return Err(Error::protocol("MAX_FRAME_SIZE is out of bounds"));
                }
                setting::MAX_FRAME_SIZE => self.peer.max_frame = value,
                _ => {}
            }
        }
        self.peer.is_known = true;
        frame::write_settings_ack(&mut self.output);
        self.resize_windows(i64::from(self.peer.initial_window) - i64::from(before))
    }

    fn resize_windows<'a>(&mut self, by: i64) -> Result<Option<Event<'a, S>>> {
        if by == 0 {
            return Ok(None);
        }
        for (_, stream) in self.streams.iter_mut() {
            if !stream.outbound.grow(by) {
                return Err(Error::new(ErrorCode::FLOW_CONTROL_ERROR, "a window out of bounds"));
            }
        }
        Ok((by > 0 && self.streams() > 0).then_some(Event::Window { stream: None }))
    }

    fn on_ping<'a>(&mut self, head: FrameHead, payload: &[u8]) -> Result<Option<Event<'a, S>>> {
        if head.stream != 0 {
            return Err(Error::protocol("PING on a stream"));
        }
        let Ok(payload) = <[u8; 8]>::try_from(payload) else {
            return Err(Error::frame_size("PING of a wrong size"));
        };
        if !head.has(flag::ACK) {
            self.guard.answer(&self.output)?;
            frame::write_ping(payload, flag::ACK, &mut self.output);
        } else if payload == PING && self.pings > 0 {
            self.pings -= 1;
            return Ok(Some(Event::Pong));
        } else if payload == SHUT_DOWN_PING && self.phase == Phase::Asked {
            self.say_last();
        }
        Ok(None)
    }

    fn on_go_away<'a>(&mut self, head: FrameHead, payload: &[u8]) -> Result<Option<Event<'a, S>>> {
        if head.stream != 0 {
            return Err(Error::protocol("GOAWAY on a stream"));
        }
        if payload.len() < 8 {
            return Err(Error::frame_size("GOAWAY of a wrong size"));
        }
        let is_news = !std::mem::replace(&mut self.peer.is_going, true);
        Ok(is_news.then_some(Event::GoAway))
    }

    fn on_window_update<'a>(&mut self, head: FrameHead, payload: &[u8]) -> Result<Option<Event<'a, S>>> {
        let Some(by) = number(payload).filter(|_| payload.len() == 4) else {
            return Err(Error::frame_size("WINDOW_UPDATE of a wrong size"));
        };
        let by = i64::from(by & window::MAX_BYTES);
        if head.stream == 0 {
            if by == 0 {
                return Err(Error::protocol("WINDOW_UPDATE of nothing"));
            }
            if !self.outbound.grow(by) {
                return Err(Error::new(ErrorCode::FLOW_CONTROL_ERROR, "a window out of bounds"));
            }
            return Ok((self.streams() > 0).then_some(Event::Window { stream: None }));
        }
        if self.closed.is_idle(head.stream) {
            return Err(Error::protocol("WINDOW_UPDATE on an idle stream"));
        }
        let Some(stream) = self.streams.get_mut(head.stream) else { return Ok(None) };
        if by == 0 {
            return self.fail(head.stream, ErrorCode::PROTOCOL_ERROR);
        }
        if !stream.outbound.grow(by) {
            return self.fail(head.stream, ErrorCode::FLOW_CONTROL_ERROR);
        }
        let is_wanted = stream.state.is_some() && !stream.answer_ended;
        Ok(is_wanted.then_some(Event::Window { stream: Some(head.stream) }))
    }
}
