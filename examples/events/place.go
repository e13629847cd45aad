// Ask for a placement over NATS, and follow it until it is ready: docs/publish.md.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

//go:embed hello.json
var hello []byte

// A name as one token of a subject: every byte but A-Za-z0-9_- is written =XX.
func token(name string) string {
	hex := func(one string) string { return strings.ReplaceAll(fmt.Sprintf(" % X", one), " ", "=") }
	return regexp.MustCompile(`[^A-Za-z0-9_-]|^$`).ReplaceAllStringFunc(name, hex)
}

func must[T any](found T, err error) T {
	if err != nil {
		panic(err)
	}
	return found
}

func read(message []byte) (event struct {
	Type, Time string
	Data       struct {
		Message, Events, UID string
		Generation           int
	}
}) {
	must(0, json.Unmarshal(message, &event))
	return event
}

func main() {
	var login []nats.Option
	if seed := os.Getenv("MOORAGE_NATS_NKEY"); seed != "" {
		login = append(login, must(nats.NkeyOptionFromSeed(seed)))
	}
	connection := must(nats.Connect(os.Getenv("MOORAGE_NATS_URL"), login...))
	prefix := os.Getenv("MOORAGE_NATS_API_PREFIX")
	if prefix == "" {
		prefix = jetstream.DefaultAPIPrefix
	}
	stream, inbox := must(jetstream.NewWithAPIPrefix(connection, prefix)), nats.NewInbox()
	answers := must(connection.SubscribeSync(inbox))
	// Who asks again with the same source and id asks for the same, and it is done once.
	request := must(json.Marshal(map[string]any{"specversion": "1.0", "id": inbox, "source": "/examples/go",
		"type": "io.moorage.placement.place.v1", "replyto": inbox, "data": json.RawMessage(hello)}))
	workspace, user := os.Getenv("MOORAGE_WORKSPACE"), os.Getenv("MOORAGE_USER")
	subject := fmt.Sprintf("moorage.requests.%s.%s.place", token(workspace), token(user))
	must(stream.Publish(context.Background(), subject, request))
	answer := read(must(answers.NextMsg(30 * time.Second)).Data)
	fmt.Println(answer.Type, answer.Data.Message)
	if answer.Type != "io.moorage.placement.accepted.v1" {
		os.Exit(1)
	}
	reader := jetstream.OrderedConsumerConfig{FilterSubjects: []string{answer.Data.Events}}
	events := must(must(stream.OrderedConsumer(context.Background(), "MOORAGE_EVENTS", reader)).Messages())
	for {
		event := read(must(events.Next()).Data())
		fmt.Println(event.Type, event.Time)
		if event.Type == "io.moorage.placement.ready.v1" && event.Data.UID == answer.Data.UID &&
			event.Data.Generation == answer.Data.Generation {
			return
		}
	}
}
