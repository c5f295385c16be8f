package signalbox

import (
	"slices"
	"time"

	pb "github.com/signalbox/signalbox/clients/go/signalboxv1"
)

// A Connection is one client in a session.
type Connection struct {
	// ID is made by the server, and never reused.
	ID string
	// CreatedAt is when it joined, by the server's clock.
	CreatedAt time.Time
	// Data is what it says about itself.
	Data string
	// Role is what it may do.
	Role pb.Role
	// Interrupted says whether it has lost its stream and may come back.
	Interrupted bool
}

func connectionOf(wire *pb.Connection) Connection {
	return Connection{
		ID:          wire.GetConnectionId(),
		CreatedAt:   wire.GetCreatedAt().AsTime(),
		Data:        wire.GetData(),
		Role:        wire.GetRole(),
		Interrupted: wire.GetState() == pb.ConnectionState_CONNECTION_STATE_INTERRUPTED,
	}
}

func connectionsOf(wire []*pb.Connection) []Connection {
	all := make([]Connection, 0, len(wire))
	for _, one := range wire {
		all = append(all, connectionOf(one))
	}
	return all
}

// An Event is what happened in the session, or to the connection to it. Events come in the
// session's order; unless a Reconnected reports a gap none is missing and none comes twice.
type Event interface{ event() }

// There is where a client is: Connections is everyone as of Sequence, this client too.
type There struct {
	Connection  Connection
	Connections []Connection
	// Epoch is which life of the session this is: another epoch is another order.
	Epoch    uint64
	Sequence uint64
}

// Joined is the first event.
type Joined struct{ There }

// ConnectionCreated says that somebody joined.
type ConnectionCreated struct {
	Sequence   uint64
	Connection Connection
}

// ConnectionDestroyed says that somebody is gone.
type ConnectionDestroyed struct {
	Sequence     uint64
	ConnectionID string
	Reason       pb.DisconnectReason
}

// ConnectionInterrupted says that somebody lost the stream and may come back.
type ConnectionInterrupted struct {
	Sequence     uint64
	ConnectionID string
}

// ConnectionRestored says that somebody came back.
type ConnectionRestored struct {
	Sequence     uint64
	ConnectionID string
}

// SignalReceived is a signal that reached this client.
type SignalReceived struct {
	Sequence uint64
	// From is who sent it; empty: a backend.
	From string
	Type string
	Data string
	// SentAt is when the server took it, by the server's clock.
	SentAt time.Time
}

// Reconnecting says that this client lost its stream and tries to get back in. Sends wait.
type Reconnecting struct{ Why string }

// Reconnected says that this client is back in. With Gap events were missed, and Connection
// may be another.
type Reconnected struct {
	There
	Gap bool
}

// Disconnected is the last event. STOP: don't come back; REJOIN: join anew when it is worth it.
type Disconnected struct {
	Why    string
	Action pb.ClientAction
	// Refusal is the server's reason, if it was the server's doing.
	Refusal *Refusal
}

func (Joined) event()                {}
func (ConnectionCreated) event()     {}
func (ConnectionDestroyed) event()   {}
func (ConnectionInterrupted) event() {}
func (ConnectionRestored) event()    {}
func (SignalReceived) event()        {}
func (Reconnecting) event()          {}
func (Reconnected) event()           {}
func (Disconnected) event()          {}

// Accepted is the outcome of a send that was accepted.
type Accepted struct {
	// Sequence is its place in the session's order, Epoch which life of the session it is of.
	Sequence, Epoch uint64
	// NotConnectedIDs are the recipients that are not connected; the others get it.
	NotConnectedIDs []string
}

// roster is who is in the session, as the events tell it, in the order of joining.
type roster struct{ connections []Connection }

func (r *roster) apply(event Event) {
	switch e := event.(type) {
	case Joined:
		r.connections = slices.Clone(e.Connections)
	case Reconnected:
		r.connections = slices.Clone(e.Connections)
	case ConnectionCreated:
		r.connections = append(r.connections, e.Connection)
	case ConnectionDestroyed:
		r.connections = slices.DeleteFunc(r.connections, func(one Connection) bool { return one.ID == e.ConnectionID })
	case ConnectionInterrupted:
		r.interrupted(e.ConnectionID, true)
	case ConnectionRestored:
		r.interrupted(e.ConnectionID, false)
	case Disconnected:
		r.connections = nil
	}
}

func (r *roster) interrupted(id string, interrupted bool) {
	for at := range r.connections {
		if r.connections[at].ID == id {
			r.connections[at].Interrupted = interrupted
		}
	}
}
