//! A server whose connections are served by several threads.

use tonic::Code;

use crate::support::{
    TestServer, Wrong,
    proto::{ClientAction, JoinOutcome},
};

/// More than there are threads, so that each has some.
const MEMBERS: usize = 9;

#[tokio::test]
async fn members_on_different_threads_see_one_order_and_are_all_told_of_the_end() {
    let mut server = TestServer::with(&["--workers", "3"]).await;
    let mut members = Vec::new();
    for _ in 0..MEMBERS {
        // A connection of its own, and so the next thread's.
        let member = server.join("s").over(server.channel().await).without_connection_events().enter().await;
        assert_eq!(member.joined.outcome(), JoinOutcome::New);
        members.push(member);
    }
    for round in 0..20 {
        for (number, member) in members.iter_mut().enumerate() {
            member.send("", &format!("{round}-{number}"));
        }
    }
    let mut heard: Vec<Vec<String>> = Vec::new();
    for member in &mut members {
        let mut all = Vec::new();
        while all.len() < 20 * MEMBERS {
            all.push(member.heard().await);
        }
        heard.push(all);
    }
    assert!(heard.windows(2).all(|two| two[0] == two[1]), "one order");

    server.shut_down();
    let going_away = Wrong::new(Code::Unavailable, "GOING_AWAY", "", &["going away", "come back"]);
    for member in members {
        member.end().await.check(&going_away, ClientAction::Rejoin);
    }
}
