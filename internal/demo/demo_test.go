package demo_test

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract/internal/demo"
)

func TestConversation(t *testing.T) {
	b := visit(t, show(t, demo.Config{}))
	b.follow("")
	b.until("an empty page", func(s *state) bool { return len(s.Tools) == 2 && s.Thread.Customer != "" })
	if code := b.ask("tool/reply", map[string]string{"tool": "desk-one", "text": "Anybody there?"}); code != "no_conversation" {
		t.Errorf("a reply to nobody is refused with %q", code)
	}

	b.say("When are you open?")
	b.untilChat("bot", "Monday to Saturday")
	b.until("both tools listen on standby", func(s *state) bool {
		return heard(s, "desk-one", "When are you open?", true) && heard(s, "desk-two", "When are you open?", true)
	})

	b.say("My blender exploded")
	b.untilOwner("desk-one")
	if code := b.ask("tool/reply", map[string]string{"tool": "desk-two", "text": "Me first"}); code != "not_owner" {
		t.Errorf("the tool that does not own the thread is refused with %q", code)
	}
	b.must("tool/reply", map[string]string{"tool": "desk-one", "text": `["not", "an element"]`})
	b.untilChat("agent", `["not", "an element"]`) // what people type is text

	s := b.look()
	if no := s.tool("desk-one").Can["take"]; no == nil || no.Code != "not_supported" {
		t.Errorf("desk-one may take, says the page: %v", no)
	}
	if no := s.tool("desk-two").Can["take"]; no != nil {
		t.Errorf("desk-two may not take, says the page: %v", no)
	}
	if code := b.ask("tool/do", map[string]string{"tool": "desk-one", "op": "pass", "to": "desk-two"}); code != "receiver_not_allowed" {
		t.Errorf("a pass beyond the permissions is refused with %q", code)
	}
	b.do("desk-two", "take", "")
	b.untilOwner("desk-two")
	b.do("desk-two", "pass", "desk-one")
	b.untilOwner("desk-one")
	b.do("desk-one", "allocate", "")
	b.untilChat("notice", "Nora has entered")
	b.do("desk-one", "complete", "")
	b.untilOwner("iva")
	b.untilChat("notice", "completed")

	b.until("the ledger has every operation", func(s *state) bool { return len(s.Ledger) == 6 })
	want := []ledgerLine{
		{Op: "begin", To: "iva", Granted: true, Epoch: 1},
		{Op: "pass", From: "iva", To: "desk-one", Granted: true, Epoch: 2},
		{Op: "pass", From: "desk-one", To: "desk-two", Code: "receiver_not_allowed", Epoch: 2},
		{Op: "take", From: "desk-one", To: "desk-two", Granted: true, Epoch: 3},
		{Op: "pass", From: "desk-two", To: "desk-one", Granted: true, Epoch: 4},
		{Op: "reset", From: "desk-one", To: "iva", Granted: true, Epoch: 5},
	}
	s = b.look()
	if diff := cmp.Diff(want, s.Ledger); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
	if s.Thread.Steps != [4]bool{true, true, true, false} {
		t.Errorf("steps of the guide done: %v", s.Thread.Steps)
	}
}

func heard(s *state, tool, text string, standby bool) bool {
	for _, e := range s.tool(tool).Entries {
		if e.Text == text && e.Standby == standby {
			return true
		}
	}
	return false
}

func TestAskingForAPersonAndOffering(t *testing.T) {
	b := visit(t, show(t, demo.Config{}))
	b.follow("")
	b.say("I want a human")
	b.untilOwner("desk-one")
	b.do("desk-two", "take", "")
	b.untilOwner("desk-two")
	b.do("desk-two", "offer", "desk-one")
	b.until("desk-one is told of the offer", func(s *state) bool {
		return strings.Contains(s.tool("desk-one").Notice, "offers you") && s.tool("desk-one").Can["accept"] == nil
	})
	b.do("desk-one", "accept", "")
	b.untilOwner("desk-one")
	b.do("desk-two", "request", "")
	b.until("desk-one is told of the request", func(s *state) bool { return strings.Contains(s.tool("desk-one").Notice, "asks for") })
	// Without an answer the bot would be asked once more, and hand over again.
	b.must("tool/reply", map[string]string{"tool": "desk-one", "text": "I am one."})
	b.do("desk-one", "release", "")
	b.untilOwner("iva")
}

