// Package signalbox is a member of a session that comes back by itself, and a backend's
// signals, over gRPC.
//
//	client, err := signalbox.NewClient("http://127.0.0.1:50051")
//	session, err := client.Join(ctx, "demo", signalbox.JoinOptions{ConnectionData: "Ada"})
//	accepted, err := session.Signal(signalbox.Signal{Type: "chat", Data: "hello"}).Wait(ctx)
//	for event := range session.Events(ctx) {
//		fmt.Println(event)
//	}
package signalbox

import (
	"context"
	"crypto/tls"
	"iter"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/signalbox/signalbox/clients/go/signalboxv1"
)

// mostEvents is how many wait for the application before no more are read.
const mostEvents = 1_024

// A Token is one, and when it expires where that is known: the client asks for another before.
type Token struct {
	Bearer    string
	ExpiresAt time.Time
}

// An Option is one of NewClient's.
type Option func(*Client)

// WithToken shows a token.
func WithToken(bearer string) Option {
	return func(c *Client) { c.token = &Token{Bearer: bearer} }
}

// WithTokenSource asks for a token, for a session's id: before the first connection, before
// one expires, and after one has.
func WithTokenSource(source func(ctx context.Context, sessionID string) (Token, error)) Option {
	return func(c *Client) { c.tokens = source }
}

// WithTLS is with what https endpoints are reached, if not the system's own certificates.
func WithTLS(config *tls.Config) Option { return func(c *Client) { c.tls = config } }

// WithConnectTimeout is how long an attempt may take; 10 s unless set.
func WithConnectTimeout(timeout time.Duration) Option {
	return func(c *Client) { c.connectTimeout = timeout }
}

// WithBackOff is the shortest and the longest pause between attempts, each lengthened at random
// by up to as much again; 250 ms and 10 s unless set.
func WithBackOff(shortest, longest time.Duration) Option {
	return func(c *Client) { c.backOff = [2]time.Duration{shortest, longest} }
}

// WithGiveUpAfter is how long to try to get back in; 5 minutes unless set.
func WithGiveUpAfter(after time.Duration) Option { return func(c *Client) { c.giveUpAfter = after } }

// WithEndpoints adds servers: they take turns.
func WithEndpoints(endpoints ...string) Option {
	return func(c *Client) { c.endpoints = append(c.endpoints, endpoints...) }
}

// A Client is where the servers are, and how to get in.
type Client struct {
	endpoints      []string
	token          *Token
	tokens         func(context.Context, string) (Token, error)
	tls            *tls.Config
	connectTimeout time.Duration
	backOff        [2]time.Duration
	giveUpAfter    time.Duration
}

// NewClient is one of an endpoint, as http://host:port or https://host:port.
func NewClient(endpoint string, options ...Option) (*Client, error) {
	client := &Client{
		endpoints:      []string{endpoint},
		connectTimeout: 10 * time.Second,
		backOff:        [2]time.Duration{250 * time.Millisecond, 10 * time.Second},
		giveUpAfter:    5 * time.Minute,
	}
	for _, option := range options {
		option(client)
	}
	for _, endpoint := range client.endpoints {
		if _, _, err := target(endpoint, client.tls); err != nil {
			return nil, err
		}
	}
	return client, nil
}

// JoinOptions are how to be in a session.
type JoinOptions struct {
	// ConnectionData is what everybody sees of it, at most 1,000 bytes.
	ConnectionData string
	// ResumeWindow is for how long the server waits for it after a loss: a minute unless set,
	// 2 minutes at most; below 0: not at all, so that a loss is a gap.
	ResumeWindow time.Duration
	// SignalTypes are those that are wanted; none: all.
	SignalTypes []string
	// SuppressConnectionEvents spares it who comes and goes, SuppressOwnSignals its own signals.
	SuppressConnectionEvents, SuppressOwnSignals bool
	// MaxQueuedSends and MaxQueuedBytes may wait while disconnected; 1,024 and 1 MiB unless set.
	MaxQueuedSends, MaxQueuedBytes int
}

// A Signal is one to send: to everyone, unless To names some.
type Signal struct {
	// Type is at most 128 of A-Z a-z 0-9 - _ ~, Data at most 8,192 bytes of UTF-8.
	Type, Data string
	// To are the only connections that get it, at most 100, if it isn't nil. An empty one is
	// refused, so that a filter that found nobody never turns into a broadcast.
	To []string
	// NoRetry has it fail with ErrDisconnected at once, instead of waiting for a reconnect.
	NoRetry bool
}

// An Outcome is one that is known once the server has said it. Nobody need wait for it.
type Outcome struct {
	done     chan struct{}
	accepted Accepted
	err      error
}

