//! Many nodes on one Redis, and what becomes of them when it goes. The storm of
//! faults is the proof's; here is what one person would see.

mod cluster;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use tonic::Code;

use crate::support::{Event, Frame, Member, TestServer, Wrong, from_server, proto, redis::RedisServer, soon, within};

const MINUTE: Duration = Duration::from_secs(60);

/// How long what a lease has to end for may take.
const A_WHILE: Duration = Duration::from_secs(40);

/// Some nodes on a Redis; none where there is no `redis-server`.
async fn nodes(count: usize) -> Option<(RedisServer, Vec<TestServer>)> {
    let redis = RedisServer::start()?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(TestServer::on(&redis, &[]).await);
    }
    Some((redis, nodes))
}

/// Waits for what `/readyz` says to be this.
async fn until_ready(node: &TestServer, status: u16) -> String {
    within(A_WHILE, "another readiness", async {
        loop {
            let (is, body) = node.get("/readyz").await;
            if is == status {
                return body;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

fn signals(event: &Event) -> Option<(u64, String)> {
    match event {
        Event::Signal(signal) => Some((signal.sequence, signal.signal.as_ref()?.data.clone())),
        _ => None,
    }
}

#[tokio::test]
async fn members_on_different_nodes_see_one_order_and_each_other() {
    let Some((_redis, nodes)) = nodes(3).await else { return };
    let mut members: Vec<Member> = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let member = node.join("s").window(MINUTE).enter().await;
        assert_eq!(member.snapshot().len(), at + 1);
        members.push(member);
    }
    for round in 0..20 {
        let sends: Vec<_> = members.iter_mut().map(|member| member.send("", &format!("{round}"))).collect();
        for (member, send) in members.iter_mut().zip(sends) {
            member.accepted(send).await;
        }
    }
    let mut orders = Vec::new();
    for member in &mut members {
        let mut order = Vec::new();
        while order.len() < 60 {
            order.push(member.find("a signal", signals).await);
        }
        orders.push(order);
    }
    assert!(orders.iter().all(|order| *order == orders[0]), "{orders:?}");
    // Whom one node has, every node knows; whom none has, none.
    let somebody = members[2].id();
    let sent = members[0].send_to(&[&somebody, "nobody"], "to one");
    let accepted = members[0].outcome(sent).await.unwrap();
    assert_eq!(accepted.not_connected_ids, ["nobody"]);
    assert_eq!(members[2].heard().await, "to one");
    let refused = members[0].send_to(&["nobody"], "to nobody");
    assert_eq!(members[0].refusal(refused).await.reason, "CONNECTION_NOT_FOUND");
    let mut listing = nodes[1].sessions();
    let session = listing.get_session(proto::GetSessionRequest { session_id: "s".into() }).await.unwrap();
    assert_eq!(session.into_inner().session.unwrap().connection_count, 3);
}

#[tokio::test]
async fn a_key_and_a_resume_hold_on_every_node() {
    let Some((_redis, nodes)) = nodes(2).await else { return };
    let mut stays = nodes[0].join("s").enter().await;
    let lost = nodes[0].join("s").window(MINUTE).enter().await;
    let first = from_server("s", "once");
    let request = || proto::SendFromServerRequest { idempotency_key: "key".into(), ..first.clone() };
    let one = nodes[0].signaling().send_from_server(request()).await.unwrap().into_inner();
    let other = nodes[1].signaling().send_from_server(request()).await.unwrap().into_inner();
    assert_eq!((one.sequence, one.recipient_count), (other.sequence, other.recipient_count));
    assert_eq!(stays.heard().await, "once");
    let memory = lost.lose_before(&mut stays).await;
    let send = stays.send("", "missed");
    stays.accepted(send).await;
    let mut back = nodes[1].join("s").resume(memory).enter().await;
    assert_eq!(back.joined.outcome(), proto::JoinOutcome::Resumed);
    assert_eq!([back.heard().await, back.heard().await], ["once", "missed"]);
}

#[tokio::test]
async fn while_redis_is_away_sends_fail_streams_stay_and_everything_recovers() {
    let Some((mut redis, nodes)) = nodes(2).await else { return };
    let mut one = nodes[0].join("s").window(MINUTE).enter().await;
    let mut two = nodes[1].join("s").window(MINUTE).enter().await;
    let first = one.send("", "before");
    one.accepted(first).await;
    redis.ask(&redis::cmd("SAVE"));
    redis.kill();
    for node in &nodes {
        assert!(until_ready(node, 503).await.contains("Redis is away"));
    }
    let refused = one.send("", "meanwhile");
    let refusal = one.refusal(refused).await;
    Wrong::new(Code::Unavailable, "ENGINE_UNAVAILABLE", "", &["nothing was done"]).check_error(&refusal);
    assert!(refusal.retry_after.is_some_and(|after| after.seconds + i64::from(after.nanos) > 0));
    let status = nodes[1].signaling().send_from_server(from_server("s", "meanwhile")).await.unwrap_err();
    Wrong::new(Code::Unavailable, "ENGINE_UNAVAILABLE", "", &["nothing was done"]).check_status(&status);
    redis.again();
    for node in &nodes {
        until_ready(node, 200).await;
    }
    // On the same streams, which were told nothing.
    let after = two.send("", "after");
    two.accepted(after).await;
    for member in [&mut one, &mut two] {
        assert_eq!([member.heard().await, member.heard().await], ["before", "after"]);
    }
}

#[tokio::test]
async fn where_redis_is_out_of_memory_sends_are_refused_and_leaving_is_not() {
    let Some((redis, nodes)) = nodes(1).await else { return };
    let mut one = nodes[0].join("s").enter().await;
    let two = nodes[0].join("s").enter().await;
    let config = |what: &str, value: &str| {
        redis.ask(redis::cmd("CONFIG").arg("SET").arg(what).arg(value));
    };
    config("maxmemory", "1");
    let send = one.send("", "too much");
    Wrong::new(Code::Unavailable, "ENGINE_UNAVAILABLE", "", &["nothing was done", "OOM"])
        .check_error(&one.refusal(send).await);
    two.frame(Frame::Leave(proto::Leave {}));
    let gone = one.find("a departure", |event| matches!(event, Event::ConnectionDestroyed(_)).then_some(())).await;
    assert_eq!(gone, ());
    config("maxmemory", "0");
    let send = one.send("", "enough");
    one.accepted(send).await;
}

#[tokio::test]
async fn a_dead_nodes_connections_are_waited_for_and_then_lost_with_it() {
    let Some((redis, nodes)) = nodes(1).await else { return };
    let dies = crate::support::Process::start(&["--engine", "redis", "--redis-url", &redis.url()]).await;
    let mut stays = nodes[0].join("s").enter().await;
    let lost = dies.join("s").await.enter().await;
    let waits = dies.join("s").await.window(Duration::from_secs(1)).enter().await;
    let (lost, waits) = (lost.id(), waits.id());
    dies.signal(rustix::process::Signal::KILL);
    within(A_WHILE, "the loss of two connections", async {
        let mut gone = Vec::new();
        while gone.len() < 2 {
            if let Event::ConnectionDestroyed(destroyed) = stays.next_within(A_WHILE).await {
                assert_eq!(destroyed.reason(), proto::DisconnectReason::NodeLost);
                gone.push(destroyed.connection_id);
            }
        }
        gone.sort();
        let mut both = [lost, waits];
        both.sort();
        assert_eq!(gone, both);
    })
    .await;
}

/// What a server says that is started with a Redis like this, and how it ends.
fn started_with(url: &str) -> (String, Option<i32>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_signalbox"))
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "none", "--engine", "redis", "--redis-url", url])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let mut said = String::new();
    child.stderr.take().expect("it was piped").read_to_string(&mut said).expect("text");
    (said, child.wait().expect("its end").code())
}

#[tokio::test]
async fn a_redis_that_will_not_do_is_refused_at_start_with_a_sentence() {
    let Some(redis) = RedisServer::start() else { return };
    let config = |what: &str, value: &str| {
        redis.ask(redis::cmd("CONFIG").arg("SET").arg(what).arg(value));
    };
    let refused = |says: &[&str]| {
        let (said, code) = started_with(&redis.url());
        assert!(code == Some(1) && says.iter().all(|word| said.contains(word)), "{code:?}: {said}");
        assert!(!said.contains("secret") && said.lines().count() == 1, "{said}");
    };
    config("maxmemory", "100mb");
    config("maxmemory-policy", "allkeys-lru");
    refused(&["maxmemory-policy is allkeys-lru", "must be noeviction"]);
    config("maxmemory-policy", "noeviction");
    redis.ask(redis::cmd("SET").arg("signalbox:{0}:partitions").arg(7));
    refused(&["into 7 partitions", "32"]);
    config("requirepass", "secret");
    refused(&["doesn't let this user in", "NOAUTH"]);
    let (said, code) = started_with(&redis.url().replace('?', "?pass=wrong&"));
    assert!(code == Some(1) && said.contains("doesn't let this user in") && !said.contains("secret"), "{said}");
}

#[tokio::test]
async fn an_old_redis_is_refused_at_start_with_a_sentence() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    // What one of version 6 says to whatever it is asked, in its order.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            for line in lines {
                let answer = match line.to_uppercase().as_str() {
                    "HELLO" => "%1\r\n$7\r\nversion\r\n$6\r\n6.2.14\r\n".to_owned(),
                    "CLIENT" => "+OK\r\n".to_owned(),
                    "INFO" => {
                        let about = "redis_version:6.2.14\r\nrole:master\r\nrun_id:x\r\n";
                        format!("${}\r\n{about}\r\n", about.len())
                    }
                    _ => continue,
                };
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        }
    });
    let said = tokio::task::spawn_blocking(move || started_with(&url));
    let (said, code) = soon("the end of a server", said).await.unwrap();
    assert!(code == Some(1) && said.contains("it is Redis 6.2.14; it must be 7.0 or newer"), "{code:?}: {said}");
}

