//! The load's connections, on one thread and one epoll.
//!
//! What a turn of the loop decides to send on a connection leaves in one write,
//! and what is read is handed on where it was read: the load must not cost more
//! than the server that it measures.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    mem,
    net::SocketAddr,
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, Waker, event::Event, net::TcpStream, unix::SourceFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use socket2::{Domain, SockRef, Socket, Type};

use super::{
    sources::{Sources, begin},
    wire::{Seen, Wire},
};

/// One read takes at most this much; all connections share the buffer.
const READ: usize = 256 * 1024;
/// A send buffer that has grown over this is given back when it is empty: ten
/// thousand of them would be much.
const KEPT: usize = 64 * 1024;
const TIMER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);
/// A turn that ends as soon as this, in nanoseconds, looks and doesn't wait: to
/// set a timer and be woken takes a virtual machine as long as some messages.
const SOON: u64 = 100_000;
/// What the socket of one that stalls holds of what it doesn't read: the system
/// makes it its least.
const STALLED_BUFFER: usize = 1_024;
/// The same when it reads again: what was left is to come at once.
const READING_BUFFER: usize = 1 << 20;

/// What a load sees, of all its connections; `at` is in nanoseconds of
/// [`Net::now`].
pub(super) trait Sight {
    /// A member is in.
    fn ready(&mut self, connection: usize, member: usize, address: &[u8], at: u64);
    /// A signal came.
    fn signal(&mut self, connection: usize, member: usize, payload: &[u8], at: u64);
    /// A send was taken, or a unary call answered.
    fn answered(&mut self, connection: usize, member: usize, at: u64);
    /// The peer refused or ended something. Given back, it ends the run.
    fn wrong(&mut self, connection: usize, what: Wrong) -> Option<Wrong> {
        let _ = connection;
        Some(what)
    }
    /// A bad client's connection is gone, and closed. The others' loss ends the
    /// run.
    fn lost(&mut self, connection: usize, at: u64) {
        let _ = (connection, at);
    }
}

/// What a peer did against a member.
#[derive(Clone, Debug)]
pub(super) enum Wrong {
    /// It refused a signal.
    Refused(String),
    /// It ended a member.
    Ended(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "the server refused a signal: {why}"),
            Self::Ended(why) => write!(f, "the server ended a member: {why}"),
        }
    }
}

/// The connections.
pub(super) struct Net {
    address: SocketAddr,
    sources: Sources,
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    timer_at: Option<u64>,
    /// How long it has looked and found nothing, in nanoseconds.
    looked: u64,
    start: Instant,
    buffer: Box<[u8]>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Those that have something to send since the last flush.
    dirty: Vec<usize>,
    connecting: usize,
}

struct Connection {
    stream: TcpStream,
    wire: Box<dyn Wire>,
    out: Vec<u8>,
    connected: bool,
    /// Whether the socket took all that it was given.
    writable: bool,
    dirty: bool,
    /// A bad client's, which the peer may close.
    bad: bool,
    /// Whether what comes is left in the socket.
    stalled: bool,
}

impl Net {
    /// Connections to there, none yet.
    pub(super) fn new(address: SocketAddr) -> io::Result<Self> {
        Self::from(address, Sources::new(address))
    }

