//! Whose pages may call.

use tokio::net::TcpStream;

use super::{Answer, ORIGIN, Page, SERVICE, ask, join, server};
use crate::support::{TestServer, proto, soon};

async fn connect(server: &TestServer) -> TcpStream {
    soon("a connection", TcpStream::connect(server.address())).await.unwrap()
}

/// What a browser asks before it posts.
async fn preflight(server: &TestServer, origin: &str) -> Answer<TcpStream> {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,x-grpc-web,x-user-agent"),
    ];
    ask(connect(server).await, "OPTIONS", &format!("{SERVICE}/Send"), &headers, b"").await
}

#[tokio::test]
async fn a_preflight_says_what_pages_of_an_origin_may() {
    let server = TestServer::with(&["--cors-origin", "https://a.example,http://localhost:8080"]).await;
    for origin in [ORIGIN, "https://a.example"] {
        let answer = preflight(&server, origin).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert_eq!(answer.header("access-control-allow-methods"), "POST");
        assert_eq!(answer.header("access-control-max-age"), "7200");
        assert!(answer.header("vary").contains("origin"), "{answer:?}");
        for name in ["authorization", "content-type", "grpc-timeout", "x-grpc-web", "x-user-agent"] {
            assert!(answer.header("access-control-allow-headers").contains(name), "{answer:?}");
        }
        assert_eq!(answer.header("access-control-allow-credentials"), "");
    }
}

#[tokio::test]
async fn an_answer_may_be_read_by_its_page() {
    let server = server(&[]).await;
    let answer = Page::of(&server).call("Leave", &proto::LeaveRequest::default()).await;
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        assert!(answer.header("access-control-expose-headers").contains(name), "{answer:?}");
    }
    assert_eq!(answer.end().await.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let server = server(&[]).await;
    for origin in ["http://evil.example", "http://localhost", "https://localhost:8080", "null"] {
        let answer = preflight(&server, origin).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, ""), "{origin}");
        assert!(answer.body().await.contains("--cors-origin"));
        let page = Page { origin: Some(origin), ..Page::of(&server) };
        let answer = page.call("Subscribe", &proto::SubscribeRequest { join: Some(join("s")) }).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, ""), "{origin}");
        assert!(answer.body().await.contains("--cors-origin"));
    }
    // Nobody got in. What is no page, and so has no origin, isn't held to this.
    let (_stream, joined) = Page { origin: None, ..Page::of(&server) }.subscribe(join("s")).await;
    assert_eq!(joined.connections.len(), 1);
}

#[tokio::test]
async fn a_star_lets_every_page_call() {
    let server = TestServer::with(&["--cors-origin", "*"]).await;
    let answer = preflight(&server, "null").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"));
    let (stream, _) = Page { origin: Some("http://any.example"), ..Page::of(&server) }.subscribe(join("s")).await;
    assert_eq!(stream.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn what_is_no_call_is_told_so() {
    let server = server(&[]).await;
    for (method, kind, status, says) in [
        ("GET", "", 405, "only POST"),
        ("POST", "application/json", 415, "application/grpc-web"),
        ("POST", "application/grpc", 415, "HTTP/2"),
    ] {
        let headers = [("content-type", kind), ("content-length", "0")];
        let answer = ask(connect(&server).await, method, &format!("{SERVICE}/Send"), &headers, b"").await;
        assert_eq!(answer.status, status);
        let body = answer.body().await;
        assert!(body.contains(says), "{body}");
    }
    let headers = [("content-type", "application/grpc-web"), ("content-length", "5")];
    let answer = ask(connect(&server).await, "POST", "/no.such.Service/Call", &headers, &[0; 5]).await;
    assert_eq!(answer.end().await.code(), tonic::Code::Unimplemented);
}
