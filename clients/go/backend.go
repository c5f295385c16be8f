package signalbox

import (
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "github.com/signalbox/signalbox/clients/go/signalboxv1"
)

const attempts = 5

// ServerAccepted is what became of a server signal.
type ServerAccepted struct {
	// Sequence is its place in the session's order.
	Sequence uint64
	// RecipientCount is how many connections get it.
	RecipientCount uint32
	// NotConnectedIDs are the recipients that are not connected.
	NotConnectedIDs []string
}

// A ServerClient is a backend's side: it signals into sessions without being in them.
type ServerClient struct {
	connection *grpc.ClientConn
	calls      pb.SignalingServiceClient
	token      string
}

// NewServerClient is one of a client's first endpoint, with its fixed token; Close it in the
// end.
func (c *Client) NewServerClient() (*ServerClient, error) {
	connection, err := dial(c.endpoints[0], c.tls)
	if err != nil {
		return nil, err
	}
	client := &ServerClient{connection: connection, calls: pb.NewSignalingServiceClient(connection)}
	if c.token != nil {
		client.token = c.token.Bearer
	}
	return client, nil
}

// Signal sends one into a session, once: where no answer comes it is asked again with the same
// idempotency key, which is made up if it is empty. The error is a RefusedError, a
// ConnectError when no server answers, or the context's.
func (c *ServerClient) Signal(ctx context.Context, sessionID string, signal Signal, idempotencyKey string) (ServerAccepted, error) {
	if idempotencyKey == "" {
		idempotencyKey = rand.Text()
	}
	request := &pb.SendFromServerRequest{
		SessionId:      sessionID,
		Signal:         &pb.Signal{Type: signal.Type, Data: signal.Data},
		IdempotencyKey: idempotencyKey,
	}
	if signal.To != nil {
		request.To = &pb.Recipients{ConnectionIds: signal.To}
	}
	for attempt := 1; ; attempt++ {
		told, err := c.calls.SendFromServer(withToken(ctx, c.token), request)
		if err == nil {
			return ServerAccepted{told.GetSequence(), told.GetRecipientCount(), told.GetNotConnectedIds()}, nil
		}
		refusal := refusalOf(err)
		if ctx.Err() != nil {
			return ServerAccepted{}, ctx.Err()
		}
		if refusal.Code != codes.Unavailable && refusal.Code != codes.DeadlineExceeded {
			return ServerAccepted{}, &RefusedError{refusal}
		}
		if attempt == attempts {
			return ServerAccepted{}, &ConnectError{Why: refusal.String(), Refusal: &refusal}
		}
		select {
		case <-time.After(refusal.RetryAfter + mathrand.N(100*time.Millisecond<<attempt)):
		case <-ctx.Done():
			return ServerAccepted{}, ctx.Err()
		}
	}
}

// Close lets the connection go.
func (c *ServerClient) Close() error { return c.connection.Close() }
