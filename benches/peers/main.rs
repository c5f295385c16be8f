mod centrifugo;
mod floor;
#[path = "../floor/frames.rs"]
mod frames;
mod machine;
mod mosquitto;
mod nats;
mod probe;
mod redis;
mod rest;
mod servers;
mod socketio;
mod websocket;

use signalbox::bench::wire::Peer;
use std::path::Path;

fn main() {
    machine::raise_open_files().unwrap();
    let cores = machine::Cores::find().unwrap();
    println!("{}", machine::describe());
    for kind in servers::Kind::ALL {
        let p = match servers::Program::find(
            kind,
            Path::new("/nowhere"),
            Path::new(&std::env::var("FLOOR").unwrap()),
            Path::new(&std::env::var("TOOLS").unwrap()),
        ) {
            Ok(p) => p,
            Err(e) => {
                println!("{e}");
                continue;
            }
        };
        let server = match p.start(cores) {
            Ok(s) => s,
            Err(e) => {
                println!("{e}");
                continue;
            }
        };
        let address = server.address;
        let inboxes = true;
        let peer: Box<dyn Peer> = match kind {
            servers::Kind::Floor => Box::new(floor::Floor { address }),
            servers::Kind::Nats => Box::new(nats::Nats { address, inboxes }),
            servers::Kind::Redis => Box::new(redis::Redis { address, inboxes }),
            servers::Kind::Mosquitto => Box::new(mosquitto::Mosquitto { address, inboxes }),
            servers::Kind::SocketIo => Box::new(socketio::SocketIo { address }),
            servers::Kind::Centrifugo => Box::new(centrifugo::Centrifugo { address, inboxes }),
            servers::Kind::Signalbox => continue,
        };
        println!("{} {} {:?} {}", peer.name(), p.version, probe::probe(&*peer), server.pid());
    }
}