// Wait for it. The errors are RefusedError, QueueFullError, ErrDisconnected, ErrUnknown,
// ErrOver, or the context's.
func (o *Outcome) Wait(ctx context.Context) (Accepted, error) {
	select {
	case <-o.done:
		return o.accepted, o.err
	case <-ctx.Done():
		return Accepted{}, ctx.Err()
	}
}

func (o *Outcome) set(accepted Accepted, err error) {
	o.accepted, o.err = accepted, err
	close(o.done)
}

// A Session is a member of one; Client.Join gives it.
type Session struct {
	client    *Client
	sessionID string
	began     time.Time

	mu      sync.Mutex
	machine *machine
	roster  roster
	events  []Event
	ignores bool
	streams map[int]*stream
	latest  *Token
	timer   *time.Timer
	joinErr error
	isOver  bool
	// changed is closed, and made anew, when there is something to take; room when there is
	// room for more.
	changed, room chan struct{}
	in, over      chan struct{}
}

// Join a session, and come back when in. The error is a ConnectError, each endpoint having been
// tried once, or the context's.
func (c *Client) Join(ctx context.Context, sessionID string, options JoinOptions) (*Session, error) {
	join := &pb.Join{
		SessionId:                sessionID,
		ConnectionData:           options.ConnectionData,
		SignalTypes:              options.SignalTypes,
		SuppressConnectionEvents: options.SuppressConnectionEvents,
		SuppressOwnSignals:       options.SuppressOwnSignals,
	}
	orElse := func(value, unless int) int {
		if value == 0 {
			return unless
		}
		return value
	}
	if window := time.Duration(orElse(int(options.ResumeWindow), int(time.Minute))); window > 0 {
		join.ResumeWindow = durationpb.New(window)
	}
	session := &Session{
		client:    c,
		sessionID: sessionID,
		began:     time.Now(),
		streams:   map[int]*stream{},
		changed:   make(chan struct{}),
		room:      make(chan struct{}),
		in:        make(chan struct{}),
		over:      make(chan struct{}),
	}
	session.machine = newMachine(settings{
		join:           join,
		endpoints:      c.endpoints,
		connectTimeout: c.connectTimeout,
		backOff:        c.backOff,
		giveUpAfter:    c.giveUpAfter,
		renewable:      c.tokens != nil,
		maxSends:       orElse(options.MaxQueuedSends, 1_024),
		maxBytes:       orElse(options.MaxQueuedBytes, 1<<20),
	})
	session.drive(func(m *machine, now time.Duration) { m.open(now) })
	select {
	case <-session.in:
		return session, session.joinErr
	case <-ctx.Done():
		session.drive(func(m *machine, now time.Duration) { m.leave(now, true) })
		return nil, ctx.Err()
	}
}

// ConnectionID is this client's own. After a reconnect that could not resume it is another.
func (s *Session) ConnectionID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.connectionID()
}

// Connections are who is in the session, this client too, in the order of joining: always what
// the events that were taken say.
func (s *Session) Connections() []Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.roster.connections)
}

// Signal sends one: the call puts it in order after all sends before it.
func (s *Session) Signal(signal Signal) *Outcome {
	return s.ask(func(m *machine, outcome *Outcome, now time.Duration) error { return m.signal(signal, outcome, now) })
}

// ForceDisconnect disconnects another connection, for good; for moderators. As Signal.
func (s *Session) ForceDisconnect(connectionID string) *Outcome {
	return s.ask(func(m *machine, outcome *Outcome, now time.Duration) error {
		return m.disconnect(connectionID, outcome, now)
	})
}

func (s *Session) ask(what func(*machine, *Outcome, time.Duration) error) *Outcome {
	outcome := &Outcome{done: make(chan struct{})}
	s.drive(func(m *machine, now time.Duration) {
		if err := what(m, outcome, now); err != nil {
			outcome.set(Accepted{}, err)
		}
	})
	return outcome
}

// Events are what happens, in order, until Disconnected, which is the last, or until the
// context is over. Take them: once 1,024 wait, nothing more is read, and the server may close
// the stream as a slow reader's, which is resumed as soon as they are taken. Who wants none
// calls IgnoreEvents.
func (s *Session) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for {
			event, changed := s.take()
			switch {
			case event != nil:
				if !yield(event) {
					return
				}
			case changed == nil:
				return
			default:
				select {
				case <-changed:
				case <-ctx.Done():
					return
				}
			}
		}
	}
}

// take the next event, or what tells that there may be one; neither when it is over.
func (s *Session) take() (Event, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) == 0 {
		if s.isOver {
			return nil, nil
		}
		return nil, s.changed
	}
	event := s.events[0]
	s.events = s.events[1:]
	s.roster.apply(event)
	if len(s.events) == 0 {
		renew(&s.room)
	}
	return event, nil
}

// IgnoreEvents says that nobody takes them: Connections follows by itself.
func (s *Session) IgnoreEvents() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ignores = true
	for _, event := range s.events {
		s.roster.apply(event)
	}
	s.events = nil
	renew(&s.room)
}

