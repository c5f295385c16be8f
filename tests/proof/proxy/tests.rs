//! Each fault, seen from both ends.

use tokio::time::Instant;

use super::*;

/// Longer than anything here takes. A test that passes never waits for it.
const LONG: Duration = Duration::from_secs(10);

/// What only shows by its absence is waited for this long.
const SHORT: Duration = Duration::from_millis(200);

/// A server, and a proxy before it that plays one plan.
struct Set {
    listener: TcpListener,
    proxy: Proxy,
}

impl Set {
    async fn with(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(move |_| plan.clone(), vec![listener.local_addr().unwrap()]).await.unwrap();
        Self { listener, proxy }
    }

    async fn fault(way: Way, after: usize, fault: Fault) -> Self {
        Self::with(Plan { troubles: vec![Trouble { way, after, fault }], ..Plan::default() }).await
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.proxy.address()).await.unwrap()
    }

    async fn server(&self) -> TcpStream {
        timeout(LONG, self.listener.accept()).await.expect("a connection").unwrap().0
    }

    async fn both(&self) -> (TcpStream, TcpStream) {
        (self.client().await, self.server().await)
    }
}

/// Everything up to the end, and whether that is a good one.
async fn all(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 1_000]);
    loop {
        match timeout(LONG, stream.read(&mut buffer)).await.expect("an end") {
            Ok(0) => return (bytes, true),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(_) => return (bytes, false),
        }
    }
}

async fn says_nothing(stream: &mut TcpStream) -> bool {
    timeout(SHORT, stream.read(&mut [0; 10])).await.is_err()
}

async fn hears(stream: &mut TcpStream, wanted: &[u8]) -> bool {
    let mut bytes = vec![0; wanted.len()];
    timeout(LONG, stream.read_exact(&mut bytes)).await.expect("bytes").is_ok() && bytes == wanted
}

#[tokio::test]
async fn a_cut_is_exactly_at_its_byte_either_way() {
    for after in [0, 1, 7, 100] {
        for way in [Way::Up, Way::Down] {
            let set = Set::fault(way, after, Fault::Cut { ending: Ending::Fin, late: Duration::ZERO }).await;
            let (mut client, mut server) = set.both().await;
            let (from, to) = match way {
                Way::Up => (&mut client, &mut server),
                Way::Down => (&mut server, &mut client),
            };
            from.write_all(&[7; 100]).await.unwrap();
            assert_eq!(all(to).await, (vec![7; after], true), "{way:?}");
            all(from).await;
            assert_eq!(set.proxy.played().of(Kind::CutByFin), 1);
        }
    }
}

#[tokio::test]
async fn a_reset_is_one_for_both_ends() {
    let set = Set::fault(Way::Up, 5, Fault::Cut { ending: Ending::Reset, late: Duration::ZERO }).await;
    let (mut client, mut server) = set.both().await;
    client.write_all(b"hello").await.unwrap();
    assert!(!all(&mut client).await.1 && !all(&mut server).await.1);
}

#[tokio::test]
async fn a_server_may_hear_of_a_cut_later() {
    let late = Duration::from_millis(300);
    let set = Set::fault(Way::Up, 5, Fault::Cut { ending: Ending::Fin, late }).await;
    let (mut client, mut server) = set.both().await;
    let began = Instant::now();
    client.write_all(b"hello").await.unwrap();
    all(&mut client).await;
    drop(client);
    assert_eq!(all(&mut server).await, (b"hello".to_vec(), true));
    assert!(began.elapsed() >= late);
}

#[tokio::test]
async fn a_stall_holds_bytes_and_then_lets_them_go() {
    let time = Duration::from_millis(300);
    let set = Set::fault(Way::Down, 3, Fault::Stall(time)).await;
    let (mut client, mut server) = set.both().await;
    let began = Instant::now();
    server.write_all(b"abcdef").await.unwrap();
    assert!(hears(&mut client, b"abc").await);
    assert!(hears(&mut client, b"def").await && began.elapsed() >= time);
}

