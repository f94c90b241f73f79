// Package report reads what happened: transcripts now, analytics later. It only
// reads.
package report

import (
	"encoding/json"
	"strings"

	"tract"
	"tract/internal/hsl"
	"tract/internal/store"
)

// Line is one message of a transcript.
type Line struct {
	Text      string          `json:"text"`
	Sender    string          `json:"sender"`
	MessageID tract.MessageID `json:"message_id"`
	Timestamp string          `json:"timestamp"`          // MM/DD/YY hh:mm:ss AM|PM UTC
	FileURL   string          `json:"file_url,omitempty"` // of a file, as it was when it was sent
}

// MostLines is how many messages a transcript holds at most.
const MostLines = 1000

// Transcript gives the newest messages of a conversation, oldest first; before
// (0 = none) bounds the ids. agent writes the name of an agent as a sender.
func Transcript(tx *store.Tx, thread int64, conversation int, before tract.MessageID, limit int, agent func(name string) string) ([]Line, error) {
	es, err := tx.ListRecentMessages(thread, conversation, before, limit)
	if err != nil {
		return nil, err
	}
	lines := make([]Line, 0, len(es))
	for i := range es {
		e := &es[i]
		lines = append(lines, Line{Text: text(e.Body), Sender: sender(e, agent), MessageID: e.ID, Timestamp: e.At.Format("01/02/06 03:04:05 PM") + " UTC", FileURL: fileURL(e)})
	}
	return lines, nil
}

// Text writes lines as "<sender>: <text>\n"; line breaks in a message become spaces.
func Text(lines []Line) string {
	var b strings.Builder
	flat := strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ")
	for _, l := range lines {
		b.WriteString(l.Sender + ": " + flat.Replace(l.Text) + "\n")
	}
	return b.String()
}

func text(body string) string {
	return hsl.Summary([]byte(body)).Transcript()
}

func fileURL(e *store.Entry) string {
	if e.MessageType == tract.TypeText {
		return ""
	}
	var el struct {
		Data struct {
			URL string `json:"url"`
		} `json:"data"`
	}
	if json.Unmarshal([]byte(e.Body), &el) != nil {
		return "" // of another shape
	}
	return el.Data.URL
}

func sender(e *store.Entry, agent func(string) string) string {
	switch e.Sender {
	case tract.SenderCEU:
		return "user"
	case tract.SenderIVA:
		return "bot"
	}
	if a := e.Meta.Agent; a != nil && a.Name != "" {
		return agent(a.Name)
	}
	return agent(string(e.By))
}