func TestFailingToolGetsEverythingInOrder(t *testing.T) {
	for _, mode := range []string{"fail", "hang", "down"} {
		t.Run(mode, func(t *testing.T) {
			b := visit(t, show(t, demo.Config{HookTimeout: 200 * time.Millisecond, AckTimeout: time.Hour}))
			b.follow("")
			b.say("My blender exploded")
			b.untilOwner("desk-one")
			b.untilSettled("Control passed to Northwind Desk")
			b.must("tool/mode", map[string]string{"tool": "desk-one", "mode": mode})
			texts := []string{"one", "two", "three"}
			for _, text := range texts {
				b.say(text)
			}
			b.until("retries, and the others wait behind", func(s *state) bool {
				waiting := map[string]int{}
				retried := false
				for _, d := range s.Deliveries {
					if d.To == "desk-one" && d.Name == "message/receive" {
						waiting[d.State]++
						retried = retried || d.State == "retrying" && len(d.Attempts) >= 2 && strings.Contains(d.About, "one")
					}
				}
				return retried && waiting["queued"] == 2 && s.tool("desk-one").Health == "failing" && s.tool("desk-one").Mode == mode
			})
			b.until("desk-two is not slowed", func(s *state) bool { return heard(s, "desk-two", "three", true) })
			b.must("tool/mode", map[string]string{"tool": "desk-one", "mode": "healthy"})
			b.until("everything arrives", func(s *state) bool {
				for _, d := range s.Deliveries {
					if d.To == "desk-one" && d.State != "delivered" {
						return false
					}
				}
				return heard(s, "desk-one", "three", false) && s.tool("desk-one").Health == "ok" && s.Thread.Steps[3]
			})
			s := b.look()
			var got []string
			last := int64(0)
			for _, e := range s.tool("desk-one").Entries {
				if e.Seq != last+1 {
					t.Errorf("delivery_seq %d comes after %d", e.Seq, last)
				}
				last = e.Seq
				if slices.Contains(texts, e.Text) {
					got = append(got, e.Text)
				}
			}
			if diff := cmp.Diff(texts, got); diff != "" {
				t.Errorf("what desk-one heard (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSilentToolLosesTheThread(t *testing.T) {
	b := visit(t, show(t, demo.Config{AckTimeout: time.Second}))
	b.follow("")
	b.must("tool/mode", map[string]string{"tool": "desk-one", "mode": "down"})
	b.say("My blender exploded")
	b.untilOwner("desk-two")
	b.untilChat("bot", "Another colleague")
	b.until("the ledger says why", func(s *state) bool {
		return slices.Contains(s.Ledger, ledgerLine{Op: "failover", From: "desk-one", To: "desk-two", Granted: true, Epoch: 3})
	})
}

func TestExhaustedToolIsSwitchedOffAndMended(t *testing.T) {
	b := visit(t, show(t, demo.Config{AckTimeout: time.Hour, Ladder: []time.Duration{50 * time.Millisecond, 50 * time.Millisecond}}))
	b.follow("")
	b.say("My blender exploded")
	b.untilOwner("desk-one")
	b.untilSettled("Control passed to Northwind Desk")
	b.must("tool/mode", map[string]string{"tool": "desk-one", "mode": "fail"})
	b.say("Hello?")
	b.until("desk-one is switched off, its message dead, the thread with the next", func(s *state) bool {
		dead := slices.ContainsFunc(s.Deliveries, func(d delivery) bool { return d.To == "desk-one" && d.State == "dead" && len(d.Attempts) == 3 })
		trying := slices.ContainsFunc(s.Deliveries, func(d delivery) bool { return d.To == "desk-one" && d.State == "retrying" })
		return dead && !trying && s.tool("desk-one").Health == "disabled" && s.Thread.Owner == "desk-two"
	})
	b.must("tool/mode", map[string]string{"tool": "desk-one", "mode": "healthy"})
	b.say("Still there?")
	b.until("desk-one hears again", func(s *state) bool {
		if s.tool("desk-one").Health == "disabled" { // a call that was on its way was the last of its ladder
			b.must("tool/mode", map[string]string{"tool": "desk-one", "mode": "healthy"})
		}
		return s.tool("desk-one").Health == "ok" && heard(s, "desk-one", "Still there?", true)
	})
}

func TestVisitorsDoNotMix(t *testing.T) {
	url := show(t, demo.Config{})
	one, two := visit(t, url), visit(t, url)
	one.follow("")
	two.follow("")
	one.say("My blender exploded")
	one.untilOwner("desk-one")
	if code := two.ask("tool/reply", map[string]string{"tool": "desk-one", "text": "Whose is this?"}); code != "no_conversation" {
		t.Errorf("a visitor without a conversation is answered %q", code)
	}
	two.say("When are you open?")
	two.untilChat("bot", "Monday to Saturday")
	s := two.look()
	for _, e := range s.tool("desk-one").Entries {
		if strings.Contains(e.Text, "blender") {
			t.Error("one visitor sees the other's conversation")
		}
	}
	if one.look().Thread.Customer == s.Thread.Customer {
		t.Error("two visitors are the same customer")
	}

	before := one.look().Thread.Customer
	one.must("customer/new", map[string]string{})
	one.until("a new customer", func(s *state) bool {
		return s.Thread.Customer != before && s.Thread.Owner == "" && len(s.Chat)+len(s.Log)+len(s.Deliveries)+len(s.Ledger) == 0
	})
	one.say("Thanks")
	one.untilOwner("iva")
}

func TestStreamGoesOnWhereItStopped(t *testing.T) {
	url := show(t, demo.Config{})
	b := visit(t, url)
	stop := b.follow("")
	b.say("When are you open?")
	b.untilSettled("Monday to Saturday")
	stop()
	b.mu.Lock()
	last := b.lastID
	b.events = nil
	b.mu.Unlock()
	b.must("customer/message", map[string]string{"text": "Where is my order?"})
	b.follow(last)
	b.untilChat("bot", "tracking link in your")
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.events[0] != "clock" || slices.Contains(b.events, "") {
		t.Errorf("events after connecting again: %v", b.events)
	}

	other := visit(t, url)
	other.follow(last) // of another visitor: means nothing here
	other.until("a whole page", func(s *state) bool { return len(s.Tools) == 2 && s.Thread.Customer != "" })
}

func TestPage(t *testing.T) {
	url := show(t, demo.Config{})
	b := visit(t, url)
	res, page := b.get("/")
	if csp := res.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'self';") || strings.Contains(csp, "unsafe") {
		t.Errorf("Content-Security-Policy: %q", csp)
	}
	if bad := regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|\sstyle=|\son[a-z]+=|https?://`).FindString(page); bad != "" {
		t.Errorf("the page has %q, which its policy forbids or which loads from elsewhere", bad)
	}
	loaded := map[string]bool{}
	var load func(path string)
	load = func(path string) {
		if loaded[path] {
			return
		}
		loaded[path] = true
		res, body := b.get(path)
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
		for _, m := range regexp.MustCompile(`from "\./([a-z]+\.js)"`).FindAllStringSubmatch(body, -1) {
			load("/demo/static/" + m[1])
		}
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="(/demo/[^"]+)"`).FindAllStringSubmatch(page, -1) {
		load(m[1])
	}
	if len(loaded) < 8 {
		t.Errorf("the page loads only %v", loaded)
	}

	for name, path := range map[string]string{"no such file": "/demo/static/none.js", "no way out": "/demo/static/..%2fpage.html"} {
		if res, _ := b.get(path); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	stranger := &browser{t: t, url: url, http: &http.Client{}}
	if status, _ := stranger.post("customer/message", map[string]string{"text": "hi"}); status != http.StatusForbidden {
		t.Errorf("without the page's cookie: %d", status)
	}
	for order, want := range map[string]string{"": "field_missing", strings.Repeat("x", 2001): "field_value"} {
		if code := b.ask("customer/message", map[string]string{"text": order}); code != want {
			t.Errorf("a text of %d characters: %q, want %q", len(order), code, want)
		}
	}
	if code := b.ask("tool/mode", map[string]string{"tool": "desk-one", "mode": "asleep"}); code != "field_value" {
		t.Errorf("an unknown mode: %q", code)
	}
}

func TestModulesParse(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("MODULES NOT CHECKED: there is no node")
	}
	files, err := filepath.Glob("static/*.js")
	if err != nil || len(files) < 5 {
		t.Fatalf("modules: %v (%v)", files, err)
	}
	for _, f := range files {
		out, err := exec.Command(node, "--experimental-default-type=module", "--check", f).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", f, err, out)
		}
	}
}