    /// The same, from these addresses.
    pub(super) fn from(address: SocketAddr, sources: Sources) -> io::Result<Self> {
        let poll = Poll::new()?;
        // Poll's own time-out is in whole milliseconds, too coarse for pacing.
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self {
            address,
            sources,
            poll,
            events: Events::with_capacity(1_024),
            timer,
            timer_at: None,
            looked: 0,
            start: Instant::now(),
            buffer: vec![0; READ].into(),
            connections: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            connecting: 0,
        })
    }

    /// Nanoseconds since the connections' beginning.
    pub(super) fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    /// How long it has looked and found nothing, in nanoseconds: time in which it
    /// had nothing to do, but a processor.
    pub(super) fn looked(&self) -> u64 {
        self.looked
    }

    /// How many connections are not there yet.
    pub(super) fn connecting(&self) -> usize {
        self.connecting
    }

    /// What ends a turn from another thread.
    pub(super) fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), WAKER)
    }

    /// Begins a connection and its opening; its number.
    pub(super) fn connect(&mut self, wire: Box<dyn Wire>) -> io::Result<usize> {
        let number = self.place();
        match self.sources.connect(number) {
            Ok(stream) => self.begin(number, stream, wire, false),
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    /// The same for a bad client: that it is gone only is told. The socket of one
    /// that will stall holds little.
    pub(super) fn connect_bad(&mut self, wire: Box<dyn Wire>, stalls: bool) -> io::Result<usize> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        if stalls {
            // Before the connection is there: the window that is granted with it counts.
            socket.set_recv_buffer_size(STALLED_BUFFER)?;
        }
        begin(&socket, self.address).map_err(|error| self.unreachable(&error))?;
        let number = self.place();
        self.begin(number, TcpStream::from_std(socket.into()), wire, true)
    }

    /// A number that no connection has.
    fn place(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        })
    }

    fn begin(&mut self, number: usize, mut stream: TcpStream, mut wire: Box<dyn Wire>, bad: bool) -> io::Result<usize> {
        stream.set_nodelay(true)?;
        self.poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        let mut out = Vec::new();
        wire.open(&mut out);
        let connection =
            Connection { stream, wire, out, connected: false, writable: false, dirty: false, bad, stalled: false };
        self.connections[number] = Some(connection);
        self.connecting += 1;
        Ok(number)
    }

    /// Ends a connection by a reset, so that no port of ours waits for a minute.
    pub(super) fn close(&mut self, number: usize) {
        let Some(connection) = self.connections[number].take() else { return };
        if !connection.connected {
            self.connecting -= 1;
        }
        let _ = SockRef::from(&connection.stream).set_linger(Some(Duration::ZERO));
        self.free.push(number);
    }

    /// Leaves what comes in the socket, or reads it again.
    pub(super) fn stall(&mut self, number: usize, stalled: bool) -> io::Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        connection.stalled = stalled;
        let buffer = if stalled { STALLED_BUFFER } else { READING_BUFFER };
        SockRef::from(&connection.stream).set_recv_buffer_size(buffer)?;
        // What came meanwhile was told already; this has it told again.
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().reregister(&mut connection.stream, Token(number), interest)
    }

    /// How much the peer lets a connection send.
    pub(super) fn room(&self, number: usize) -> usize {
        self.connections[number].as_ref().map_or(0, |connection| connection.wire.room())
    }

    /// Sends on a connection, with the next [`Self::flush`].
    pub(super) fn send(&mut self, number: usize, what: impl FnOnce(&mut dyn Wire, &mut Vec<u8>)) {
        let Some(connection) = &mut self.connections[number] else { return };
        what(connection.wire.as_mut(), &mut connection.out);
        if !mem::replace(&mut connection.dirty, true) {
            self.dirty.push(number);
        }
    }

    /// Writes what was sent since the last time.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut dirty = mem::take(&mut self.dirty);
        for number in dirty.drain(..) {
            if let Some(connection) = &mut self.connections[number] {
                connection.dirty = false;
                connection.flush()?;
            }
        }
        self.dirty = dirty;
        Ok(())
    }

    /// Waits until something comes, or that time, and hands on all that came. It
    /// returns early when that time is near.
    pub(super) fn turn(&mut self, until: u64, sight: &mut impl Sight) -> io::Result<()> {
        let now = self.now();
        let soon = until.saturating_sub(now) < SOON;
        if !soon {
            self.alarm(until)?;
        }
        let mut events = mem::replace(&mut self.events, Events::with_capacity(0));
        let polled = match self.poll.poll(&mut events, soon.then_some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        };
        if soon && events.is_empty() {
            self.looked += self.now() - now;
        }
        let taken = polled.and_then(|()| events.iter().try_for_each(|event| self.event(event, sight)));
        self.events = events;
        taken
    }

    fn event(&mut self, event: &Event, sight: &mut impl Sight) -> io::Result<()> {
        let number = event.token().0;
        if event.token() == TIMER {
            // It is set anew for each turn; what it counted doesn't matter.
            let _ = rustix::io::read(&self.timer, &mut [0; 8]);
            self.timer_at = None;
            return Ok(());
        }
        if event.token() == WAKER {
            return Ok(());
        }
        let Some(connection) = self.connections.get_mut(number).and_then(Option::as_mut) else { return Ok(()) };
        if !connection.connected {
            if let Some(error) = connection.stream.take_error()? {
                return self.gone(number, self.unreachable(&error), sight);
            }
            if !event.is_writable() {
                return Ok(());
            }
            connection.connected = true;
            self.connecting -= 1;
        }
        if event.is_writable() {
            connection.writable = true;
            connection.flush()?;
        }
        let closed = event.is_read_closed() || event.is_error();
        if closed || event.is_readable() && !connection.stalled {
            self.read(number, closed, sight)?;
        }
        Ok(())
    }

    /// A connection is no more.
    fn gone(&mut self, number: usize, error: io::Error, sight: &mut impl Sight) -> io::Result<()> {
        if !self.connections[number].as_ref().is_some_and(|connection| connection.bad) {
            return Err(error);
        }
        self.close(number);
        sight.lost(number, self.now());
        Ok(())
    }

    fn read(&mut self, number: usize, closed: bool, sight: &mut impl Sight) -> io::Result<()> {
        loop {
            let Some(connection) = &mut self.connections[number] else { return Ok(()) };
            let length = match connection.stream.read(&mut self.buffer) {
                Ok(0) => {
                    let closed = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed a connection");
                    return self.gone(number, closed, sight);
                }
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.gone(number, lost(&error), sight),
            };
            let at = nanos(self.start.elapsed());
            let mut tap = Tap { connection: number, at, sight, wrong: None };
            let waiting = connection.out.len();
            let taken = connection.wire.receive(&self.buffer[..length], &mut connection.out, &mut tap);
            // What the peer said of itself tells more than what came after it.
            if let Some(wrong) = tap.wrong {
                return Err(io::Error::other(wrong.to_string()));
            }
            if let Err(error) = taken {
                return self.gone(number, error, sight);
            }
            if connection.out.len() > waiting && !mem::replace(&mut connection.dirty, true) {
                self.dirty.push(number);
            }
            // A short read has emptied the socket; only its end can be behind it.
            if length < READ && !closed {
                return Ok(());
            }
        }
    }

    /// Sets the timer, so that a turn ends at that time.
    fn alarm(&mut self, at: u64) -> io::Result<()> {
        if self.timer_at == Some(at) {
            return Ok(());
        }
        // Nothing at all would turn it off.
        let left = Duration::from_nanos(at.saturating_sub(self.now()).max(1));
        let it_value = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.timer_at = Some(at);
        Ok(())
    }

    fn unreachable(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("can't connect to {}: {error}", self.address))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for number in 0..self.connections.len() {
            self.close(number);
        }
    }
}

