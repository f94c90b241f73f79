package external

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"tract"
	"tract/internal/hsl"
	"tract/internal/sign"
	"tract/internal/strictjson"
)

// maxMessages is how many messages one answer may have.
const maxMessages = 20

// call is the body of a webhook call: a node's API request, with the message
// itself beside it.
type call struct {
	Node         string              `json:"node"`
	Event        string              `json:"event"`
	User         callUser            `json:"user"`
	Conversation int                 `json:"conversation_no"`
	Details      map[string]any      `json:"conversation_details"`
	UserDetails  map[string]string   `json:"user_details"`
	Entities     map[string][]entity `json:"entities"`
	Variables    map[string]string   `json:"env_variables"`
	Message      callMessage         `json:"message"`
}

type callUser struct {
	ID       string `json:"user_id"`
	Name     string `json:"user_name"`
	FullName string `json:"full_name"`
	Platform int    `json:"device_platform"`
	Language string `json:"language_code"`
	AuthID   string `json:"auth_id"`
	AuthCode string `json:"auth_code"`
}

type entity struct {
	Detection    string            `json:"detection"`
	OriginalText string            `json:"original_text"`
	Value        map[string]string `json:"entity_value"`
}

type callMessage struct {
	ID         tract.MessageID `json:"message_id"`
	BusinessID int64           `json:"business_id"`
	Body       string          `json:"message_body"`
}

// entityOfText is the entity that carries the whole text of a message.
const entityOfText = "feedback_regex"

func callOf(q *Question) call {
	language, name := q.User.Language, q.User.FullName
	if language == "" {
		language = "en"
	}
	if name == "" {
		name = "Guest User"
	}
	return call{
		Node: q.Node, Event: "API_INTEGRATION", Conversation: q.Conversation,
		User:    callUser{ID: q.User.ID, Name: q.User.Name, FullName: q.User.FullName, Platform: q.User.Platform, Language: language, AuthID: q.User.AuthID},
		Details: map[string]any{}, UserDetails: map[string]string{"language_code": language, "name": name}, Variables: map[string]string{},
		Entities: map[string][]entity{entityOfText: {{Detection: "message", OriginalText: q.Text, Value: map[string]string{"value": q.Text}}}},
		Message:  callMessage{ID: q.Message, BusinessID: q.Business, Body: q.Body},
	}
}

// askWebhook asks a bot that speaks the API of a node.
func (b *Bots) askWebhook(ctx context.Context, bot *tract.ExternalBot, secret string, q *Question) (Answer, error) {
	body, err := encode(callOf(q))
	if err != nil {
		return Answer{}, bad("write the call: %v", err)
	}
	req, err := http.NewRequest(http.MethodPost, bot.URL, bytes.NewReader(body))
	if err != nil {
		return Answer{}, fault(resultSecret, true, "its url cannot be read")
	}
	req.Header.Set("Content-Type", "application/json")
	var secrets []string
	if secret != "" {
		secrets = []string{secret}
	}
	sign.Headers(req.Header, secrets, sign.Delivery{ID: q.ID, At: b.cfg.Now(), Body: body})
	said, err := b.post(ctx, req)
	if err != nil {
		return Answer{}, err
	}
	return readWebhook(said)
}

// readWebhook reads a node's API answer.
func readWebhook(said []byte) (Answer, error) {
	var r struct {
		Response *[]json.RawMessage `json:"response"`
		Status   *bool              `json:"status"`
		Ops      *struct {
			Control *struct {
				Receiver *string `json:"receiver"`
			} `json:"tract_atc"`
		} `json:"callback_ops"`
	}
	if err := strictjson.Decode(said, &r); err != nil {
		return Answer{}, bad("%v", err)
	}
	if r.Status != nil && !*r.Status {
		return Answer{Unknown: true}, nil
	}
	a := Answer{Handover: r.Ops != nil && r.Ops.Control != nil}
	if r.Response != nil {
		if len(*r.Response) > maxMessages {
			return Answer{}, bad("response has more than %d messages", maxMessages)
		}
		for i, raw := range *r.Response {
			body, err := message(raw)
			if err != nil {
				return Answer{}, bad("response[%d]: %v", i, err)
			}
			a.Bodies = append(a.Bodies, body)
		}
	}
	if len(a.Bodies) == 0 && !a.Handover {
		return Answer{}, bad("response is empty")
	}
	return a, nil
}

// message reads one entry of a response: a text, an element written as a text,
// or an element.
func message(raw json.RawMessage) (string, error) {
	var e hsl.Element
	var err error
	var text string
	if json.Unmarshal(raw, &text) == nil && string(raw) != "null" {
		if strings.TrimSpace(text) == "" {
			return "", bad("is blank")
		}
		e, err = hsl.ParseBody(text)
	} else {
		e, err = hsl.Parse(raw)
	}
	if err != nil {
		return "", err
	}
	if len(e.Body()) > hsl.MaxBody {
		return "", bad("is longer than %d bytes", hsl.MaxBody)
	}
	return e.Body(), nil
}

// encode writes JSON without escapes that only web pages need.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
