//! What a fan-out allocates: nothing that grows with its receivers.
//!
//! Counted are the allocations of the thread that serves, while as many signals
//! go to few receivers and to many. What a send costs as such is in both, so
//! the difference is what the receivers cost.

mod hub;
mod peer;
mod wire;

use std::{net::SocketAddr, sync::mpsc, thread, time::Duration};

use signalbox::{
    domain::Limits,
    grpc::Rates,
    hub::Capacity,
    server::{Config, EngineSettings, Server, TransportCaps},
};
use tokio::{runtime, sync::oneshot};

use peer::Peer;

const FEW: u32 = 10;
const MANY: u32 = 200;
/// Signals before counting begins: buffers have their sizes by then.
const WARM_UP: u64 = 20;
const COUNTED: u64 = 50;
/// What may come from what isn't the fan-out: the clock's wheel, a buffer that
/// doubles once more.
const NOISE: f64 = 0.01;

fn config() -> Config {
    Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        admin_listen: None,
        rest: None,
        tokens: None,
        tls: None,
        engine: EngineSettings::Memory,
        reflection: true,
        origins: Default::default(),
        traces: None,
        capacity: Capacity::default(),
        max_streams_per_transport: 0,
        transports: TransportCaps::default(),
        open_files: None,
        rates: Rates::default(),
        workers: 1,
        drain_timeout: Duration::ZERO,
        limits: Limits { signals_per_second: 0, ..Limits::default() },
    }
}

/// A server on a thread of its own, whose allocations are counted from the
/// first message to the second.
fn serve(begin: oneshot::Receiver<()>, end: oneshot::Receiver<()>) -> (SocketAddr, thread::JoinHandle<u64>) {
    let (tell, address) = mpsc::channel();
    let serving = thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let server = runtime.block_on(async { Server::bind(config()) }).expect("a port");
        tell.send(server.grpc_address().expect("an address")).expect("the test waits");
        runtime.spawn(server.run(std::future::pending()));
        runtime.block_on(begin).expect("the test begins");
        allocation_counter::measure(|| runtime.block_on(end).expect("the test ends")).count_total
    });
    (address.recv().expect("the server starts"), serving)
}

/// How many allocations [`COUNTED`] broadcasts of `data` to so many receivers
/// take.
fn allocations(receivers: u32, streams_per_connection: u32, data: &str) -> u64 {
    let ((begin, begins), (end, ends)) = (oneshot::channel(), oneshot::channel());
    let (address, serving) = serve(begins, ends);
    let mut peers: Vec<_> =
        (0..receivers / streams_per_connection).map(|_| Peer::join(address, streams_per_connection)).collect();
    let mut sender = Peer::join(address, 1);
    let mut send = |ids: std::ops::Range<u64>| {
        for id in ids {
            sender.send(id, data);
            sender.wait_for_own();
            peers.iter_mut().for_each(Peer::wait_for_signals);
        }
    };
    send(1..WARM_UP);
    begin.send(()).expect("the server waits");
    send(WARM_UP..WARM_UP + COUNTED);
    end.send(()).expect("the server waits");
    serving.join().expect("the server's thread")
}

#[test]
fn a_receiver_costs_a_broadcast_no_allocation() {
    for streams in [1, 10] {
        for bytes in [100, 6_000] {
            let data = "x".repeat(bytes);
            let (few, many) = (allocations(FEW, streams, &data), allocations(MANY, streams, &data));
            let more = many as f64 - few as f64;
            let each = more / COUNTED as f64 / f64::from(MANY - FEW);
            println!("{streams} streams a connection, {bytes} bytes: {few} and {many}, {each:.4} a receiver");
            assert!(
                each <= NOISE,
                "{COUNTED} signals of {bytes} bytes took {few} allocations with {FEW} receivers and {many} with \
                 {MANY}, {streams} on a connection: {each:.3} for each receiver"
            );
        }
    }
}
