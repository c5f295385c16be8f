package signalbox

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "github.com/signalbox/signalbox/clients/go/signalboxv1"
)

const (
	unresolvedWithoutLimit = 1_024
	// A token is renewed this long before it expires, or when a tenth of its time is left.
	renewBefore  = time.Minute
	maxDataBytes = 8_192
	maxTypeBytes = 128
	never        = time.Duration(-1)
)

var (
	typePattern = regexp.MustCompile(`^[A-Za-z0-9\-_~]*$`)
	stopping    = []codes.Code{codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.Aborted}
)

type settings struct {
	join               *pb.Join
	endpoints          []string
	connectTimeout     time.Duration
	backOff            [2]time.Duration
	giveUpAfter        time.Duration
	renewable          bool
	maxSends, maxBytes int
}

// end is how a stream ended: with a status, silent, before it began (err), or, with none, well.
type end struct {
	refusal *Refusal
	silent  bool
	err     error
}

func (e end) String() string {
	switch {
	case e.silent:
		return "nothing came for longer than heartbeats allow"
	case e.err != nil:
		return e.err.Error()
	case e.refusal != nil:
		return e.refusal.String()
	}
	return "the stream ended"
}

// outputs are what is to be done.
type (
	openOutput struct {
		stream     int
		endpoint   string
		join       *pb.Join
		renewToken bool
	}
	frameOutput struct {
		stream int
		frame  *pb.JoinRequest
	}
	closeOutput   struct{ stream int }
	eventOutput   struct{ event Event }
	outcomeOutput struct {
		outcome  *Outcome
		accepted Accepted
		err      error
	}
	failedOutput struct{ err error }
	overOutput   struct{}
)

type leaving int

const (
	stays leaving = iota
	leavesWhenSettled
	leavesNow
)

type identity struct {
	connection   Connection
	resumeToken  string
	epoch        uint64
	lastSequence uint64
	lastResult   uint64
}

type liveStream struct {
	stream    int
	since     time.Duration
	heardAt   time.Duration
	closing   *pb.Closing
	leaveSent bool
}

type openingStream struct {
	stream   int
	deadline time.Duration
	renewed  bool
	joined   *pb.Joined
	closing  *pb.Closing
}

// machine is the protocol of a member, pure: what happened and the time go in, what to do
// comes out. No I/O, no clock; times count from its beginning.
//
// One connection outlives its streams. At most two exist at a time: the live one, and one
// being opened, to come back or, with a fresh token, to take the live one over.
type machine struct {
	settings          settings
	outputs           []any
	identity          *identity
	live              *liveStream
	opening           *openingStream
	openAt            time.Duration
	lostAt            time.Duration
	renewAt           time.Duration
	attempt           int
	endpoint          int
	streams           int
	renewToken        bool
	sends             sends
	pace              pace
	maxRecipients     int
	heartbeatInterval time.Duration
	maxUnresolved     int
	roster            roster
	leaving           leaving
	over              bool
	reading           bool
}

func newMachine(settings settings) *machine {
	return &machine{
		settings:      settings,
		openAt:        never,
		lostAt:        never,
		renewAt:       never,
		sends:         sends{maxSends: settings.maxSends, maxBytes: settings.maxBytes},
		maxUnresolved: unresolvedWithoutLimit,
		reading:       true,
	}
}

func (m *machine) out(output any) { m.outputs = append(m.outputs, output) }

func (m *machine) connectionID() string {
	if m.identity == nil {
		return ""
	}
	return m.identity.connection.ID
}

// What the application wants.

// signal sends, now or as soon as it may; what can't even be queued is refused.
func (m *machine) signal(wanted Signal, outcome *Outcome, now time.Duration) error {
	if m.over || m.leaving != stays {
		return ErrOver
	}
	if refusal := m.check(wanted); refusal != nil {
		return &RefusedError{*refusal}
	}
	if wanted.NoRetry && m.lostAt != never {
		return ErrDisconnected
	}
	wire := &pb.Signal{Type: wanted.Type, Data: wanted.Data}
	var to *pb.Recipients
	if wanted.To != nil {
		to = &pb.Recipients{ConnectionIds: slices.Clone(wanted.To)}
	}
	frame := func(id uint64) *pb.JoinRequest {
		return &pb.JoinRequest{Frame: &pb.JoinRequest_Send{Send: &pb.SendSignal{SendId: id, Signal: wire, To: to}}}
	}
	return m.push(&send{frame: frame, bytes: proto.Size(wire) + proto.Size(to), retry: !wanted.NoRetry, outcome: outcome}, now)
}

