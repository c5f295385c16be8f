//! What the port says of itself: reflection, health, and an answer for those
//! that call what isn't there or don't speak gRPC.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, uri::PathAndQuery};
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Status, client::Grpc, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_prost::ProstCodec;

use crate::support::{TestServer, proto, soon, within};

const SIGNALING: &str = "signalbox.v1.SignalingService";
const SESSIONS: &str = "signalbox.v1.SessionService";

/// What reflection answers, whichever version is asked.
#[derive(Debug, PartialEq)]
enum Told {
    Services(BTreeSet<String>),
    Files(BTreeMap<String, FileDescriptorProto>),
    Error(i32),
}

/// A version of reflection: the two differ in their package only.
macro_rules! reflection {
    ($ask:ident, $version:ident) => {
        async fn $ask(channel: Channel, question: Question) -> Told {
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };
            let question = match question {
                Question::Services => MessageRequest::ListServices(String::new()),
                Question::Symbol(name) => MessageRequest::FileContainingSymbol(name),
                Question::File(name) => MessageRequest::FileByFilename(name),
            };
            let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
            let asked = async {
                let mut client = ServerReflectionClient::new(channel);
                let answers = client.server_reflection_info(tokio_stream::once(request)).await;
                answers.unwrap().into_inner().message().await
            };
            let answer = match soon("an answer of reflection", asked).await {
                Ok(answer) => answer.expect("each question is answered"),
                // Clients take this for an error answer, too.
                Err(status) => return Told::Error(status.code() as i32),
            };
            match answer.message_response.unwrap() {
                MessageResponse::ListServicesResponse(list) => {
                    Told::Services(list.service.into_iter().map(|service| service.name).collect())
                }
                MessageResponse::FileDescriptorResponse(files) => {
                    let files = files.file_descriptor_proto.iter();
                    let files = files.map(|file| FileDescriptorProto::decode(file.as_slice()).unwrap());
                    Told::Files(files.map(|file| (file.name().to_owned(), file)).collect())
                }
                MessageResponse::ErrorResponse(error) => Told::Error(error.error_code),
                other => panic!("{other:?}"),
            }
        }
    };
}

#[derive(Clone)]
enum Question {
    Services,
    /// Which file has this in it?
    Symbol(String),
    File(String),
}

reflection!(ask_v1, v1);
reflection!(ask_v1alpha, v1alpha);

/// What both versions say, which must be the same.
async fn ask(server: &TestServer, question: Question) -> Told {
    let channel = server.channel().await;
    let told = ask_v1(channel.clone(), question.clone()).await;
    assert_eq!(told, ask_v1alpha(channel, question).await);
    told
}

/// The files that the API was compiled from.
fn compiled() -> BTreeMap<String, FileDescriptorProto> {
    let set = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
    set.file.into_iter().map(|file| (file.name().to_owned(), file)).collect()
}

#[tokio::test]
async fn both_versions_of_reflection_list_every_service_of_the_port() {
    let server = TestServer::start().await;
    let services = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        SESSIONS,
        SIGNALING,
    ];
    let expected = services.into_iter().map(str::to_owned).collect();
    assert_eq!(ask(&server, Question::Services).await, Told::Services(expected));
}

#[tokio::test]
async fn reflection_tells_which_file_a_name_is_in() {
    let server = TestServer::start().await;
    let compiled = compiled();
    for (symbol, file) in [
        (SIGNALING, "signalbox/v1/signaling.proto"),
        ("signalbox.v1.SignalingService.Join", "signalbox/v1/signaling.proto"),
        (SESSIONS, "signalbox/v1/session.proto"),
        ("signalbox.v1.SessionService.WatchSessions", "signalbox/v1/session.proto"),
        ("signalbox.v1.Signal", "signalbox/v1/types.proto"),
        ("signalbox.v1.ClientAction", "signalbox/v1/signaling.proto"),
    ] {
        let Told::Files(files) = ask(&server, Question::Symbol(symbol.into())).await else { panic!("no {symbol}") };
        assert_eq!(files.get(file), Some(&compiled[file]), "{symbol}");
    }
    for unknown in [Question::Symbol("signalbox.v1.Nothing".into()), Question::File("signalbox/v2/x.proto".into())] {
        assert_eq!(ask(&server, unknown).await, Told::Error(Code::NotFound as i32));
    }
}

#[tokio::test]
async fn reflection_gives_every_file_that_a_client_needs() {
    let server = TestServer::start().await;
    let compiled = compiled();
    // As grpcurl does: from the services on, through what each file imports.
    let mut wanted = vec!["signalbox/v1/signaling.proto".to_owned(), "signalbox/v1/session.proto".to_owned()];
    let mut seen = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        if seen.contains_key(&name) {
            continue;
        }
        let Told::Files(files) = ask(&server, Question::File(name.clone())).await else { panic!("no file {name}") };
        let file = files[&name].clone();
        wanted.extend(file.dependency.iter().cloned());
        seen.insert(name, file);
    }
    assert_eq!(seen, compiled);
    assert_eq!(seen.values().filter(|file| file.package() == "signalbox.v1").count(), 3);
}

