package signalbox

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
)

// A Refusal says what was wrong with a request, the limit and what was given.
type Refusal struct {
	// Code is the gRPC status code.
	Code codes.Code
	// Reason is stable, as SIGNAL_DATA_TOO_LARGE; empty when whoever answered was no Signalbox.
	Reason string
	// Message is for people. It never holds a signal's data.
	Message string
	// Field is the one to blame, as the wire calls it, if one is.
	Field string
	// RetryAfter is after how long a retry can succeed, where waiting helps.
	RetryAfter time.Duration
}

func (r Refusal) String() string {
	told := r.Code.String()
	if r.Reason != "" {
		told += " / " + r.Reason
	}
	if r.Message != "" {
		told += ": " + r.Message
	}
	if r.RetryAfter > 0 {
		told += fmt.Sprintf(" (try again after %v)", r.RetryAfter)
	}
	return told
}

// RefusedError is the outcome of a send that the server refused, or would have: nothing was
// sent.
type RefusedError struct{ Refusal Refusal }

func (e *RefusedError) Error() string { return e.Refusal.String() }

// ConnectError says that there is no way in: no server, or it refuses; then Refusal says why.
type ConnectError struct {
	Why     string
	Refusal *Refusal
}

func (e *ConnectError) Error() string { return e.Why }

// QueueFullError is the outcome of a send that was not sent because as much waits for the
// reconnect as may.
type QueueFullError struct {
	Sends, Bytes       int
	MaxSends, MaxBytes int
}

func (e *QueueFullError) Error() string {
	return fmt.Sprintf("%d sends of %d bytes wait already, of %d and %d that may; it was not sent",
		e.Sends, e.Bytes, e.MaxSends, e.MaxBytes)
}

var (
	// ErrDisconnected is the outcome of a signal that was not to wait: it was not sent.
	ErrDisconnected = errors.New("disconnected, and the signal was not to wait; it was not sent")
	// ErrUnknown is the outcome of a send whose connection could not be resumed: it may have
	// been sent.
	ErrUnknown = errors.New("the connection was lost for good before an outcome came; it may have been sent")
	// ErrOver is the outcome of a send after the end, or after Leave: it was not sent.
	ErrOver = errors.New("out of the session, or leaving it; it was not sent")
)
