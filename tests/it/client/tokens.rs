//! The token that a client shows: where it comes from, and what comes after it.

use std::time::Duration;

use signalbox::client::{Action, ConnectError, Event, JoinOptions, Lost, Over, Refusal, Signal, Token};
use tokio::time::Instant;
use tonic::Code;

use crate::support::proto::ClientAction;

use super::{
    App,
    fake::{Fake, FakeStream, Tokens, soon, status},
};

const HOUR: Duration = Duration::from_secs(3_600);

fn expired() -> Refusal {
    status(Code::Unauthenticated, "TOKEN_EXPIRED")
}

fn bearer(token: &str) -> Option<String> {
    Some(format!("Bearer {token}"))
}

/// In, with the token `first`, which lasts for an hour.
async fn in_with_a_token() -> (Fake, Tokens, FakeStream, App) {
    let (mut fake, builder) = Fake::new();
    let (mut tokens, builder) = Tokens::of(builder);
    let client = builder.build().unwrap();
    let joining = tokio::spawn(async move { App::join(&client, JoinOptions::new("s")).await });
    let question = tokens.question().await;
    assert!(fake.is_idle(), "it is asked before the first connection");
    assert_eq!(question.session.as_deref(), Some("s"));
    let token = Token::new("first").expires_at(std::time::SystemTime::now() + HOUR);
    question.answer.send(Ok(token)).unwrap();
    let opening = fake.opening().await;
    assert_eq!(opening.authorization, bearer("first"));
    let stream = opening.accept().await;
    stream.let_in();
    (fake, tokens, stream, soon("a join", joining).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_fixed_token_is_shown_each_time() {
    let (mut fake, builder) = Fake::new();
    let client = builder.token("fixed").build().unwrap();
    let joining = tokio::spawn(async move { App::join(&client, JoinOptions::new("s")).await });
    let opening = fake.opening().await;
    assert_eq!(opening.authorization, bearer("fixed"));
    let stream = opening.accept().await;
    stream.let_in();
    let mut app = joining.await.unwrap();
    stream.fail(status(Code::Unavailable, ""));
    let opening = fake.opening().await;
    assert_eq!(opening.authorization, bearer("fixed"));
    let stream = opening.accept().await;
    stream.let_back_in();
    assert!(matches!(app.next().await, Event::Reconnecting { .. }));
    assert!(!app.back().await.gap);
    // There is no other.
    stream.fail(expired());
    let (reason, action) = app.out().await;
    assert_eq!((reason, action), (Over::Closed(expired()), Action::Stop));
}

#[tokio::test(start_paused = true)]
async fn a_fresh_token_takes_over_before_the_old_one_expires_and_nothing_shows() {
    let (mut fake, mut tokens, mut old, mut app) = in_with_a_token().await;
    let since = Instant::now();
    old.signal(11, "on the old");
    let waiting = app.session.signal(Signal::new("", "decided by the old"));
    assert_eq!(old.sent().await, (1, "decided by the old".to_owned()));
    tokens.give("second", Some(HOUR)).await;
    let left = HOUR - since.elapsed();
    assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(61), "{left:?}");
    let opening = fake.opening().await;
    assert_eq!(opening.authorization, bearer("second"));
    let mut new = opening.accept().await;
    let resume = new.resume();
    assert_eq!((resume.connection_id.as_str(), resume.last_sequence, resume.epoch), ("me", 11, 7));
    assert_eq!((resume.resume_token.as_str(), resume.last_result_send_id), ("secret", 0));

    // The old one lives on until the new one is in.
    old.signal(12, "on both");
    assert_eq!(app.heard().await, "on the old");
    assert_eq!(app.heard().await, "on both");
    let not_to_wait = app.session.signal(Signal::new("", "into the change").retry_after_reconnect(false));
    assert_eq!(old.sent().await, (2, "into the change".to_owned()));
    new.let_back_in();
    new.signal(12, "on both");
    new.accepted(1, 13);
    new.signal(13, "decided by the old");
    // What the old one didn't decide is sent again, to be decided once.
    assert_eq!(new.sent().await.0, 1);
    assert_eq!(new.sent().await, (2, "into the change".to_owned()));
    old.given_up().await;
    new.accepted(2, 14);
    assert_eq!(app.heard().await, "decided by the old");
    assert_eq!(soon("an outcome", waiting).await.unwrap().sequence, 13);
    assert_eq!(soon("an outcome", not_to_wait).await.unwrap().sequence, 14);

    // And so on.
    tokens.give("third", None).await;
    let newest = fake.stream().await;
    assert_eq!(newest.resume().last_sequence, 13);
    newest.let_back_in();
    new.given_up().await;
    newest.signal(15, "last");
    assert_eq!(app.heard().await, "last");
    // One that doesn't expire isn't renewed.
    tokio::time::sleep(HOUR * 24).await;
    assert!(tokens.is_idle() && fake.is_idle());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_stream_that_is_taken_over_may_come_before_the_new_one_is_in() {
    let (mut fake, mut tokens, mut old, mut app) = in_with_a_token().await;
    tokens.give("second", Some(HOUR)).await;
    let mut new = fake.stream().await;
    old.closing("CONNECTION_TAKEN_OVER", ClientAction::Stop.into(), None);
    // Time goes on when everything that came was read.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let meanwhile = app.session.signal(Signal::new("", "meanwhile").retry_after_reconnect(false));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(old.is_quiet(), "what closes takes nothing any more");
    old.fail(status(Code::Aborted, "CONNECTION_TAKEN_OVER"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    new.let_back_in();
    assert_eq!(new.sent().await, (1, "meanwhile".to_owned()));
    new.accepted(1, 11);
    soon("an outcome", meanwhile).await.unwrap();
    new.signal(12, "last");
    assert_eq!(app.heard().await, "last");
}

#[tokio::test(start_paused = true)]
async fn a_take_over_that_fails_after_it_ended_the_old_stream_is_a_loss() {
    let (mut fake, mut tokens, old, mut app) = in_with_a_token().await;
    tokens.give("second", Some(HOUR)).await;
    let new = fake.stream().await;
    old.closing("CONNECTION_TAKEN_OVER", ClientAction::Stop.into(), None);
    old.fail(status(Code::Aborted, "CONNECTION_TAKEN_OVER"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    new.fail(status(Code::Unavailable, ""));
    assert!(matches!(app.next().await, Event::Reconnecting { why: Lost::Broken(_) }));
    // The token that was got for it is still good.
    let opening = fake.opening().await;
    assert_eq!(opening.authorization, bearer("second"));
    opening.accept().await.let_back_in();
    assert!(!app.back().await.gap);
}

#[tokio::test(start_paused = true)]
async fn a_loss_during_a_take_over_is_made_good_by_it() {
    let (mut fake, mut tokens, old, mut app) = in_with_a_token().await;
    tokens.give("second", Some(HOUR)).await;
    let new = fake.stream().await;
    old.fail(status(Code::Unavailable, ""));
    assert!(matches!(app.next().await, Event::Reconnecting { .. }));
    assert!(fake.is_idle(), "one attempt at a time");
    new.let_back_in();
    assert!(!app.back().await.gap);
    new.signal(11, "last");
    assert_eq!(app.heard().await, "last");
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_renewed_when_the_server_says_so() {
    let (mut fake, mut tokens, stream, mut app) = in_with_a_token().await;
    stream.closing("TOKEN_EXPIRED", ClientAction::Rejoin.into(), None);
    stream.fail(expired());
    assert_eq!(app.lost().await, Lost::Closed { reason: "TOKEN_EXPIRED".to_owned(), retry_after: None });
    tokens.give("second", Some(HOUR)).await;
    let opening = fake.opening().await;
    assert_eq!(opening.authorization, bearer("second"));
    opening.accept().await.let_back_in();
    assert!(!app.back().await.gap);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_good_is_kept_for_the_next_stream() {
    let (mut fake, mut tokens, stream, mut app) = in_with_a_token().await;
    stream.fail(status(Code::Unavailable, ""));
    app.lost().await;
    let opening = fake.opening().await;
    assert_eq!(opening.authorization, bearer("first"));
    opening.accept().await.let_back_in();
    app.back().await;
    assert!(tokens.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_token_refused_twice_is_the_end() {
    let (mut fake, mut tokens, stream, mut app) = in_with_a_token().await;
    stream.closing("TOKEN_EXPIRED", ClientAction::Rejoin.into(), None);
    stream.fail(expired());
    app.lost().await;
    tokens.give("second", Some(HOUR)).await;
    let stream = fake.stream().await;
    stream.closing("TOKEN_EXPIRED", ClientAction::Rejoin.into(), None);
    stream.fail(expired());
    assert_eq!(app.out().await, (Over::Closed(expired()), Action::Stop));
    assert!(tokens.is_idle() && fake.is_idle());
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_at_the_first_join_is_renewed_once() {
    let (mut fake, builder) = Fake::new();
    let (mut tokens, builder) = Tokens::of(builder);
    let client = builder.build().unwrap();
    let joining = tokio::spawn(async move { client.join(JoinOptions::new("s")).await.map(|_| ()) });
    for token in ["first", "second"] {
        tokens.give(token, None).await;
        let opening = fake.opening().await;
        assert_eq!(opening.authorization, bearer(token));
        opening.refuse(ConnectError::Rejected(expired()));
    }
    assert_eq!(soon("a join", joining).await.unwrap(), Err(ConnectError::Rejected(expired())));
    assert!(tokens.is_idle() && fake.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_fails_counts_as_a_failed_attempt() {
    let (mut fake, mut tokens, stream, mut app) = in_with_a_token().await;
    stream.closing("TOKEN_EXPIRED", ClientAction::Rejoin.into(), None);
    stream.fail(expired());
    app.lost().await;
    for _ in 0..3 {
        let _ = tokens.question().await.answer.send(Err("no network".into()));
    }
    assert!(fake.is_idle());
    tokens.give("second", None).await;
    fake.stream().await.let_back_in();
    assert!(!app.back().await.gap);
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_fails_before_the_old_token_expires_costs_nothing() {
    let (mut fake, mut tokens, old, mut app) = in_with_a_token().await;
    let _ = tokens.question().await.answer.send(Err("no network".into()));
    old.signal(11, "still here");
    assert_eq!(app.heard().await, "still here");
    tokens.give("second", None).await;
    fake.stream().await.let_back_in();
    old.given_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_fails_at_first_fails_the_join() {
    let (_fake, builder) = Fake::new();
    let client = builder.token_with(async |_| Err("no network".into())).build().unwrap();
    let error = soon("a join", client.join(JoinOptions::new("s"))).await.unwrap_err();
    assert_eq!(error, ConnectError::Token("no network".to_owned()));
    // A token that can't be shown is none.
    let (_fake, builder) = Fake::new();
    let client = builder.token("line\nbreak").build().unwrap();
    let error = soon("a join", client.join(JoinOptions::new("s"))).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Token(why) if !why.contains("break")), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_panics_counts_as_one_that_fails() {
    let (mut fake, builder) = Fake::new();
    let asked = std::sync::atomic::AtomicU32::new(0);
    let builder = builder.token_with(move |_| {
        let number = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert_ne!(number, 1, "this panic is the test's");
        async move { Ok(Token::new(number.to_string())) }
    });
    let client = builder.build().unwrap();
    let joining = tokio::spawn(async move { App::join(&client, JoinOptions::new("s")).await });
    let stream = fake.stream().await;
    stream.let_in();
    let mut app = joining.await.unwrap();
    stream.fail(expired());
    app.lost().await;
    let opening = fake.opening().await;
    assert_eq!(opening.authorization, bearer("2"));
    opening.accept().await.let_back_in();
    assert!(!app.back().await.gap);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_expired_already_is_renewed_only_when_the_server_says_so() {
    let (mut fake, builder) = Fake::new();
    let (mut tokens, builder) = Tokens::of(builder);
    let client = builder.build().unwrap();
    let joining = tokio::spawn(async move { App::join(&client, JoinOptions::new("s")).await });
    // By this clock, which may be wrong.
    let past = std::time::SystemTime::now() - HOUR;
    let _ = tokens.question().await.answer.send(Ok(Token::new("past").expires_at(past)));
    let stream = fake.stream().await;
    stream.let_in();
    let mut app = joining.await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert!(tokens.is_idle() && fake.is_idle());
    stream.signal(11, "good enough");
    assert_eq!(app.heard().await, "good enough");
}
