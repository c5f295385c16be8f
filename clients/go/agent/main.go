// The agent of this client: see ../../agent.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	signalbox "github.com/signalbox/signalbox/clients/go"
)

type asked struct {
	ID                       int
	Do                       string
	Endpoints                []string
	Session, Data, Type      string
	Window                   *float64
	Tokens                   []string
	Lasts                    float64
	Types                    []string
	SuppressConnectionEvents bool `json:"suppress_connection_events"`
	SuppressOwnSignals       bool `json:"suppress_own_signals"`
	Queue                    []int
	GiveUpAfter              float64 `json:"give_up_after"`
	To                       []string
	Retry                    *bool
	Connection               string
}

type object = map[string]any

var telling sync.Mutex

func tell(what any) {
	line, err := json.Marshal(what)
	if err != nil {
		panic(err)
	}
	telling.Lock()
	defer telling.Unlock()
	fmt.Println(string(line))
}

func failed(id int, err error) {
	kind, reason := "unknown", ""
	var refused *signalbox.RefusedError
	var full *signalbox.QueueFullError
	var connect *signalbox.ConnectError
	switch {
	case errors.As(err, &refused):
		kind, reason = "refused", refused.Refusal.Reason
	case errors.As(err, &full):
		kind = "queue-full"
	case errors.As(err, &connect):
		kind = "connect"
		if connect.Refusal != nil {
			reason = connect.Refusal.Reason
		}
	case errors.Is(err, signalbox.ErrDisconnected):
		kind = "disconnected"
	case errors.Is(err, signalbox.ErrOver):
		kind = "over"
	}
	tell(object{"id": id, "error": object{"kind": kind, "reason": reason}})
}

func told(event signalbox.Event) object {
	switch e := event.(type) {
	case signalbox.Joined:
		return object{"event": "joined", "sequence": e.Sequence}
	case signalbox.ConnectionCreated:
		return object{"event": "created", "sequence": e.Sequence, "connection": e.Connection.ID, "data": e.Connection.Data}
	case signalbox.ConnectionDestroyed:
		reason := strings.TrimPrefix(e.Reason.String(), "DISCONNECT_REASON_")
		return object{"event": "destroyed", "sequence": e.Sequence, "connection": e.ConnectionID, "reason": reason}
	case signalbox.ConnectionInterrupted:
		return object{"event": "interrupted", "sequence": e.Sequence, "connection": e.ConnectionID}
	case signalbox.ConnectionRestored:
		return object{"event": "restored", "sequence": e.Sequence, "connection": e.ConnectionID}
	case signalbox.SignalReceived:
		var from any
		if e.From != "" {
			from = e.From
		}
		return object{"event": "signal", "sequence": e.Sequence, "type": e.Type, "data": e.Data, "from": from}
	case signalbox.Reconnected:
		return object{"event": "reconnected", "sequence": e.Sequence, "connection": e.Connection.ID, "gap": e.Gap}
	case signalbox.Disconnected:
		reason := ""
		if e.Refusal != nil {
			reason = e.Refusal.Reason
		}
		return object{"event": "disconnected", "action": strings.TrimPrefix(e.Action.String(), "CLIENT_ACTION_"), "reason": reason}
	}
	return object{"event": "reconnecting"}
}

func seconds(value float64) time.Duration { return time.Duration(value * float64(time.Second)) }

func join(ctx context.Context, it asked) (*signalbox.Session, error) {
	giveUpAfter := 20 * time.Second
	if it.GiveUpAfter > 0 {
		giveUpAfter = seconds(it.GiveUpAfter)
	}
	options := []signalbox.Option{
		signalbox.WithEndpoints(it.Endpoints[1:]...),
		signalbox.WithBackOff(20*time.Millisecond, 500*time.Millisecond),
		signalbox.WithConnectTimeout(5 * time.Second),
		signalbox.WithGiveUpAfter(giveUpAfter),
	}
	if tokens := it.Tokens; len(tokens) > 0 {
		options = append(options, signalbox.WithTokenSource(func(context.Context, string) (signalbox.Token, error) {
			token := signalbox.Token{Bearer: tokens[0]}
			if len(tokens) > 1 {
				tokens = tokens[1:]
			}
			if it.Lasts > 0 {
				token.ExpiresAt = time.Now().Add(seconds(it.Lasts))
			}
			return token, nil
		}))
	}
	client, err := signalbox.NewClient(it.Endpoints[0], options...)
	if err != nil {
		return nil, err
	}
	window := 30 * time.Second
	if it.Window != nil {
		window = seconds(*it.Window)
	}
	wanted := signalbox.JoinOptions{
		ConnectionData:           it.Data,
		ResumeWindow:             window,
		SignalTypes:              it.Types,
		SuppressConnectionEvents: it.SuppressConnectionEvents,
		SuppressOwnSignals:       it.SuppressOwnSignals,
	}
	if len(it.Queue) == 2 {
		wanted.MaxQueuedSends, wanted.MaxQueuedBytes = it.Queue[0], it.Queue[1]
	}
	return client.Join(ctx, it.Session, wanted)
}

func outcome(ctx context.Context, id int, sent *signalbox.Outcome) {
	accepted, err := sent.Wait(ctx)
	if err != nil {
		failed(id, err)
		return
	}
	absent := accepted.NotConnectedIDs
	if absent == nil {
		absent = []string{}
	}
	tell(object{"id": id, "ok": object{"sequence": accepted.Sequence, "not_connected": absent}})
}

func main() {
	ctx := context.Background()
	var session *signalbox.Session
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var it asked
		if err := json.Unmarshal(lines.Bytes(), &it); err != nil {
			panic(err)
		}
		switch it.Do {
		case "join":
			joined, err := join(ctx, it)
			if err != nil {
				failed(it.ID, err)
				continue
			}
			session = joined
			tell(object{"id": it.ID, "ok": object{"connection": session.ConnectionID()}})
			go func() {
				for event := range session.Events(ctx) {
					tell(told(event))
				}
			}()
		case "signal":
			noRetry := it.Retry != nil && !*it.Retry
			sent := session.Signal(signalbox.Signal{Type: it.Type, Data: it.Data, To: it.To, NoRetry: noRetry})
			go outcome(ctx, it.ID, sent)
		case "disconnect":
			go outcome(ctx, it.ID, session.ForceDisconnect(it.Connection))
		case "connections":
			there := []object{}
			for _, one := range session.Connections() {
				there = append(there, object{"connection": one.ID, "data": one.Data, "interrupted": one.Interrupted})
			}
			tell(object{"id": it.ID, "ok": there})
		case "leave":
			go func() {
				if err := session.Leave(ctx); err == nil {
					tell(object{"id": it.ID, "ok": object{}})
				}
			}()
		}
	}
}
