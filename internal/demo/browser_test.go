package demo_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"tract/internal/demo"
	"tract/internal/tracttest"
)

// TestInBrowser drives the page as a visitor does and listens for what the
// browser complains about.
func TestInBrowser(t *testing.T) {
	path := tracttest.Browser(t)
	url := show(t, demo.Config{})
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1440, 900))
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	ctx, end := chromedp.NewExecAllocator(ctx, options...)
	defer end()
	ctx, closeTab := chromedp.NewContext(ctx)
	defer closeTab()

	var mu sync.Mutex // guards complaints
	var complaints []string
	messages := chromedp.Console(ctx)
	var listening sync.WaitGroup
	listening.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			mu.Lock()
			complaints = append(complaints, m.String()+" "+m.URL)
			mu.Unlock()
		}
	})
	seen := func(selector, text string) chromedp.Action[chromedp.Void] {
		return func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
			_, err := chromedp.Poll[bool](`[...document.querySelectorAll(`+quoted(selector)+`)].some((n) => n.textContent.includes(`+quoted(text)+`))`)(ctx, target)
			return chromedp.Void{}, err
		}
	}
	step := func(name string, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			mu.Lock()
			defer mu.Unlock()
			t.Fatalf("%s: %v\nthe browser said: %v", name, err, complaints)
		}
	}
	step("open the page", chromedp.Navigate(url), chromedp.WaitVisible(chromedp.CSS("#composer")), seen("#customer-name", " "))
	step("ask the bot", chromedp.SendKeys(chromedp.CSS("#chat-text"), "When are you open?\r"), seen("#chat .bot", "Monday to Saturday"), seen("#owner", "Bot"), seen("#guide .done h2", "Ask the bot"))
	step("a suggestion", chromedp.Click(chromedp.CSS("#chips button:nth-of-type(2)")), seen("#owner", "Northwind Desk"))
	step("markup stays text", chromedp.SendKeys(chromedp.CSS("#reply-desk-one"), "<img src=x onerror=alert(1)>\r"), seen("#chat .agent .bubble", "<img src=x"), seen(`[data-tool="desk-two"] .bubble`, "<img src=x"))
	step("what is not permitted is explained", chromedp.Click(chromedp.CSS(`[data-tool="desk-one"] [data-op="take"]`)), seen(`[data-tool="desk-one"] .refusal`, "no permission to take"))
	step("and still refused when tried", chromedp.Click(chromedp.CSS(`[data-tool="desk-one"] .refusal button`)), seen(`[data-tool="desk-one"] .refusal`, "Refused"), seen("#ledger", "not_supported"))
	step("take", chromedp.Click(chromedp.CSS(`[data-tool="desk-two"] [data-op="take"]`)), seen("#owner", "Harbor Chat"), seen(".card.owner h3", "Harbor Chat"))
	step("break it", chromedp.Click(chromedp.CSS(`[data-tool="desk-two"] .mode label:nth-of-type(2)`)), chromedp.SendKeys(chromedp.CSS("#chat-text"), "Hello?\r"), seen("#deliveries .retrying", "Hello?"), seen("#deliveries .attempt", "500"))
	step("mend it", chromedp.Click(chromedp.CSS(`[data-tool="desk-two"] .back`)), seen(`#deliveries .delivered[data-receiver="desk-two"] .about`, "Hello?"), seen("#guide .done h2", "Break a tool"))
	step("the ledger", chromedp.Click(chromedp.CSS("#tab-ledger")), chromedp.WaitVisible(chromedp.CSS("#ledger")), seen("#ledger .op", "take"))
	step("a new customer", chromedp.Click(chromedp.CSS("#renew")), seen("#owner", "nobody yet"), chromedp.WaitVisible(chromedp.CSS("#chat-empty")))

	closeTab()
	listening.Wait()
	if len(complaints) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(complaints, "\n"))
	}
}

// quoted is a JavaScript string.
func quoted(s string) string { return "`" + s + "`" }
