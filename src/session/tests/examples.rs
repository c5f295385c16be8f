//! One example for each rule.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        Accepted, Admission, Command, Effect, Handle, Join, KEYS_KEPT_FOR, Outcome, Resume, SendResult, ServerAccepted,
        ServerSend, Session, View,
    },
    at, id, signal, token,
};
use crate::domain::{
    DisconnectReason, Ending, Event, IdempotencyKey, Limits, Named, Reason, Recipients, Refusal, Role, SendId,
    SignalTypes,
};

const WINDOW: Duration = Duration::from_secs(10);

/// A session, its time, and the effects of what was last done to it.
struct Bed {
    session: Session,
    now: Duration,
    joins: u64,
    epochs: u64,
    effects: Vec<Effect>,
}

impl Bed {
    fn new(limits: Limits) -> Self {
        let session = Session::new(Arc::new(limits));
        Self { session, now: Duration::ZERO, joins: 0, epochs: 0, effects: Vec::new() }
    }

    fn ask(&mut self, role: Role, window: Duration, view: View, resume: Option<Resume>) -> Result<Admission, Refusal> {
        self.joins += 1;
        self.epochs += 1;
        self.effects.clear();
        let (fresh_id, fresh_token) = (id(self.joins), token(self.joins));
        let join = Join { data: String::new(), role, window, view, resume, fresh_id, fresh_token };
        self.session.join(at(self.now), self.epochs, join, &mut self.effects)
    }

    fn enter(&mut self, role: Role) -> Admission {
        self.ask(role, WINDOW, View::default(), None).expect("there is room")
    }

    fn enter_with(&mut self, view: View) -> Admission {
        self.ask(Role::Moderator, WINDOW, view, None).expect("there is room")
    }

    fn resume(&mut self, resume: Resume) -> Admission {
        self.ask(Role::Moderator, WINDOW, View::default(), Some(resume)).expect("there is room")
    }

    fn command(&mut self, from: Handle, command: Command) -> &[Effect] {
        self.effects.clear();
        self.session.command(at(self.now), from, command, &mut self.effects);
        &self.effects
    }

    /// The outcome of a send to some, or to all.
    fn send(&mut self, from: &Admission, send_id: SendId, to: Option<&[String]>) -> Result<Accepted, Refusal> {
        let to = to.map(|to| Recipients::parse(to.to_vec(), &Limits::default()).expect("recipients"));
        self.command(from.handle, Command::Send(send_id, Ok((signal("chat", "hello"), to))));
        let Some(Effect::Answer(_, result)) = self.effects.last() else { panic!("no answer: {:?}", self.effects) };
        assert_eq!(result.send_id, send_id);
        result.outcome.clone()
    }

    fn detach(&mut self, who: &Admission, ending: Ending) -> &[Effect] {
        self.effects.clear();
        self.session.detach(at(self.now), who.handle, ending, &mut self.effects);
        &self.effects
    }

    fn tick(&mut self) -> &[Effect] {
        self.effects.clear();
        self.session.tick(at(self.now), &mut self.effects);
        &self.effects
    }

    fn server_send(&mut self, key: Option<&str>) -> Result<ServerAccepted, Refusal> {
        let key = IdempotencyKey::parse(key.unwrap_or_default()).expect("a short key");
        self.effects.clear();
        let send = ServerSend { signal: signal("chat", "news"), to: None, key };
        self.session.send_from_server(at(self.now), send, &mut self.effects)
    }

    /// The events among the effects.
    fn events(&self) -> Vec<&Event> {
        self.effects
            .iter()
            .filter_map(|effect| if let Effect::Entry(entry) = effect { Some(&entry.event) } else { None })
            .collect()
    }
}

/// What a client remembers that has seen everything up to its admission.
fn memory(of: &Admission) -> Resume {
    Resume {
        connection: Some(of.info.id),
        token: of.token.clone(),
        epoch: of.epoch,
        last_sequence: of.sequence,
        last_result_send_id: 0,
    }
}

fn reason<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> Reason {
    outcome.expect_err("a refusal").reason
}

