// A chat in the terminal: go run ./examples/chat demo Ada http://127.0.0.1:50051
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"

	signalbox "github.com/signalbox/signalbox/clients/go"
)

func main() {
	arguments := []string{"demo", "somebody", "http://127.0.0.1:50051"}
	copy(arguments, os.Args[1:])
	if err := chat(context.Background(), arguments[0], arguments[1], arguments[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func chat(ctx context.Context, room, name, url string) error {
	client, err := signalbox.NewClient(url)
	if err != nil {
		return err
	}
	session, err := client.Join(ctx, room, signalbox.JoinOptions{ConnectionData: name})
	if err != nil {
		return err
	}
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			if _, err := session.Signal(signalbox.Signal{Type: "chat", Data: lines.Text()}).Wait(ctx); err != nil {
				fmt.Println("!", err)
			}
		}
		_ = session.Leave(ctx)
	}()
	names := map[string]string{"": "the server"}
	for event := range session.Events(ctx) {
		// Who is gone has a name still.
		for _, one := range session.Connections() {
			names[one.ID] = one.Data
		}
		switch event := event.(type) {
		case signalbox.Joined:
			fmt.Printf("in %s with %d\n", room, len(event.Connections))
		case signalbox.SignalReceived:
			if event.Type == "chat" {
				fmt.Printf("%s: %s\n", names[event.From], event.Data)
			}
		case signalbox.ConnectionCreated:
			fmt.Printf("* %s joined\n", event.Connection.Data)
		case signalbox.ConnectionDestroyed:
			fmt.Printf("* %s is gone\n", names[event.ConnectionID])
		case signalbox.Reconnecting:
			fmt.Printf("* reconnecting… (%s)\n", event.Why)
		case signalbox.Reconnected:
			fmt.Printf("* back, gap: %v\n", event.Gap)
		case signalbox.Disconnected:
			fmt.Printf("* out: %s\n", event.Why)
		}
	}
	return nil
}
