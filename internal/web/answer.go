package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

const typeJSON = "application/json; charset=utf-8"

// Answer is what a handler gives back. The zero Answer says that the handler
// has written its answer itself.
type Answer struct {
	Status int
	Body   []byte
	Type   string // content type; "" is JSON

	err error // the body could not be made
}

// JSON is an answer with v as its body.
func JSON(status int, v any) Answer {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return Answer{err: fmt.Errorf("write the answer: %w", err)}
	}
	return Answer{Status: status, Body: bytes.TrimSuffix(b.Bytes(), []byte("\n"))}
}

// NoContent is an answer without a body.
func NoContent() Answer { return Answer{Status: http.StatusNoContent} }

func (a Answer) write(w http.ResponseWriter) {
	h := w.Header()
	if a.Status != http.StatusNoContent {
		h.Set("Content-Type", typeJSON)
		if a.Type != "" {
			h.Set("Content-Type", a.Type)
		}
		h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the caller has left: nothing to be done
}

// recorder remembers what became of an answer.
type recorder struct {
	http.ResponseWriter
	status int    // 0 = nothing written yet
	route  string // the path pattern, for log and metrics
	style  Style
	code   string // of the error answered
	cause  error  // what the caller may not see of a refusal
}

// WriteHeader notes the status.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write notes that the answer has begun.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
