package signalbox

import (
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	pb "github.com/signalbox/signalbox/clients/go/signalboxv1"
)

// Losing it.

func (m *machine) lose(how end, now time.Duration) {
	live := m.live
	m.live = nil
	m.out(closeOutput{live.stream})
	well := how.refusal == nil && how.err == nil && !how.silent
	if m.leaving == leavesNow || live.leaveSent && well {
		m.end("left", pb.ClientAction_CLIENT_ACTION_STOP, nil)
		return
	}
	// A stream opened after it took it over, and that it is in is still on its way.
	byOwn := reasonOf(live.closing, how) == "CONNECTION_TAKEN_OVER" && m.streams > live.stream
	if byOwn && m.opening != nil {
		return
	}
	verdict := m.judge(live.closing, how, false)
	if verdict.stop != nil && !byOwn {
		m.stop(verdict.stop)
		return
	}
	// A stream that breaks again and again is no success.
	if now-live.since >= m.settings.backOff[1] {
		m.attempt = 0
	}
	m.renewToken = m.renewToken || verdict.renewToken
	if live.closing.GetReason() == "GOING_AWAY" {
		m.nextEndpoint()
	}
	m.reconnecting(live.closing, how, now)
	// A stream that was about to take over is as good as any.
	if m.opening == nil {
		m.again(verdict.after, now)
	}
}

func (m *machine) reconnecting(closing *pb.Closing, how end, now time.Duration) {
	m.lostAt = now
	m.fail(m.sends.lost(), ErrDisconnected)
	why := how.String()
	if closing != nil {
		why = "the server closed it: " + closing.GetReason()
	}
	m.tell(Reconnecting{why})
}

func (m *machine) nextEndpoint() { m.endpoint = (m.endpoint + 1) % len(m.settings.endpoints) }

// again after a pause: doubled each time, and lengthened at random by up to as much again.
func (m *machine) again(after, now time.Duration) {
	pause := m.settings.backOff[1]
	if m.attempt < 32 {
		pause = min(m.settings.backOff[0]<<m.attempt, pause)
	}
	m.attempt++
	m.openAt = now + max(pause+rand.N(pause+1), after)
}

// verdict is what an end means for coming back.
type verdict struct {
	stop       *Refusal
	after      time.Duration
	renewToken bool
}

func (m *machine) judge(closing *pb.Closing, how end, renewed bool) verdict {
	reason := reasonOf(closing, how)
	stop := Refusal{Code: codes.Aborted, Message: "the server closed the stream and says not to come back"}
	if how.refusal != nil {
		stop = *how.refusal
	}
	stop.Reason = reason
	after := stop.RetryAfter
	if closing.GetRetryAfter() != nil {
		after = closing.GetRetryAfter().AsDuration()
	}
	if reason == "TOKEN_EXPIRED" {
		// Another token may help, once; one that is refused again doesn't.
		if m.settings.renewable && !renewed {
			return verdict{after: after, renewToken: true}
		}
		return verdict{stop: &stop}
	}
	// An action that this version doesn't know leaves it to the status.
	switch closing.GetAction() {
	case pb.ClientAction_CLIENT_ACTION_STOP:
		return verdict{stop: &stop}
	case pb.ClientAction_CLIENT_ACTION_RESUME, pb.ClientAction_CLIENT_ACTION_REJOIN:
		return verdict{after: after}
	}
	if how.refusal != nil {
		code := how.refusal.Code
		// Without a reason it is a proxy's, and passes.
		if code == codes.PermissionDenied || code == codes.Unauthenticated || reason != "" && slices.Contains(stopping, code) {
			return verdict{stop: &stop}
		}
	}
	return verdict{after: after}
}

func (m *machine) stop(refusal *Refusal) {
	m.end(refusal.String(), pb.ClientAction_CLIENT_ACTION_STOP, refusal)
}

// end: it is over, for good.
func (m *machine) end(why string, action pb.ClientAction, refusal *Refusal) {
	if m.over {
		return
	}
	m.over = true
	if m.live != nil {
		m.out(closeOutput{m.live.stream})
	}
	if m.opening != nil {
		m.out(closeOutput{m.opening.stream})
	}
	m.live, m.opening, m.openAt, m.renewAt = nil, nil, never, never
	m.fail(m.sends.discard(), ErrOver)
	m.fail(m.sends.renewed(), ErrUnknown)
	m.tell(Disconnected{why, action, refusal})
	m.out(overOutput{})
}

func reasonOf(closing *pb.Closing, how end) string {
	switch {
	case closing != nil:
		return closing.GetReason()
	case how.refusal != nil:
		return how.refusal.Reason
	}
	return ""
}