// Leave once every send has its outcome, and come back when out.
func (s *Session) Leave(ctx context.Context) error { return s.leave(ctx, false) }

// LeaveNow is Leave without what was not sent yet.
func (s *Session) LeaveNow(ctx context.Context) error { return s.leave(ctx, true) }

func (s *Session) leave(ctx context.Context, atOnce bool) error {
	s.drive(func(m *machine, now time.Duration) { m.leave(now, atOnce) })
	s.mu.Lock()
	// Who leaves is waited for, whether or not events are taken.
	renew(&s.room)
	s.mu.Unlock()
	select {
	case <-s.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// renew tells those that wait for it.
func renew(it *chan struct{}) {
	close(*it)
	*it = make(chan struct{})
}

// drive asks something of the machine, and does what it wants done.
func (s *Session) drive(what func(*machine, time.Duration)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what(s.machine, time.Since(s.began))
	for len(s.machine.outputs) > 0 {
		output := s.machine.outputs[0]
		s.machine.outputs = s.machine.outputs[1:]
		s.do(output)
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	if at := s.machine.wakeAt(); at != never && !s.isOver {
		s.timer = time.AfterFunc(max(at-time.Since(s.began), 0), func() {
			s.drive(func(m *machine, now time.Duration) { m.wake(now) })
		})
	}
}

func (s *Session) do(output any) {
	switch it := output.(type) {
	case openOutput:
		stream, ctx := newStream()
		s.streams[it.stream] = stream
		stream.send(&pb.JoinRequest{Frame: &pb.JoinRequest_Join{Join: it.join}})
		go s.run(ctx, stream, it)
	case frameOutput:
		// A stream that is gone says so by its end.
		if stream := s.streams[it.stream]; stream != nil {
			stream.send(it.frame)
		}
	case closeOutput:
		if stream := s.streams[it.stream]; stream != nil {
			stream.cancel()
			delete(s.streams, it.stream)
		}
	case eventOutput:
		if _, first := it.event.(Joined); first || s.ignores {
			s.roster.apply(it.event)
		}
		if !s.ignores {
			s.events = append(s.events, it.event)
		}
		if s.in != nil && !isClosed(s.in) {
			close(s.in)
		}
		renew(&s.changed)
	case outcomeOutput:
		it.outcome.set(it.accepted, it.err)
	case failedOutput:
		s.joinErr = it.err
		close(s.in)
	case overOutput:
		s.isOver = true
		close(s.over)
		renew(&s.changed)
		renew(&s.room)
	}
}

func isClosed(it <-chan struct{}) bool {
	select {
	case <-it:
		return true
	default:
		return false
	}
}

// run is one stream's life.
func (s *Session) run(ctx context.Context, stream *stream, it openOutput) {
	token, err := s.token(ctx, it.renewToken)
	how := end{err: err}
	if err == nil {
		if left := time.Until(token.ExpiresAt); left > 0 {
			s.drive(func(m *machine, now time.Duration) { m.tokenExpires(left, now) })
		}
		how = stream.run(ctx, it.endpoint, s.client.tls, token.Bearer, func(response *pb.JoinResponse) {
			s.drive(func(m *machine, now time.Duration) { m.received(it.stream, response, now) })
			s.waitForRoom(ctx, it.stream)
		})
	}
	s.drive(func(m *machine, now time.Duration) { m.ended(it.stream, how, now) })
}

// waitForRoom: a stream that is being opened tells no events, and would run out of its time.
func (s *Session) waitForRoom(ctx context.Context, number int) {
	s.mu.Lock()
	isFull := len(s.events) >= mostEvents && s.machine.leaving == stays
	isLive := s.machine.live != nil && s.machine.live.stream == number
	room := s.room
	s.mu.Unlock()
	if !isFull || !isLive {
		return
	}
	s.drive(func(m *machine, now time.Duration) { m.read(false, now) })
	select {
	case <-room:
	case <-ctx.Done():
	}
	s.drive(func(m *machine, now time.Duration) { m.read(true, now) })
}

func (s *Session) token(ctx context.Context, renew bool) (Token, error) {
	if s.client.tokens == nil {
		if s.client.token == nil {
			return Token{}, nil
		}
		return *s.client.token, nil
	}
	s.mu.Lock()
	latest := s.latest
	s.mu.Unlock()
	if latest != nil && !renew && (latest.ExpiresAt.IsZero() || time.Now().Before(latest.ExpiresAt)) {
		return *latest, nil
	}
	token, err := s.client.tokens(ctx, s.sessionID)
	if err != nil {
		return Token{}, &ConnectError{Why: "no token: " + err.Error()}
	}
	s.mu.Lock()
	s.latest = &token
	s.mu.Unlock()
	return token, nil
}
