package ect

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"tract"
)

const feedPage = 100

// hear brings the view up to date with what a hook call or the feed said, and
// tells the listeners. It is false for what was known already.
func (t *Tool) hear(it item, attempt int, fromFeed bool) (news bool) {
	e := Event{Kind: KindEvent, UserID: it.UserID, Hook: it.event, Attempt: attempt}
	t.mu.Lock()
	th := t.thread(it.UserID)
	if it.event == tract.EventCreateUser {
		th.Name, th.ThirdParty, th.Platform = it.UserName, it.ThirdParty, it.platform()
		t.mu.Unlock()
		e.Kind = KindUser
		t.emit(e)
		return true
	}
	fresh := th.seqs.see(it.facts.Seq)
	if fresh {
		e.Entry = it.entry(t.cfg.Now())
		e.Entry.CaughtUp = fromFeed
		th.note(e.Entry)
		th.apply(it, t.cfg.ReceiverID)
		if fromFeed {
			t.stats.CaughtUp++
		}
	}
	t.watchGap(th)
	t.watchSilence(th)
	t.mu.Unlock()
	if !fresh {
		return false // the feed was quicker than the hook; both say the same
	}
	if it.event == tract.EventMessage {
		e.Kind = KindMessage
	}
	t.emit(e)
	return true
}

// watchGap gives a missing number time to arrive by another hook, between which
// the hub promises no order. It is called with the lock held.
func (t *Tool) watchGap(th *thread) {
	if th.seqs.missing() == 0 {
		if th.gap != nil {
			th.gap.Stop()
			th.gap = nil
		}
		return
	}
	if th.gap == nil {
		user := th.UserID
		th.gap = time.AfterFunc(t.cfg.GapGrace, func() {
			t.later(user, "catch up", func(ctx context.Context) error { return t.closeGap(ctx, user) })
		})
	}
}

// closeGap fetches what is still missing after the grace.
func (t *Tool) closeGap(ctx context.Context, user string) error {
	t.mu.Lock()
	th := t.thread(user)
	th.gap = nil
	last, top, missing := th.seqs.last, th.seqs.highest(), th.seqs.missing()
	if missing > 0 {
		t.stats.Gaps++
	}
	t.mu.Unlock()
	if missing == 0 {
		return nil
	}
	t.log.WarnContext(ctx, "delivery numbers missing", "after_seq", last, "highest_seq", top, "missing", missing)
	t.emit(Event{Kind: KindGap, UserID: user, Note: fmt.Sprintf("%d missing between %d and %d", missing, last, top)})
	_, err := t.catchUp(ctx, user, top)
	return err
}

// CatchUp asks the feed for everything after the last number that was heard
// without a gap, and says how many entries were new. Rules do not act on them:
// a user should not get an answer to what was said long ago.
func (t *Tool) CatchUp(ctx context.Context, user string) (int, error) {
	return t.catchUp(ctx, user, 0)
}

// catchUp stops at number upTo, or at the end of the feed if that is 0. What is
// missing below the place it got to is lost for good and is said to be.
func (t *Tool) catchUp(ctx context.Context, user string, upTo int64) (int, error) {
	t.mu.Lock()
	reached := t.thread(user).seqs.last
	t.mu.Unlock()
	news := 0
	for upTo == 0 || reached < upTo {
		items, next, err := t.hub.feed(ctx, user, reached)
		if err != nil {
			return news, err
		}
		for _, it := range items {
			if (upTo == 0 || it.facts.Seq <= upTo) && t.hear(it, 0, true) {
				news++
			}
		}
		if len(items) == 0 || next <= reached {
			break
		}
		reached = next
	}
	if upTo > 0 {
		reached = upTo // the page may have gone further, but that was left out
	}
	t.giveUp(user, reached)
	return news, nil
}

// giveUp stops waiting for the numbers up to n that have not come.
func (t *Tool) giveUp(user string, n int64) {
	t.mu.Lock()
	th := t.thread(user)
	lost := th.seqs.settle(n)
	t.stats.Lost += int(lost)
	t.watchGap(th)
	t.mu.Unlock()
	if lost > 0 {
		t.emit(Event{Kind: KindLost, UserID: user, Note: fmt.Sprintf("%d numbers up to %d are not in the feed", lost, n)})
	}
}

// feed gets one page of what the tool was or should have been sent.
func (h *hub) feed(ctx context.Context, user string, after int64) ([]item, int64, error) {
	query := url.Values{"user_id": {user}, "after_seq": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(feedPage)}}
	var page struct {
		Items []struct {
			Seq         int64           `json:"delivery_seq"`
			Category    string          `json:"category"`
			Subcategory string          `json:"subcategory"`
			Payload     json.RawMessage `json:"payload"`
		} `json:"items"`
		NextAfterSeq int64 `json:"next_after_seq"`
	}
	if err := h.call(ctx, http.MethodGet, "/tract/feed/?"+query.Encode(), nil, &page); err != nil {
		return nil, 0, err
	}
	var out []item
	for _, raw := range page.Items {
		it, err := decode(tract.Event(raw.Category+"/"+raw.Subcategory), raw.Payload)
		if err != nil {
			return nil, 0, fmt.Errorf("feed item %d: %w", raw.Seq, err)
		}
		it.UserID, it.facts.Seq = user, raw.Seq
		out = append(out, it)
	}
	return out, page.NextAfterSeq, nil
}
