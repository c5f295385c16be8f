//! What may wait to be sent.

use futures_util::FutureExt as _;
use signalbox::client::{JoinOptions, SendError, Signal};

use crate::support::{Relay, TestServer, soon};

use super::App;

/// Disconnected, with room for so much.
async fn disconnected(sends: usize, bytes: usize) -> (TestServer, Relay, App) {
    let server = TestServer::start().await;
    let relay = Relay::to(server.address()).await;
    let options = JoinOptions::new("s").queue(sends, bytes);
    let mut app = App::join(&App::impatient([relay.endpoint()]), options).await;
    relay.cut();
    app.lost().await;
    (server, relay, app)
}

#[tokio::test]
async fn a_queue_is_full_at_its_count_and_says_so() {
    let (_server, relay, mut app) = disconnected(3, 1_000).await;
    let mut sends: Vec<_> = (0..3).map(|number| app.session.signal(Signal::new("", number.to_string()))).collect();
    let full = soon("an outcome", app.session.signal(Signal::new("", "3"))).await.unwrap_err();
    let SendError::QueueFull { sends: waiting, bytes, limits } = full else { panic!("{full:?}") };
    assert_eq!((waiting, limits), (3, (3, 1_000)));
    assert!(bytes > 0 && bytes < 30, "{bytes}");
    let says = full.to_string();
    assert!(says.contains("3 sends") && says.contains("1000"), "{says}");
    // What waits is as it was, and what comes when there is room again goes.
    relay.mend();
    app.back().await;
    for number in 0..3 {
        assert_eq!(app.heard().await, number.to_string());
        soon("an outcome", sends.remove(0)).await.unwrap();
    }
    soon("an outcome", app.session.signal(Signal::new("", "4"))).await.unwrap();
    assert_eq!(app.heard().await, "4");
}

#[tokio::test]
async fn a_queue_is_full_at_its_bytes_and_says_so() {
    let (_server, relay, mut app) = disconnected(100, 20_000).await;
    let data = "d".repeat(8_000);
    let signal = || Signal::new("chat", data.clone());
    let (first, second) = (app.session.signal(signal()), app.session.signal(signal()));
    let full = soon("an outcome", app.session.signal(signal())).await.unwrap_err();
    let SendError::QueueFull { sends, bytes, limits } = full else { panic!("{full:?}") };
    assert_eq!((sends, limits), (2, (100, 20_000)));
    assert!((16_000..16_100).contains(&bytes), "{bytes}");
    // Recipients weigh too; what is small still goes in.
    let to: Vec<_> = (0..100).map(|number| format!("{number:0>100}")).collect();
    let full = soon("an outcome", app.session.signal(Signal::new("", "").to(to))).await.unwrap_err();
    assert!(matches!(full, SendError::QueueFull { sends: 2, .. }), "{full:?}");
    let small = app.session.signal(Signal::new("", "small"));
    relay.mend();
    app.back().await;
    for send in [first, second, small] {
        soon("an outcome", send).await.unwrap();
        app.signal().await;
    }
}

#[tokio::test]
async fn what_the_rate_holds_back_waits_in_the_queue_too() {
    let server = TestServer::with(&["--signals-per-second", "20", "--signal-burst", "2"]).await;
    let options = JoinOptions::new("s").queue(4, 1_000);
    let app = App::join(&App::impatient([server.address().to_string()]), options).await;
    let mut sends: Vec<_> = (0..10).map(|number| app.session.signal(Signal::new("", number.to_string()))).collect();
    tokio::task::yield_now().await;
    // Two go at once, four wait.
    for send in sends.split_off(6) {
        let outcome = send.now_or_never().expect("it is refused at once");
        assert!(matches!(outcome, Err(SendError::QueueFull { sends: 4, .. })), "{outcome:?}");
    }
    for send in sends {
        soon("an outcome", send).await.unwrap();
    }
}
