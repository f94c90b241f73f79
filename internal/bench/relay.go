package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"tract"
	"tract/internal/safehttp"
	"tract/internal/sign"
	"tract/internal/store"
	"tract/internal/strictjson"
	"tract/internal/web"
)

// Workers of the relay and how many messages may wait for each.
const (
	relayWorkers = 256
	relayQueue   = 256
)

// relay is the control R: the way of a message without a store. It takes the
// same calls through the same HTTP code, checks them as strictly, answers, and
// sends a payload of the same size, signed by the same code, through the same
// client. What it has not sent when it ends is lost.
type relay struct {
	target, token, secret string
	client                *safehttp.Client
	now                   func() time.Time
	queues                [relayWorkers]chan []byte
}

type relayInput struct {
	User *struct {
		AuthID string `json:"auth_id"`
	} `json:"user"`
	MessageBody *string                `json:"message_body"`
	MessageType *int64                 `json:"message_type"`
	BusinessID  strictjson.IntOrString `json:"business_id"`
}

type relayPayload struct {
	UserID             string         `json:"user_id"`
	MessageID          int64          `json:"message_id"`
	ConversationNumber string         `json:"conversation_number"`
	MessageBody        string         `json:"message_body"`
	Sender             string         `json:"sender"`
	Timestamp          string         `json:"timestamp"`
	Metadata           map[string]any `json:"metadata"`
}

// ServeRelay runs the control R on a listener until ctx ends. Calls carry token;
// what they bring goes to target, signed with secret.
func ServeRelay(ctx context.Context, l net.Listener, target, token, secret string, now func() time.Time) error {
	r := &relay{target: target, token: token, secret: secret, now: now, client: safehttp.New(safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true}, UserAgent: "tract-relay"})}
	var workers sync.WaitGroup
	for i := range r.queues {
		r.queues[i] = make(chan []byte, relayQueue)
		workers.Go(func() { r.forward(ctx, r.queues[i]) })
	}
	mux := web.NewMux(web.Config{Now: now})
	mux.Handle("GET /readyz", web.Hub, func(http.ResponseWriter, *http.Request) (web.Answer, error) {
		return web.JSON(http.StatusOK, map[string]any{}), nil
	})
	mux.Handle("POST /v1.0/log_message_from_user/", web.Platform, r.accept)
	srv := web.NewServer(l.Addr().String(), mux, slog.New(slog.DiscardHandler))
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	err := srv.Serve(l)
	workers.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (r *relay) accept(_ http.ResponseWriter, req *http.Request) (web.Answer, error) {
	if strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ") != r.token {
		return web.Answer{}, &tract.Error{Kind: tract.KindUnauthorized, Code: "invalid_token", Msg: "not the benchmark's token"}
	}
	var in relayInput
	if _, err := web.ReadJSON(req, web.MaxBody, &in); err != nil {
		return web.Answer{}, err
	}
	if in.User == nil || in.MessageBody == nil || !in.BusinessID.Valid {
		return web.Answer{}, tract.Invalid("field_missing", "user, message_body and business_id are needed")
	}
	at := r.now().UTC().Format("2006-01-02T15:04:05.000000Z")
	payload, err := json.Marshal(relayPayload{UserID: in.User.AuthID + "-as-long-as-a-pxut", MessageID: 28_000_000_000_000, ConversationNumber: "1", MessageBody: `{"text":"` + *in.MessageBody + `","type":"SYSTEM","data":{}}`, Sender: "ceu", Timestamp: at,
		Metadata: map[string]any{"business_id": in.BusinessID.Value, "device_platform": 13, "message_type": 0, "thread_owner": "one", "standby": false, "control_epoch": 1, "delivery_seq": 1}})
	if err != nil {
		return web.Answer{}, err
	}
	// The messages of a user stay in order: they are one worker's.
	h := fnv.New32a()
	h.Write([]byte(in.User.AuthID))
	select {
	case r.queues[h.Sum32()%relayWorkers] <- payload:
	case <-req.Context().Done():
		return web.Answer{}, store.ErrUnavailable
	}
	return web.JSON(http.StatusOK, map[string]any{"message_id": 28_000_000_000_000, "message_body": *in.MessageBody, "created_at": at, "message_type": 0}), nil
}

func (r *relay) forward(ctx context.Context, queue chan []byte) {
	for {
		var payload []byte
		select {
		case payload = <-queue:
		case <-ctx.Done():
			return
		}
		req, err := http.NewRequest(http.MethodPost, r.target, bytes.NewReader(payload))
		if err != nil {
			continue
		}
		req.Header.Set("Content-Type", "application/json")
		sign.Headers(req.Header, []string{r.secret}, sign.Delivery{ID: "dlv_1_1_1", At: r.now(), Body: payload})
		_, _ = r.client.Do(context.Background(), req) // what is lost shows at the receiver
	}
}