#[tokio::test]
async fn delays_and_trickles_lose_nothing() {
    for fault in [Fault::Delay(Duration::from_millis(2)), Fault::Trickle { bytes: 50 }] {
        let set = Set::fault(Way::Up, 10, fault).await;
        let (mut client, mut server) = set.both().await;
        let bytes: Vec<u8> = (0..200).collect();
        client.write_all(&bytes).await.unwrap();
        assert!(hears(&mut server, &bytes).await);
    }
}

#[tokio::test]
async fn a_half_open_connection_swallows_both_ways_and_tells_nobody() {
    let set = Set::fault(Way::Up, 3, Fault::HalfOpen { both: true, late: Duration::ZERO }).await;
    let (mut client, mut server) = set.both().await;
    client.write_all(b"abcdef").await.unwrap();
    assert!(hears(&mut server, b"abc").await && says_nothing(&mut server).await);
    server.write_all(b"anybody there?").await.unwrap();
    assert!(says_nothing(&mut client).await);
    drop(client);
    assert_eq!(all(&mut server).await.0, b"");
}

#[tokio::test]
async fn a_connection_half_open_one_way_is_open_the_other() {
    let set = Set::fault(Way::Up, 3, Fault::HalfOpen { both: false, late: Duration::ZERO }).await;
    let (mut client, mut server) = set.both().await;
    client.write_all(b"abcdef").await.unwrap();
    assert!(hears(&mut server, b"abc").await && says_nothing(&mut server).await);
    server.write_all(b"anybody there?").await.unwrap();
    assert!(hears(&mut client, b"anybody there?").await);
}

#[tokio::test]
async fn a_ghost_says_the_opening_a_second_time() {
    let opening = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0, 0, 2, 0, 0, 0, 0, 0, 1], b"hi"].concat();
    for first in [true, false] {
        let ghost = Some(Ghost { first, stays: SHORT });
        let set = Set::with(Plan { ghost, ..Plan::default() }).await;
        let (mut client, mut server) = set.both().await;
        client.write_all(&opening).await.unwrap();
        client.write_all(b"and more").await.unwrap();
        let mut ghost = set.server().await;
        assert!(hears(&mut ghost, &opening).await && hears(&mut server, &opening).await);
        assert!(hears(&mut server, b"and more").await);
        assert_eq!(all(&mut ghost).await, (Vec::new(), false));
    }
}

#[tokio::test]
async fn a_refused_connection_reaches_nobody() {
    let set = Set::with(Plan { refused: true, ..Plan::default() }).await;
    assert_eq!(all(&mut set.client().await).await, (Vec::new(), false));
}

#[tokio::test]
async fn it_may_lead_to_nobody_and_then_to_somebody_again() {
    let set = Set::with(Plan::default()).await;
    set.proxy.lead_to(Vec::new());
    assert_eq!(all(&mut set.client().await).await, (Vec::new(), false));
    set.proxy.lead_to(vec![set.listener.local_addr().unwrap()]);
    let (mut client, mut server) = set.both().await;
    client.write_all(b"hello").await.unwrap();
    assert!(hears(&mut server, b"hello").await);
}

#[tokio::test]
async fn when_it_gets_calm_faulty_connections_end_and_new_ones_are_well() {
    let set = Set::fault(Way::Up, 3, Fault::HalfOpen { both: true, late: LONG }).await;
    let (mut client, mut server) = set.both().await;
    client.write_all(b"abcdef").await.unwrap();
    assert!(hears(&mut server, b"abc").await);
    set.proxy.calm_down();
    assert_eq!(all(&mut client).await.0, b"");
    let (mut client, mut server) = set.both().await;
    client.write_all(b"abcdef").await.unwrap();
    assert!(hears(&mut server, b"abcdef").await);
}