#[test]
fn a_session_exists_as_long_as_somebody_is_in_it() {
    let mut bed = Bed::new(Limits::default());
    assert_eq!(bed.session.facts(), None);
    let first = bed.enter(Role::Publisher);
    assert!(matches!(bed.effects.as_slice(), [Effect::Started, Effect::Entry(_), Effect::Attach(..)]));
    bed.detach(&first, Ending::Broken);
    assert!(bed.session.facts().is_some_and(|facts| (facts.connections, facts.interrupted) == (1, 1)));
    bed.now += WINDOW;
    assert!(matches!(bed.tick(), [Effect::Entry(_), Effect::Ended]));
    assert_eq!(bed.session.facts(), None);
}

#[test]
fn its_next_life_is_another_epoch_and_counts_from_one() {
    let mut bed = Bed::new(Limits::default());
    let first = bed.enter(Role::Publisher);
    bed.command(first.handle, Command::Leave);
    let second = bed.enter(Role::Publisher);
    assert!(second.epoch > first.epoch);
    assert_eq!(second.sequence, 1);
}

#[test]
fn a_full_session_takes_nobody_but_who_resumes() {
    let mut bed = Bed::new(Limits { max_connections_per_session: 1, ..Limits::default() });
    let only = bed.enter(Role::Publisher);
    bed.detach(&only, Ending::Broken);
    assert_eq!(reason(bed.ask(Role::Publisher, WINDOW, View::default(), None)), Reason::SessionFull);
    assert_eq!(bed.resume(memory(&only)).outcome, Outcome::Resumed);
}

#[test]
fn a_snapshot_holds_everyone_or_only_oneself_when_the_others_are_suppressed() {
    let mut bed = Bed::new(Limits::default());
    let first = bed.enter(Role::Publisher);
    let second = bed.enter(Role::Publisher);
    let ids = |of: &Admission| of.snapshot.iter().map(|view| view.info.id).collect::<Vec<_>>();
    assert_eq!(ids(&second), [first.info.id, second.info.id]);
    let alone = bed.enter_with(View { suppress_connection_events: true, ..View::default() });
    assert_eq!(ids(&alone), [alone.info.id]);
}

#[test]
fn what_was_refused_before_it_came_is_a_decision_too() {
    let mut bed = Bed::new(Limits::default());
    let member = bed.enter(Role::Subscriber);
    let forbidden = Refusal::new(Reason::RoleForbids, "a subscriber may not");
    let [Effect::Answer(_, first)] = bed.command(member.handle, Command::Disconnect(1, Err(forbidden))) else {
        panic!()
    };
    assert_eq!(reason(first.outcome.clone()), Reason::RoleForbids);
    // Its repeat repeats it, whatever it asks for.
    assert_eq!(reason(bed.send(&member, 1, None)), Reason::RoleForbids);
}

#[test]
fn a_connection_whose_token_expires_is_gone_whatever_its_window() {
    let mut bed = Bed::new(Limits::default());
    let member = bed.enter(Role::Publisher);
    bed.enter(Role::Publisher);
    let ending = Ending::Refused(Reason::TokenExpired);
    assert_eq!(bed.detach(&member, ending)[0], Effect::Release(member.handle, ending, false));
    assert_eq!(bed.events(), [&Event::Destroyed(member.info.id, DisconnectReason::TokenExpired)]);
}

#[test]
fn one_who_disconnects_itself_is_answered_before_its_stream_ends() {
    let mut bed = Bed::new(Limits::default());
    let member = bed.enter(Role::Moderator);
    let effects = bed.command(member.handle, Command::Disconnect(1, Ok(Named::Id(member.info.id))));
    assert!(matches!(effects, [Effect::Entry(_), Effect::Ended, Effect::Answer(..), Effect::Release(..)]));
}

