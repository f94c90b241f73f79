package ect

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"tract"
)

// Colours, as the terminal takes them.
const (
	plainText = ""
	red       = "31"
	green     = "32"
	yellow    = "33"
	blue      = "34"
	magenta   = "35"
	cyan      = "36"
	grey      = "90"
)

// printer writes whole lines. What it prints comes from strangers, so control
// characters, with which a message could rewrite the screen, are taken out.
type printer struct {
	mu     sync.Mutex // guards out, so that lines do not mix
	out    io.Writer
	colour bool
}

func (p *printer) line(format string, args ...any) { p.paint(plainText, format, args...) }

func (p *printer) paint(colour, format string, args ...any) {
	text := printable(fmt.Sprintf(format, args...))
	if p.colour && colour != plainText {
		text = "\x1b[" + colour + "m" + text + "\x1b[0m"
	}
	p.text(text + "\n")
}

func (p *printer) text(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A terminal that is gone cannot be told so.
	_, _ = io.WriteString(p.out, text)
}

// event prints one event as one line: when, who, what, and how it came.
func (p *printer) event(e Event) {
	at := e.At
	if !e.Entry.At.IsZero() {
		at = e.Entry.At
	}
	colour, text := describe(e)
	p.paint(colour, "%s  %-14s %s%s", at.Local().Format(time.TimeOnly), name(e.Name), text, circumstances(e))
}

func describe(e Event) (colour, text string) {
	switch e.Kind {
	case KindMessage:
		return senderColour(e.Entry.Sender), speaker(e.Entry) + ": " + e.Entry.Text
	case KindSent:
		return green, "you as " + speaker(e.Entry) + ": " + e.Entry.Text
	case KindEvent:
		return magenta, join("  ", string(e.Hook), e.Entry.Text)
	case KindUser:
		return magenta, "is introduced by the hub"
	case KindPing:
		return magenta, "ping of " + string(e.Hook)
	case KindDone:
		return green, "done: " + e.Note
	case KindReady:
		return green, e.Note
	case KindDuplicate:
		return grey, "dropped a duplicate of " + string(e.Hook) + " " + e.Note
	case KindRefused:
		return red, fmt.Sprintf("REFUSED %s: %v", e.Hook, e.Err)
	case KindFault:
		return yellow, join(": ", "fault", string(e.Hook), e.Note)
	case KindGap:
		return yellow, "gap: " + e.Note + "; asking the feed"
	case KindLost:
		return red, "lost: " + e.Note
	case KindProblem:
		return red, fmt.Sprintf("%s: %v", tract.CodeOf(e.Err), e.Err)
	}
	return plainText, string(e.Kind)
}

// circumstances says what the tool knows about how something came, and whose
// the thread is.
func circumstances(e Event) string {
	var notes []string
	if e.Owner != "" {
		notes = append(notes, fmt.Sprintf("%s, epoch %d", e.Owner, e.Epoch))
	}
	switch e.Kind {
	case KindMessage, KindEvent, KindUser, KindPing:
		if e.Entry.CaughtUp {
			notes = append(notes, "from the feed")
		} else if e.Hook != "" {
			notes = append(notes, "verified ✓")
		}
	}
	if e.Entry.Seq > 0 {
		notes = append(notes, fmt.Sprintf("#%d", e.Entry.Seq))
	}
	if e.Attempt > 0 {
		notes = append(notes, fmt.Sprintf("attempt %d", e.Attempt))
	}
	if len(notes) == 0 {
		return ""
	}
	return "  [" + strings.Join(notes, " · ") + "]"
}

func senderColour(s tract.Sender) string {
	switch s {
	case tract.SenderCEU:
		return cyan
	case tract.SenderIVA:
		return blue
	}
	return plainText
}

// speaker is a sender in words.
func speaker(e Entry) string {
	who := map[tract.Sender]string{
		tract.SenderCEU: "user", tract.SenderIVA: "bot", tract.SenderSystem: "system", tract.SenderAEU: "agent", tract.SenderECT: "tool",
	}[e.Sender]
	return join(" ", first(who, string(e.Sender)), e.Agent)
}

func name(s string) string { return first(s, "-") }

// join leaves out what is empty.
func join(separator string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), separator)
}

func joinSorted(parts []string) string {
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control):
			return '\uFFFD'
		}
		return r
	}, s)
}