func (m *machine) disconnect(connectionID string, outcome *Outcome, now time.Duration) error {
	if m.over || m.leaving != stays {
		return ErrOver
	}
	frame := func(id uint64) *pb.JoinRequest {
		disconnect := &pb.DisconnectConnection{SendId: id, ConnectionId: connectionID}
		return &pb.JoinRequest{Frame: &pb.JoinRequest_Disconnect{Disconnect: disconnect}}
	}
	return m.push(&send{frame: frame, bytes: len(connectionID), retry: true, outcome: outcome}, now)
}

func (m *machine) push(one *send, now time.Duration) error {
	at, ready := m.readyAt()
	atOnce := m.canSend() && len(m.sends.waiting) == 0 && ready && at <= now
	if err := m.sends.push(one, atOnce); err != nil {
		return err
	}
	m.flush(now)
	return nil
}

func (m *machine) check(wanted Signal) *Refusal {
	bad := func(reason, field, format string, given ...any) *Refusal {
		return &Refusal{Code: codes.InvalidArgument, Reason: reason, Message: fmt.Sprintf(format, given...), Field: field}
	}
	if size := len(wanted.Data); size > maxDataBytes {
		return bad("SIGNAL_DATA_TOO_LARGE", "signal.data", "the data is %d bytes; at most %d are allowed", size, maxDataBytes)
	}
	if size := len(wanted.Type); size > maxTypeBytes {
		return bad("SIGNAL_TYPE_TOO_LARGE", "signal.type", "the type is %d bytes; at most %d are allowed", size, maxTypeBytes)
	}
	if !typePattern.MatchString(wanted.Type) {
		return bad("SIGNAL_TYPE_INVALID", "signal.type", "the type %q has a character other than A-Z a-z 0-9 - _ ~", wanted.Type)
	}
	if wanted.To != nil && len(wanted.To) == 0 {
		return bad("RECIPIENTS_INVALID", "to.connection_ids", "the list of recipients is empty; leave it out to send to everyone")
	}
	if m.maxRecipients > 0 && len(wanted.To) > m.maxRecipients {
		return bad("RECIPIENTS_INVALID", "to.connection_ids", "%d recipients; at most %d are allowed", len(wanted.To), m.maxRecipients)
	}
	return nil
}

// leave once every send has its outcome; atOnce without what was not sent yet.
func (m *machine) leave(now time.Duration, atOnce bool) {
	if m.over {
		return
	}
	if atOnce || m.identity == nil {
		m.leaving = leavesNow
		m.fail(m.sends.discard(), ErrOver)
		if m.live == nil {
			m.end("left", pb.ClientAction_CLIENT_ACTION_STOP, nil)
		}
	} else if m.leaving == stays {
		m.leaving = leavesWhenSettled
	}
	m.flush(now)
}

// What happens.

// read says whether what arrives is read: a reader that pauses can't tell silence from its
// own pause.
func (m *machine) read(reading bool, now time.Duration) {
	if reading && !m.reading && m.live != nil {
		m.live.heardAt = now
	}
	m.reading = reading
}

// tokenExpires: that of the stream that was opened last does, after left.
func (m *machine) tokenExpires(left, now time.Duration) {
	if m.settings.renewable {
		m.renewAt = now + left - min(renewBefore, left/10)
	}
}

// wakeAt is when to wake it at the latest; never, if it needn't be.
func (m *machine) wakeAt() time.Duration {
	first := never
	consider := func(at time.Duration) {
		if at != never && (first == never || at < first) {
			first = at
		}
	}
	consider(m.openAt)
	consider(m.silentAt())
	if m.opening != nil {
		consider(m.opening.deadline)
	}
	if m.canSend() && len(m.sends.waiting) > 0 {
		if at, ready := m.readyAt(); ready {
			consider(max(at, 0))
		}
	}
	if m.live != nil && m.opening == nil && m.openAt == never {
		consider(m.renewAt)
	}
	return first
}

// wake: time has passed.
func (m *machine) wake(now time.Duration) {
	if m.over {
		return
	}
	is := func(at time.Duration) bool { return at != never && at <= now }
	if is(m.silentAt()) {
		m.lose(end{silent: true}, now)
	}
	if m.opening != nil && is(m.opening.deadline) {
		m.failed(end{silent: true}, now)
	}
	if is(m.openAt) {
		m.open(now)
	} else if m.live != nil && m.opening == nil && is(m.renewAt) {
		m.renewToken = true
		m.open(now)
	}
	m.flush(now)
}