/// What the doctor says of a Redis, and its exit code.
fn doctor(url: &str, more: &[&str]) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_signalbox"))
        .args(["doctor", "--engine", "redis", "--redis-url", url])
        .args(more)
        .output()
        .expect("the binary");
    (String::from_utf8(output.stdout).expect("text"), output.status.code())
}

#[tokio::test]
async fn the_doctor_says_what_is_well_and_what_to_mend() {
    let Some(redis) = RedisServer::start() else { return };
    let (said, code) = doctor(&redis.url(), &[]);
    assert_eq!(code, Some(0), "{said}");
    for what in [
        "ok   version       ",
        "ok   mode          standalone",
        "warn memory        no limit",
        "to mend it: set maxmemory",
        "ok   permissions",
    ] {
        assert!(said.contains(what), "{what} is not in\n{said}");
    }
    assert_eq!(redis.get::<usize>(redis::cmd("EXISTS").arg("signalbox:{0}:doctor")), 0);
    redis.ask(redis::cmd("ACL").arg(&["SETUSER", "weak", "on", ">pw", "~*", "&*", "+@all", "-eval"][..]));
    let (said, code) = doctor(&redis.url().replace('?', "?user=weak&pass=pw&"), &["--json"]);
    let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!((code, last["what"].as_str(), last["verdict"].as_str()), (Some(1), Some("permissions"), Some("bad")));
    assert!(last["is"].as_str().unwrap().contains("EVAL") && last["mend"].as_str().unwrap().contains("ACL SETUSER"));
    let (said, code) = doctor("redis://127.0.0.1:1", &[]);
    assert!(code == Some(1) && said.contains("bad  reach") && said.contains("see that it runs"), "{said}");
}
