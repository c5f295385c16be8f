//! Endpoints that are none: what a client is told, as a member and as a
//! backend.

use std::time::Duration;

use http::{Response, StatusCode};

use signalbox::client::{CallError, Client, ConnectError, JoinOptions};

use crate::support::{Peer, TestServer, soon};

/// Longer than anything takes that isn't waited for in vain.
const LONG: Duration = Duration::from_secs(10);
/// For those that say nothing: each test waits for it.
const SHORT: Duration = Duration::from_millis(300);

/// What a member and a backend are told of these endpoints, which must be the
/// same.
async fn told(endpoints: &[&str], timeout: Duration) -> ConnectError {
    let client = Client::builder().endpoints(endpoints).connect_timeout(timeout).build().unwrap();
    let joining = soon("the end of a join", client.join(JoinOptions::new("s"))).await.unwrap_err();
    let calling = soon("the end of a call", client.server().get_session("s")).await.unwrap_err();
    assert_eq!(calling, CallError::Connect(joining.clone()));
    joining
}

/// The second endpoint is a server: whatever is wrong with the first, both a
/// member and a backend come through.
async fn second_works(bad: &str, timeout: Duration) {
    let server = TestServer::start().await;
    let good = format!("http://{}", server.address());
    let client = Client::builder().endpoints([bad, &good]).connect_timeout(timeout).build().unwrap();
    let backend = client.server();
    // At once: what says nothing is waited for.
    let both = async { tokio::join!(client.join(JoinOptions::new("s")), backend.list_sessions().all()) };
    let (joined, called) = soon("a join and a call", both).await;
    assert!(called.is_ok(), "{called:?}");
    let (session, _events) = joined.unwrap();
    soon("the end", session.leave_now()).await;
}

fn says(error: &ConnectError, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{text:?} doesn't say {word:?}");
    }
}

#[tokio::test]
async fn a_name_that_nobody_has_is_unreachable() {
    // Too long for a name: known without asking anybody.
    let bad = format!("http://{}.invalid:50051", "nowhere".repeat(10));
    let error = told(&[&bad], LONG).await;
    assert!(matches!(&error, ConnectError::Unreachable { endpoint, .. } if *endpoint == bad), "{error:?}");
    says(&error, &[&bad, "lookup", "check the address"]);
    second_works(&bad, LONG).await;
}

#[tokio::test]
async fn a_port_where_nothing_listens_refuses() {
    let peer = Peer::refusing();
    let error = told(&[&peer.endpoint()], LONG).await;
    assert_eq!(error, ConnectError::ConnectionRefused { endpoint: peer.endpoint() });
    says(&error, &[&peer.endpoint(), "is a server running there?"]);
    second_works(&peer.endpoint(), LONG).await;
}

#[tokio::test]
async fn one_that_speaks_http_1_is_not_grpc_and_what_it_says_is_told() {
    let peer = Peer::saying(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let error = told(&[&peer.endpoint()], LONG).await;
    assert!(matches!(&error, ConnectError::NotGrpc { endpoint, .. } if *endpoint == peer.endpoint()), "{error:?}");
    says(&error, &["HTTP/1.1 400 Bad Request", "right port"]);
    second_works(&peer.endpoint(), LONG).await;
}

#[tokio::test]
async fn the_admin_port_is_not_grpc() {
    let server = TestServer::start().await;
    let error = told(&[&format!("http://{}", server.admin())], LONG).await;
    assert!(matches!(error, ConnectError::NotGrpc { .. }), "{error:?}");
}

#[tokio::test]
async fn one_that_speaks_tls_is_not_grpc_and_that_is_told() {
    let peer = Peer::saying(b"\x15\x03\x01\x00\x02\x02\x46").await;
    let error = told(&[&peer.endpoint()], LONG).await;
    assert!(matches!(error, ConnectError::NotGrpc { .. }), "{error:?}");
    says(&error, &["TLS"]);
}

#[tokio::test]
async fn one_that_speaks_http_2_without_the_service_is_not_grpc() {
    let not_found = || Response::builder().status(StatusCode::NOT_FOUND).body(()).unwrap();
    let web = Peer::http2(move |_| Some(not_found())).await;
    let other_grpc = Peer::http2(|_| Some(tonic::Status::unimplemented("").into_http::<()>())).await;
    for peer in [web, other_grpc] {
        let error = told(&[&peer.endpoint()], LONG).await;
        assert!(matches!(error, ConnectError::NotGrpc { .. }), "{error:?}");
        second_works(&peer.endpoint(), LONG).await;
    }
}

#[tokio::test]
async fn one_that_accepts_and_says_nothing_times_out() {
    let peer = Peer::silent().await;
    let error = told(&[&peer.endpoint()], SHORT).await;
    assert_eq!(error, ConnectError::TimedOut { endpoint: peer.endpoint(), after: SHORT });
    says(&error, &["said nothing for 300ms", "another endpoint"]);
    // What is good is given the time that it needs on a busy machine.
    second_works(&peer.endpoint(), Duration::from_secs(2)).await;
}

#[tokio::test]
async fn one_that_accepts_and_hangs_up_is_not_grpc() {
    let peer = Peer::hanging_up().await;
    let error = told(&[&peer.endpoint()], LONG).await;
    assert!(matches!(error, ConnectError::NotGrpc { .. }), "{error:?}");
    says(&error, &["without a word"]);
    second_works(&peer.endpoint(), LONG).await;
}

#[tokio::test]
async fn of_several_that_are_bad_the_last_is_told() {
    let (first, last) = (Peer::hanging_up().await, Peer::refusing());
    let error = told(&[&first.endpoint(), &last.endpoint()], LONG).await;
    assert_eq!(error, ConnectError::ConnectionRefused { endpoint: last.endpoint() });
}

#[test]
fn what_can_be_no_endpoint_is_told_before_anything_is_connected() {
    for (bad, word) in [
        ("ftp://127.0.0.1:50051", "not an http or https URL"),
        ("https://", "not a URL"),
        ("http://", "not a URL"),
        ("", "not a URL"),
        ("a b", "not a URL"),
        ("http://127.0.0.1:http", "a port is a number"),
        ("127.0.0.1:99999", "a port is a number"),
        ("http://[::1]:", "a port is a number"),
    ] {
        let error = Client::new([bad]).unwrap_err();
        assert!(matches!(&error, ConnectError::InvalidEndpoint { endpoint, .. } if endpoint == bad), "{error:?}");
        says(&error, &[&format!("{bad:?}"), word]);
    }
    let none = Client::new(Vec::<String>::new()).unwrap_err();
    assert!(matches!(none, ConnectError::InvalidEndpoint { .. }), "{none:?}");
    for good in ["127.0.0.1:50051", "http://[::1]", "http://[::1]:50051", "localhost", "http://127.0.0.1:50051/"] {
        assert!(Client::new([good]).is_ok(), "{good}");
    }
}