#[tokio::test]
async fn the_details_of_an_error_can_be_looked_up_too() {
    let server = TestServer::start().await;
    for detail in ["google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.RetryInfo"] {
        assert!(matches!(ask(&server, Question::Symbol(detail.into())).await, Told::Files(_)), "{detail}");
    }
}

#[tokio::test]
async fn health_says_serving_for_the_server_and_for_each_service() {
    let server = TestServer::start().await;
    let mut health = HealthClient::new(server.channel().await);
    for service in ["", SIGNALING, SESSIONS] {
        let request = HealthCheckRequest { service: service.into() };
        let checked = soon("a check", health.check(request.clone())).await.unwrap().into_inner();
        assert_eq!(checked.status(), ServingStatus::Serving, "{service:?}");
        let mut watch = soon("a watch", health.watch(request)).await.unwrap().into_inner();
        let seen = soon("the first state", watch.message()).await.unwrap().unwrap();
        assert_eq!(seen.status(), ServingStatus::Serving, "{service:?}");
    }
    let request = HealthCheckRequest { service: "signalbox.v1.Nothing".into() };
    assert_eq!(health.check(request).await.unwrap_err().code(), Code::NotFound);
}

/// A unary call of any method, with an empty message.
async fn call(channel: Channel, path: &'static str) -> Status {
    let mut client = Grpc::new(channel);
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static(path);
    let called = client.unary(tonic::Request::new(()), path, ProstCodec::<(), ()>::default());
    soon("the end of a call", called).await.unwrap_err()
}

#[tokio::test]
async fn a_call_of_an_unknown_method_is_unimplemented() {
    let server = TestServer::start().await;
    for path in [
        "/signalbox.v1.SignalingService/Whisper",
        "/signalbox.v1.SessionService/EndSession",
        "/signalbox.v1.SignalingService/join",
        "/signalbox.v2.SignalingService/Join",
        "/nobody.knows/This",
    ] {
        assert_eq!(call(server.channel().await, path).await.code(), Code::Unimplemented, "{path}");
    }
}

/// The status of a request over HTTP/2 that is no gRPC, whose answer must end.
async fn plain(server: &TestServer, request: http::request::Builder) -> StatusCode {
    let request = request.body(()).unwrap();
    let asked = async {
        let tcp = TcpStream::connect(server.address()).await.unwrap();
        let (requests, connection) = h2::client::handshake(tcp).await.unwrap();
        let connection = tokio::spawn(connection);
        let (response, mut body) = requests.ready().await.unwrap().send_request(request, false).unwrap();
        // The server may have ended the stream without waiting for a body.
        let _ = body.send_data(Bytes::from_static(b"{}"), true);
        let (head, mut body) = response.await.unwrap().into_parts();
        while let Some(data) = body.data().await {
            data.unwrap();
        }
        connection.abort();
        head.status
    };
    soon("an answer over plain HTTP", asked).await
}

#[tokio::test]
async fn a_request_that_is_no_grpc_gets_an_answer_in_http() {
    let server = TestServer::start().await;
    let url = |path: &str| format!("http://{}{path}", server.address());
    for method in ["Join", "SendFromServer"] {
        let url = url(&format!("/{SIGNALING}/{method}"));
        assert_eq!(plain(&server, Request::get(&url)).await, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        for kind in ["application/json", "application/grpc-web", "text/plain"] {
            let request = Request::post(&url).header("content-type", kind);
            assert_eq!(plain(&server, request).await, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind} to {method}");
        }
        assert_eq!(plain(&server, Request::post(&url)).await, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{method}");
    }
    for path in ["/", &format!("/{SESSIONS}/ListSessions"), &format!("/{SESSIONS}/WatchSessions")] {
        for request in [Request::get(url(path)), Request::post(url(path)).header("content-type", "application/json")] {
            let status = plain(&server, request).await;
            assert!(!status.is_server_error() && !status.is_informational(), "{status} for {path}");
        }
    }
}

#[tokio::test]
async fn a_peer_that_speaks_http_1_is_let_go_at_once() {
    let server = TestServer::start().await;
    // Not by the time-out of those that say nothing.
    let said = within(Duration::from_secs(5), "the end of the connection", async {
        let mut tcp = TcpStream::connect(server.address()).await.unwrap();
        tcp.write_all(b"GET / HTTP/1.1\r\nhost: signalbox\r\n\r\n").await.unwrap();
        let mut said = Vec::new();
        // It ends, or is reset because more was sent than was read.
        let _ = tcp.read_to_end(&mut said).await;
        said
    })
    .await;
    assert!(!said.starts_with(b"HTTP/1"), "{said:?}");
    // And nobody else is hurt.
    server.join("s").enter().await;
}