// received: a response came on a stream.
func (m *machine) received(stream int, response *pb.JoinResponse, now time.Duration) {
	if m.opening != nil && m.opening.stream == stream {
		m.openingReceived(response, now)
		return
	}
	if m.live == nil || m.live.stream != stream || m.identity == nil {
		return
	}
	m.live.heardAt = now
	switch e := response.GetEvent().(type) {
	case *pb.JoinResponse_Closing:
		m.live.closing = e.Closing
	case *pb.JoinResponse_SendResult:
		m.decided(e.SendResult, now)
		m.flush(now)
	case *pb.JoinResponse_Heartbeat:
		m.identity.lastSequence = max(m.identity.lastSequence, e.Heartbeat.GetSequence())
	case *pb.JoinResponse_Signal:
		it := e.Signal
		m.happened(it.GetSequence(), SignalReceived{
			Sequence: it.GetSequence(),
			From:     it.GetFromConnectionId(),
			Type:     it.GetSignal().GetType(),
			Data:     it.GetSignal().GetData(),
			SentAt:   it.GetSentAt().AsTime(),
		})
	case *pb.JoinResponse_ConnectionCreated:
		it := e.ConnectionCreated
		m.happened(it.GetSequence(), ConnectionCreated{it.GetSequence(), connectionOf(it.GetConnection())})
	case *pb.JoinResponse_ConnectionDestroyed:
		it := e.ConnectionDestroyed
		m.happened(it.GetSequence(), ConnectionDestroyed{it.GetSequence(), it.GetConnectionId(), it.GetReason()})
	case *pb.JoinResponse_ConnectionInterrupted:
		it := e.ConnectionInterrupted
		m.happened(it.GetSequence(), ConnectionInterrupted{it.GetSequence(), it.GetConnectionId()})
	case *pb.JoinResponse_ConnectionRestored:
		it := e.ConnectionRestored
		m.happened(it.GetSequence(), ConnectionRestored{it.GetSequence(), it.GetConnectionId()})
	}
}

// ended: a stream did.
func (m *machine) ended(stream int, how end, now time.Duration) {
	if m.opening != nil && m.opening.stream == stream {
		m.failed(how, now)
	} else if m.live != nil && m.live.stream == stream {
		m.lose(how, now)
	}
}

// Sending.

// silentAt: the server says something every heartbeat interval; half-open is found within two.
func (m *machine) silentAt() time.Duration {
	if m.live == nil || !m.reading || m.heartbeatInterval == 0 {
		return never
	}
	return m.live.heardAt + m.heartbeatInterval*7/4
}

func (m *machine) readyAt() (time.Duration, bool) {
	unresolved := len(m.sends.unresolved)
	if unresolved >= m.maxUnresolved {
		return 0, false
	}
	return m.pace.readyAt(unresolved)
}

// canSend: there is a stream that takes frames. One that is being closed takes nothing.
func (m *machine) canSend() bool { return m.live != nil && m.live.closing == nil && !m.live.leaveSent }

func (m *machine) flush(now time.Duration) {
	if !m.canSend() {
		return
	}
	for _, frame := range m.sends.again() {
		m.out(frameOutput{m.live.stream, frame})
	}
	for len(m.sends.waiting) > 0 {
		if at, ready := m.readyAt(); !ready || at > now {
			break
		}
		m.out(frameOutput{m.live.stream, m.sends.next()})
	}
	if m.leaving == leavesNow || m.leaving == leavesWhenSettled && m.sends.isSettled() {
		m.live.leaveSent = true
		m.out(frameOutput{m.live.stream, &pb.JoinRequest{Frame: &pb.JoinRequest_Leave{Leave: &pb.Leave{}}}})
	}
}

func (m *machine) decided(result *pb.SendResult, now time.Duration) {
	m.identity.lastResult = max(m.identity.lastResult, result.GetSendId())
	outcome := m.sends.resolve(result.GetSendId())
	if outcome == nil {
		return
	}
	m.pace.decided(now)
	told := outcomeOutput{outcome: outcome, err: ErrUnknown}
	switch it := result.GetOutcome().(type) {
	case *pb.SendResult_Accepted:
		told.err = nil
		told.accepted = Accepted{it.Accepted.GetSequence(), m.identity.epoch, it.Accepted.GetNotConnectedIds()}
	case *pb.SendResult_Error:
		told.err = &RefusedError{Refusal{
			Code:       codes.Code(it.Error.GetCode()),
			Reason:     it.Error.GetReason(),
			Message:    it.Error.GetMessage(),
			Field:      it.Error.GetField(),
			RetryAfter: it.Error.GetRetryAfter().AsDuration(),
		}}
	}
	m.out(told)
}

func (m *machine) fail(outcomes []*Outcome, err error) {
	for _, outcome := range outcomes {
		m.out(outcomeOutput{outcome: outcome, err: err})
	}
}

// happened: something of the session's order, told once: two streams overlap in a take-over.
func (m *machine) happened(sequence uint64, event Event) {
	if sequence > m.identity.lastSequence {
		m.identity.lastSequence = sequence
		m.tell(event)
	}
}

func (m *machine) tell(event Event) {
	m.roster.apply(event)
	m.out(eventOutput{event})
}