#[test]
fn an_interrupted_connection_is_a_recipient_and_who_is_not_there_is_listed() {
    let mut bed = Bed::new(Limits::default());
    let sender = bed.enter(Role::Publisher);
    let away = bed.enter(Role::Publisher);
    bed.detach(&away, Ending::Broken);
    let to = [away.info.id.to_string(), "nobody".to_owned()];
    let accepted = bed.send(&sender, 1, Some(&to)).expect("one is there");
    assert_eq!(accepted.not_connected, [Named::read("nobody".into())]);
    assert_eq!(bed.server_send(None).map(|accepted| accepted.recipient_count), Ok(2));
    assert_eq!(bed.resume(memory(&away)).missed.len(), 2);
}

#[test]
fn a_send_to_nobody_there_takes_no_place() {
    let mut bed = Bed::new(Limits::default());
    let sender = bed.enter(Role::Publisher);
    assert_eq!(reason(bed.send(&sender, 1, Some(&["nobody".to_owned()]))), Reason::ConnectionNotFound);
    assert_eq!(bed.send(&sender, 2, None).map(|accepted| accepted.sequence), Ok(sender.sequence + 1));
}

#[test]
fn a_repeat_repeats_the_outcome_and_sends_nothing() {
    let mut bed = Bed::new(Limits::default());
    let sender = bed.enter(Role::Publisher);
    let first = bed.send(&sender, 5, None);
    assert_eq!(bed.send(&sender, 5, None), first);
    assert_eq!(bed.events().len(), 0);
    assert_eq!(reason(bed.send(&sender, 4, None)), Reason::SendIdInvalid);
    assert_ne!(bed.send(&sender, 0, None), bed.send(&sender, 0, None));
}

#[test]
fn a_refused_send_costs_nothing_of_the_rate_and_its_repeat_is_refused_again() {
    let mut bed = Bed::new(Limits { signals_per_second: 1, signal_burst: 1, ..Limits::default() });
    let sender = bed.enter(Role::Publisher);
    let broken = Refusal::new(Reason::SignalTypeInvalid, "a type that is none");
    bed.command(sender.handle, Command::Send(1, Err(broken)));
    assert_eq!(reason(bed.send(&sender, 1, None)), Reason::SignalTypeInvalid);
    assert!(bed.send(&sender, 2, None).is_ok());
    let refusal = bed.send(&sender, 3, None).expect_err("too fast");
    assert_eq!(refusal.reason, Reason::RateLimited);
    bed.now += refusal.retry_after.expect("a time to wait");
    assert!(bed.send(&sender, 4, None).is_ok());
}

#[test]
fn recipient_count_counts_those_whose_filter_lets_it_pass() {
    let mut bed = Bed::new(Limits::default());
    bed.enter(Role::Publisher);
    for kind in ["chat", "typing"] {
        let types = SignalTypes::parse(vec![kind.into()], &Limits::default(), "signal_types");
        bed.enter_with(View { signal_types: types.expect("a type"), ..View::default() });
    }
    assert_eq!(bed.server_send(None).map(|accepted| accepted.recipient_count), Ok(2));
}

#[test]
fn an_idempotency_key_repeats_the_first_response_for_ten_minutes_whoever_is_left() {
    let mut bed = Bed::new(Limits::default());
    let member = bed.enter(Role::Publisher);
    let first = bed.server_send(Some("a"));
    assert_ne!(bed.server_send(Some("b")), first);
    bed.command(member.handle, Command::Leave);
    bed.now += KEYS_KEPT_FOR - Duration::from_nanos(1);
    assert_eq!(bed.server_send(Some("a")), first);
    assert!(!bed.session.is_forgettable());
    bed.now += Duration::from_nanos(1);
    assert_eq!(reason(bed.server_send(Some("a"))), Reason::SessionNotFound);
    assert!(bed.session.is_forgettable());
}

#[test]
fn a_lost_stream_is_waited_for_until_its_window_is_over_and_no_longer() {
    for (late, outcome) in [(Duration::from_nanos(1), Outcome::Resumed), (Duration::ZERO, Outcome::New)] {
        let mut bed = Bed::new(Limits::default());
        let member = bed.enter(Role::Publisher);
        bed.detach(&member, Ending::Broken);
        assert_eq!(bed.events(), [&Event::Interrupted(member.info.id)]);
        assert_eq!(bed.session.next_deadline(), Some(WINDOW));
        bed.now += WINDOW - late;
        assert_eq!(bed.resume(memory(&member)).outcome, outcome);
    }
}

