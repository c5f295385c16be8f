//! What senders were told, held against what really happened: every send is
//! decided once, and an accepted one happened once.

use std::collections::HashMap;

use signalbox::{
    domain::{Audience, ConnectionId, DisconnectReason, Event, MAX_DATA_BYTES},
    proto::{self, join_request::Frame, send_result::Outcome},
};

use super::{
    check::Case,
    client::ask_id,
    record::{Ask, History},
};

/// Where a signal with certain data stands: in which life, and its sequence.
type Places = HashMap<String, Vec<(usize, u64)>>;

impl Case<'_> {
    fn places(&self) -> Places {
        let mut places = Places::new();
        for (at, life) in self.lives.iter().enumerate() {
            for entry in &life.order {
                if let Event::Signal { signal, .. } = &entry.event {
                    places.entry(signal.data().to_owned()).or_default().push((at, entry.sequence));
                }
            }
        }
        places
    }

    /// Every send and disconnect of a connection.
    pub(super) fn sends(&mut self) {
        let mut places = self.places();
        for push in self.pushes {
            let signal = push.request.signal.as_ref().expect("a push has a signal");
            places.remove(&signal.data);
        }
        for history in self.histories {
            for ask in &history.asks {
                self.answers(history, ask);
                match &ask.frame {
                    Frame::Send(send) => {
                        let data = &send.signal.as_ref().expect("a send has a signal").data;
                        let happened = places.remove(data).unwrap_or_default();
                        self.send(&history.name, ask, send, &happened);
                    }
                    Frame::Disconnect(disconnect) => self.disconnect(&history.name, ask, disconnect),
                    Frame::Join(_) | Frame::Leave(_) => {}
                }
            }
            self.own_order(history);
        }
        for (data, happened) in places {
            self.violations.push(format!("nobody sent {data:?} at {happened:?}"));
        }
    }

    /// One outcome, however often it is told; and one there is.
    fn answers(&mut self, history: &History, ask: &Ask) {
        let name = &history.name;
        let once = ask.answers.windows(2).all(|two| two[0] == two[1]);
        self.claim(once, || format!("{name}: told different outcomes of {ask:?}"));
        let last = history.streams.iter().rev().find_map(|stream| stream.joined.as_ref()?.connection.as_ref());
        let survived = last.is_some_and(|last| last.connection_id == ask.connection.to_string());
        if survived && ask_id(&ask.frame) != 0 {
            self.claim(!ask.answers.is_empty(), || format!("{name}: never told the outcome of {ask:?}"));
        }
    }

    fn send(&mut self, name: &str, ask: &Ask, send: &proto::SendSignal, happened: &[(usize, u64)]) {
        let signal = send.signal.as_ref().expect("a send has a signal");
        let once = happened.len() <= 1;
        self.claim(once, || format!("{name}: sent once, it happened at {happened:?}: {ask:?}"));
        match (ask.answers.first(), happened) {
            (None, _) => {}
            (Some(Outcome::Accepted(accepted)), [(life, place)]) => {
                let entry = &self.lives[*life].order[*place as usize - 1];
                let Event::Signal { from, audience, signal: sent } = &entry.event else { return };
                let mut right = self.homes.get(&ask.connection) == Some(life)
                    && accepted.sequence == *place
                    && *from == Some(ask.connection)
                    && (sent.kind().as_str(), sent.data()) == (signal.r#type.as_str(), signal.data.as_str());
                // Those named, as of that moment.
                let there = self.members(*life, *place - 1);
                right &= match &send.to {
                    None => *audience == Audience::Everyone && accepted.not_connected_ids.is_empty(),
                    Some(to) => {
                        let mut named = Vec::new();
                        for id in &to.connection_ids {
                            if !named.contains(id) {
                                named.push(id.clone());
                            }
                        }
                        let is_there = |id: &String| ConnectionId::parse(id).is_some_and(|id| there.contains_key(&id));
                        let (found, absent): (Vec<_>, Vec<_>) = named.into_iter().partition(is_there);
                        let found = found.iter().filter_map(|id| ConnectionId::parse(id)).collect();
                        *audience == Audience::only(found) && accepted.not_connected_ids == absent
                    }
                };
                self.claim(right, || format!("{name}: {ask:?} is not what happened: {entry:?} among {there:?}"));
            }
            (Some(Outcome::Accepted(_)), _) => {
                self.violations.push(format!("{name}: accepted, and never happened: {ask:?}"));
            }
            (Some(Outcome::Error(error)), happened) => {
                let too_large = signal.data.len() > MAX_DATA_BYTES;
                let explained = match error.reason.as_str() {
                    "SIGNAL_DATA_TOO_LARGE" => too_large,
                    "CONNECTION_NOT_FOUND" => send.to.is_some() && !too_large,
                    "RATE_LIMITED" => self.limits.signals_per_second != 0 && error.retry_after.is_some(),
                    _ => false,
                };
                let right = explained && happened.is_empty();
                self.claim(right, || format!("{name}: wrongly refused, or not refused: {ask:?}"));
            }
        }
    }

    fn disconnect(&mut self, name: &str, ask: &Ask, disconnect: &proto::DisconnectConnection) {
        let right = match ask.answers.first() {
            None => true,
            Some(Outcome::Accepted(accepted)) => self.homes.get(&ask.connection).is_some_and(|life| {
                let entry = &self.lives[*life].order[accepted.sequence as usize - 1];
                matches!(entry.event, Event::Destroyed(id, DisconnectReason::ForceDisconnected)
                    if id.to_string() == disconnect.connection_id)
            }),
            Some(Outcome::Error(error)) => error.reason == "CONNECTION_NOT_FOUND",
        };
        self.claim(right, || format!("{name}: {ask:?} is not what happened"));
    }

    /// What one connection sends takes its places in the order of the sends.
    fn own_order(&mut self, history: &History) {
        let mut accepted: HashMap<ConnectionId, Vec<(u64, u64)>> = HashMap::new();
        for ask in &history.asks {
            if let Some(Outcome::Accepted(proto::Accepted { sequence, .. })) = ask.answers.first()
                && ask_id(&ask.frame) != 0
            {
                accepted.entry(ask.connection).or_default().push((ask_id(&ask.frame), *sequence));
            }
        }
        for (connection, sends) in accepted {
            let in_order = sends.is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1);
            self.claim(in_order, || format!("{}, {connection}: out of order: {sends:?}", history.name));
        }
    }

    /// Every server signal.
    pub(super) fn pushes(&mut self) {
        let places = self.places();
        for push in self.pushes {
            let data = &push.request.signal.as_ref().expect("a push has a signal").data;
            let happened = places.get(data).cloned().unwrap_or_default();
            let mut houses: Vec<_> = happened.iter().map(|(life, _)| self.lives[*life].house).collect();
            houses.dedup();
            let once = houses.len() == happened.len();
            self.claim(once, || format!("a key is good for one signal in one server's life: {push:?}, {happened:?}"));
            for answer in &push.answers {
                let right = match answer {
                    Ok(response) => happened.iter().any(|(life, place)| {
                        *place == response.sequence && self.lives[*life].session == push.request.session_id
                    }),
                    Err(reason) => matches!(reason.as_str(), "SESSION_NOT_FOUND" | "GOING_AWAY"),
                };
                self.claim(right, || format!("{push:?} is not what happened: {happened:?}"));
            }
            // One signal, one response: another one only from another server.
            let mut responses: Vec<_> = push.answers.iter().flatten().collect();
            responses.dedup();
            self.claim(responses.len() <= happened.len(), || format!("different responses: {push:?}"));
        }
    }
}