impl Connection {
    fn flush(&mut self) -> io::Result<()> {
        if !self.writable || self.out.is_empty() {
            return Ok(());
        }
        let mut written = 0;
        while written < self.out.len() {
            match self.stream.write(&self.out[written..]) {
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    break;
                }
                // Reading tells it too, and there it is handled.
                Err(_) if self.bad => {
                    self.writable = false;
                    break;
                }
                Err(error) => return Err(lost(&error)),
            }
        }
        if written == self.out.len() && self.out.capacity() > KEPT {
            self.out = Vec::new();
        } else {
            self.out.drain(..written);
        }
        Ok(())
    }
}

fn lost(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("lost a connection: {error}"))
}

/// A duration in nanoseconds.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One connection's part in the load's sight.
struct Tap<'a, S> {
    connection: usize,
    at: u64,
    sight: &'a mut S,
    wrong: Option<Wrong>,
}

impl<S: Sight> Seen for Tap<'_, S> {
    fn ready(&mut self, member: usize, address: &[u8]) {
        self.sight.ready(self.connection, member, address, self.at);
    }

    fn signal(&mut self, member: usize, payload: &[u8]) {
        self.sight.signal(self.connection, member, payload, self.at);
    }

    fn answered(&mut self, member: usize, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.sight.answered(self.connection, member, self.at),
            Err(why) => self.wrong(Wrong::Refused(why)),
        }
    }

    fn ended(&mut self, _: usize, reason: String) {
        self.wrong(Wrong::Ended(reason));
    }
}

impl<S: Sight> Tap<'_, S> {
    /// The first that went wrong tells most.
    fn wrong(&mut self, what: Wrong) {
        if let Some(what) = self.sight.wrong(self.connection, what) {
            self.wrong.get_or_insert(what);
        }
    }
}