#[test]
fn without_a_window_a_lost_stream_is_the_connections_end() {
    for (ending, reason) in [
        (Ending::Broken, DisconnectReason::NetworkDisconnected),
        (Ending::SlowConsumer, DisconnectReason::SlowConsumer),
    ] {
        let mut bed = Bed::new(Limits::default());
        let member = bed.ask(Role::Publisher, Duration::ZERO, View::default(), None).expect("there is room");
        bed.detach(&member, ending);
        assert_eq!(bed.events(), [&Event::Destroyed(member.info.id, reason)]);
    }
}

#[test]
fn a_resume_gets_what_it_missed_in_order_and_the_outcomes_it_lacks() {
    let mut bed = Bed::new(Limits::default());
    let member = bed.enter(Role::Publisher);
    let other = bed.enter(Role::Publisher);
    let lost = bed.send(&member, 1, None);
    bed.detach(&member, Ending::Broken);
    bed.command(other.handle, Command::Leave);
    let back = bed.resume(memory(&member));
    assert_eq!(back.restated, [SendResult { send_id: 1, outcome: lost }]);
    let missed: Vec<_> = back.missed.iter().map(|entry| entry.event.clone()).collect();
    let [Event::Created(created), Event::Signal { .. }, Event::Destroyed(left, _)] = &missed[..] else {
        panic!("{missed:?}")
    };
    assert_eq!((created.id, *left), (other.info.id, other.info.id));
    assert_eq!((back.token, back.last_send_id), (member.token, 1));
}

#[test]
fn a_resume_that_the_log_does_not_reach_says_so_with_a_fresh_membership() {
    let mut bed = Bed::new(Limits { log_events: 2, ..Limits::default() });
    let member = bed.enter(Role::Publisher);
    let reached = Resume { last_sequence: 1, ..memory(&member) };
    bed.enter(Role::Publisher);
    bed.enter(Role::Publisher);
    assert_eq!(bed.resume(reached.clone()).outcome, Outcome::Resumed);
    bed.enter(Role::Publisher);
    let future = Resume { last_sequence: 100, ..reached.clone() };
    let other_life = Resume { epoch: 100, ..reached.clone() };
    for resume in [reached, future, other_life] {
        let back = bed.resume(resume);
        assert_eq!((back.outcome, back.snapshot.len(), back.missed.len()), (Outcome::ResumedWithGap, 4, 0));
    }
}

#[test]
fn a_resume_takes_a_live_stream_over_and_what_the_old_one_says_is_ignored() {
    let mut bed = Bed::new(Limits::default());
    let old = bed.enter(Role::Publisher);
    let new = bed.resume(memory(&old));
    assert!(matches!(bed.effects[0], Effect::Release(handle, Ending::TakenOver, true) if handle == old.handle));
    assert_eq!(bed.command(old.handle, Command::Send(1, Ok((signal("", "late"), None)))), []);
    assert_eq!(bed.command(old.handle, Command::Leave), []);
    assert_eq!(bed.detach(&old, Ending::Broken), []);
    assert!(bed.send(&new, 1, None).is_ok());
}

#[test]
fn a_resume_without_the_right_to_it_joins_anew() {
    let mut bed = Bed::new(Limits::default());
    let member = bed.enter(Role::Publisher);
    bed.detach(&member, Ending::Broken);
    let right = memory(&member);
    let forged = Resume { token: token(u64::MAX), ..right.clone() };
    let unknown = Resume { connection: Some(id(u64::MAX)), ..right.clone() };
    let nonsense = Resume { connection: None, ..right.clone() };
    for resume in [forged, unknown, nonsense] {
        let anew = bed.resume(resume);
        assert_eq!(anew.outcome, Outcome::New);
        assert_ne!((anew.info.id, anew.token), (member.info.id, member.token.clone()));
    }
    assert_eq!(bed.resume(right).outcome, Outcome::Resumed);
}
