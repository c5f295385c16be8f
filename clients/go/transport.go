package signalbox

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/signalbox/signalbox/clients/go/signalboxv1"
)

// HTTP/2 pings find a dead server even where no heartbeats are asked for.
var pings = keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 10 * time.Second}

// target is where an endpoint leads, and with what.
func target(endpoint string, config *tls.Config) (string, credentials.TransportCredentials, error) {
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	at, err := url.Parse(endpoint)
	if err != nil || at.Host == "" || strings.Trim(at.Path, "/") != "" || at.Scheme != "http" && at.Scheme != "https" {
		why := endpoint + " is no endpoint: it reads http://host:port, https://host:port or host:port"
		return "", nil, &ConnectError{Why: why}
	}
	port, secure := at.Port(), insecure.NewCredentials()
	if at.Scheme == "https" {
		secure = credentials.NewTLS(config)
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[at.Scheme]
	}
	return net.JoinHostPort(at.Hostname(), port), secure, nil
}

func dial(endpoint string, config *tls.Config) (*grpc.ClientConn, error) {
	at, secure, err := target(endpoint, config)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:///"+at,
		grpc.WithTransportCredentials(secure), grpc.WithKeepaliveParams(pings), grpc.WithDisableRetry())
}

// stream is one Join, on a connection of its own. Frames go in the order of send.
type stream struct {
	cancel context.CancelFunc
	mu     sync.Mutex
	frames []*pb.JoinRequest
	more   chan struct{}
}

func newStream() (*stream, context.Context) {
	ctx, cancel := context.WithCancel(context.Background())
	return &stream{cancel: cancel, more: make(chan struct{}, 1)}, ctx
}

func (s *stream) send(frame *pb.JoinRequest) {
	s.mu.Lock()
	s.frames = append(s.frames, frame)
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// run opens it, and hands over what comes until it ends; how it ended.
func (s *stream) run(ctx context.Context, endpoint string, config *tls.Config, token string, came func(*pb.JoinResponse)) end {
	connection, err := dial(endpoint, config)
	if err != nil {
		return end{err: err}
	}
	defer connection.Close()
	call, err := pb.NewSignalingServiceClient(connection).Join(withToken(ctx, token))
	if err != nil {
		return endOf(err, endpoint)
	}
	go func() {
		for {
			s.mu.Lock()
			frames := s.frames
			s.frames = nil
			s.mu.Unlock()
			for _, frame := range frames {
				// Why it can't be sent is what receiving says.
				if call.Send(frame) != nil {
					return
				}
			}
			select {
			case <-s.more:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		response, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return end{}
		}
		if err != nil {
			return endOf(err, endpoint)
		}
		came(response)
	}
}

func withToken(ctx context.Context, token string) context.Context {
	if token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// refusalOf is what a status says: the reason, the field and the wait are in its details.
func refusalOf(err error) Refusal {
	it := status.Convert(err)
	refusal := Refusal{Code: it.Code(), Message: it.Message()}
	for _, detail := range it.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			refusal.Reason = detail.GetReason()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				refusal.Field = violation.GetField()
			}
		case *errdetails.RetryInfo:
			refusal.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	return refusal
}

// endOf: a status of no Signalbox that tells of no answer is a lost connection.
func endOf(err error, endpoint string) end {
	refusal := refusalOf(err)
	if refusal.Code == codes.Unavailable && refusal.Reason == "" {
		return end{err: &ConnectError{Why: endpoint + ": " + refusal.Message}}
	}
	return end{refusal: &refusal}
}
