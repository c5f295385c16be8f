//! The addresses that connections come from: one has some 28,000 ports, and a
//! load may have more connections.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

/// The ports that Linux gives out when nothing else is set.
const PORTS: (u16, u16) = (32_768, 60_999);
/// Of so many ports one is left for others.
const LEFT: usize = 8;

/// Where each connection comes from, by its number.
///
/// Over loopback IPv4 the first come from the address that the system chooses,
/// 127.0.0.1, the next as many from 127.0.0.2, and so on: all of 127.0.0.0/8 is
/// this machine's. To anywhere else all come from the one address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources {
    to: SocketAddr,
    /// How many connections come from one address.
    each: usize,
}

impl Sources {
    /// Those of connections to there, as many from each as there are ports, but
    /// for an eighth of them.
    pub(super) fn new(to: SocketAddr) -> Self {
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let (first, last) = range_of(&range).unwrap_or(PORTS);
        let ports = usize::from(last.saturating_sub(first)) + 1;
        Self::with(to, (ports - ports / LEFT).max(1))
    }

    /// The same with a number of connections from each.
    pub(super) fn with(to: SocketAddr, each: usize) -> Self {
        Self { to, each }
    }

    /// Checks that there are ports for so many connections at once.
    ///
    /// # Errors
    /// `InvalidInput`: there aren't; says how many there are and how to have more.
    pub(super) fn suffice(self, connections: usize) -> io::Result<()> {
        if connections <= self.each || self.several() {
            return Ok(());
        }
        let (to, each) = (self.to.ip(), self.each);
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{connections} connections need as many ports, and there are some {each} from one address to {to}: \
                 widen the range (sysctl net.ipv4.ip_local_port_range), or call a server at 127.0.0.1, to which a \
                 load comes from further addresses"
            ),
        ))
    }

    /// Whether there are more addresses than one.
    fn several(self) -> bool {
        matches!(self.to.ip(), IpAddr::V4(ip) if ip.is_loopback())
    }

    /// The address of a connection; none: what the system chooses.
    fn of(self, number: usize) -> Option<Ipv4Addr> {
        let place = u32::try_from(number / self.each).ok()?;
        (place > 0 && self.several()).then(|| Ipv4Addr::from(Ipv4Addr::LOCALHOST.to_bits() + place))
    }

    /// Begins the connection of that number.
    pub(super) fn connect(self, number: usize) -> io::Result<TcpStream> {
        match self.of(number) {
            None => TcpStream::connect(self.to),
            Some(from) => {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                socket.bind(&SocketAddr::from((from, 0)).into())?;
                begin(&socket, self.to)?;
                Ok(TcpStream::from_std(socket.into()))
            }
        }
    }
}

/// Begins to connect a socket.
pub(super) fn begin(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(()),
    }
}

/// The first and the last port of the kernel's range.
fn range_of(text: &str) -> Option<(u16, u16)> {
    let mut ports = text.split_ascii_whitespace().map(str::parse);
    Some((ports.next()?.ok()?, ports.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn further_connections_come_from_further_addresses() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let sources = Sources::with(listening.local_addr().unwrap(), 2);
        let mut from = Vec::new();
        for number in 0..5 {
            let _stream = sources.connect(number).unwrap();
            let (_, peer) = listening.accept().unwrap();
            from.push(peer.ip().to_string());
        }
        assert_eq!(from, ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2", "127.0.0.3"]);
        sources.suffice(1_000_000).unwrap();
    }

    #[test]
    fn elsewhere_there_is_one_address() {
        let sources = Sources::with("[::1]:1".parse().unwrap(), 2);
        assert_eq!(sources.of(5), None);
        sources.suffice(2).unwrap();
        let error = sources.suffice(3).unwrap_err().to_string();
        assert!(error.contains("3 connections") && error.contains("ip_local_port_range"), "{error}");
    }

    #[test]
    fn the_systems_range_is_read() {
        assert_eq!(range_of("32768\t60999\n"), Some(PORTS));
        assert_eq!(range_of("32768"), None);
        let sources = Sources::new("127.0.0.1:1".parse().unwrap());
        assert!(sources.each > 0 && sources.of(sources.each).is_some());
    }
}
