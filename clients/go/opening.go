package signalbox

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/signalbox/signalbox/clients/go/signalboxv1"
)

// Getting in, and getting back in.

func (m *machine) open(now time.Duration) {
	m.openAt, m.renewAt = never, never
	m.streams++
	renew := m.renewToken
	m.renewToken = false
	m.opening = &openingStream{stream: m.streams, deadline: now + m.settings.connectTimeout, renewed: renew}
	join := proto.CloneOf(m.settings.join)
	if it := m.identity; it != nil {
		join.Resume = &pb.Resume{
			ConnectionId:     it.connection.ID,
			ResumeToken:      it.resumeToken,
			Epoch:            it.epoch,
			LastSequence:     it.lastSequence,
			LastResultSendId: it.lastResult,
		}
	}
	m.out(openOutput{m.streams, m.settings.endpoints[m.endpoint], join, renew})
}

func (m *machine) openingReceived(response *pb.JoinResponse, now time.Duration) {
	opening := m.opening
	switch e := response.GetEvent().(type) {
	case *pb.JoinResponse_Joined:
		if opening.joined != nil {
			return
		}
		if e.Joined.GetMoreConnections() {
			opening.joined = e.Joined
		} else {
			m.joined(e.Joined, now)
		}
	case *pb.JoinResponse_ConnectionsPage:
		if opening.joined == nil {
			return
		}
		opening.joined.Connections = append(opening.joined.Connections, e.ConnectionsPage.GetConnections()...)
		// A large snapshot may take its time as long as it comes.
		opening.deadline = now + m.settings.connectTimeout
		if !e.ConnectionsPage.GetMore() {
			m.joined(opening.joined, now)
		}
	case *pb.JoinResponse_Closing:
		opening.closing = e.Closing
	}
}

func (m *machine) joined(joined *pb.Joined, now time.Duration) {
	opening := m.opening
	m.opening = nil
	if m.live != nil {
		m.out(closeOutput{m.live.stream})
	}
	m.live = &liveStream{stream: opening.stream, since: now, heardAt: now, closing: opening.closing}
	limits := joined.GetLimits()
	m.maxRecipients = int(limits.GetMaxRecipients())
	m.heartbeatInterval = limits.GetHeartbeatInterval().AsDuration()
	m.maxUnresolved = int(limits.GetMaxUnresolvedSends())
	if m.maxUnresolved == 0 {
		m.maxUnresolved = unresolvedWithoutLimit
	}

	lost := m.lostAt != never
	m.lostAt = never
	there := There{connectionOf(joined.GetConnection()), connectionsOf(joined.GetConnections()), joined.GetEpoch(), joined.GetSequence()}
	// An outcome that this version doesn't know is judged by the id.
	var resumed bool
	switch joined.GetOutcome() {
	case pb.JoinOutcome_JOIN_OUTCOME_NEW:
	case pb.JoinOutcome_JOIN_OUTCOME_RESUMED, pb.JoinOutcome_JOIN_OUTCOME_RESUMED_WITH_GAP:
		resumed = true
	default:
		resumed = m.connectionID() == there.Connection.ID
	}
	if it := m.identity; it != nil && resumed {
		m.fail(m.sends.resumed(joined.GetLastSendId(), lost), ErrDisconnected)
		if joined.GetOutcome() != pb.JoinOutcome_JOIN_OUTCOME_RESUMED || there.Epoch != it.epoch {
			it.epoch, it.lastSequence = there.Epoch, there.Sequence
			m.tell(Reconnected{There: there, Gap: true})
		} else if lost {
			m.tell(Reconnected{There: There{it.connection, slices.Clone(m.roster.connections), it.epoch, it.lastSequence}})
		}
	} else {
		m.identity = &identity{
			connection:   there.Connection,
			resumeToken:  joined.GetResumeToken(),
			epoch:        there.Epoch,
			lastSequence: there.Sequence,
		}
		// A new connection has the server's whole burst; a resumed one goes on with what it had.
		m.pace = newPace(limits.GetSignalsPerSecond(), limits.GetSignalBurst())
		m.fail(m.sends.renewed(), ErrUnknown)
		if it == nil {
			m.tell(Joined{there})
		} else {
			m.tell(Reconnected{There: there, Gap: true})
		}
	}
	m.flush(now)
}

// failed: the stream that was being opened won't be.
func (m *machine) failed(how end, now time.Duration) {
	opening := m.opening
	m.opening = nil
	m.out(closeOutput{opening.stream})
	verdict := m.judge(opening.closing, how, opening.renewed)
	tried := m.endpoint
	m.nextEndpoint()
	// The token that was asked for may never have come.
	m.renewToken = m.renewToken || opening.renewed && (how.silent || how.err != nil)
	if m.identity == nil {
		m.firstFailed(verdict, how, tried, now)
		return
	}
	switch {
	case verdict.stop == nil:
		m.renewToken = m.renewToken || verdict.renewToken
		// It ended the stream that it was to take over, and failed.
		if m.live == nil && m.lostAt == never {
			m.reconnecting(opening.closing, how, now)
		}
		m.tryAgain(verdict.after, how, now)
	case m.live != nil:
		// The live stream stays as long as the server lets it.
		m.again(0, now)
	default:
		m.stop(verdict.stop)
	}
	m.flush(now)
}

func (m *machine) firstFailed(verdict verdict, how end, tried int, now time.Duration) {
	switch {
	case verdict.stop == nil && verdict.renewToken:
		m.renewToken, m.endpoint = true, tried
		m.open(now)
	case verdict.stop == nil && m.endpoint != 0:
		m.open(now)
	default:
		m.over = true
		err := how.err
		if err == nil {
			err = &ConnectError{Why: fmt.Sprintf("%s: %v", m.settings.endpoints[tried], how), Refusal: how.refusal}
		}
		m.out(failedOutput{err})
		m.out(overOutput{})
	}
}

func (m *machine) tryAgain(after time.Duration, how end, now time.Duration) {
	if m.lostAt == never {
		m.again(after, now)
		return
	}
	givesUpAt := m.lostAt + m.settings.giveUpAfter
	if givesUpAt <= now {
		m.end(fmt.Sprintf("gave up reconnecting: %v", how), pb.ClientAction_CLIENT_ACTION_REJOIN, nil)
		return
	}
	m.again(after, now)
	// The last attempt is made when the time is up, not after it.
	m.openAt = min(m.openAt, givesUpAt)
}
