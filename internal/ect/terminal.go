package ect

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tract"
)

const help = `Plain text answers the current user. Commands:
  /users              who has written          /use N              whom to answer
  /pass R [reason]    give the thread to R     /take [reason]      take it (needs permission)
  /offer R [reason]   offer it to R            /request [reason]   ask its owner for it
  /accept, /decline   what was offered to you  /release [reason]   give it to the default receiver
  /received           acknowledge the chat     /allocate NAME      give it to an agent
  /waiting            wait for the user        /complete           end the conversation
  /who                the possible receivers   /feed               catch up on what was missed
  /fail 0.5           refuse half of the calls /delay 2s           answer late
  /down               drop all connections     /up                 be well again, hooks enabled
  /stats              counts                   /help   /quit
`

var errQuit = errors.New("quit")

// terminal is one session at the keyboard.
type terminal struct {
	t       *Tool
	printer *printer

	mu   sync.Mutex // guards user
	user string     // who is answered; "" until somebody writes
}

// Terminal prints what happens at the tool, one line each, and carries out what
// is typed, until ctx ends, in ends or /quit. It does not run the tool. A read of
// in cannot be interrupted: the line reader ends with the next line, or with in.
func Terminal(ctx context.Context, t *Tool, in io.Reader, out io.Writer) error {
	term := &terminal{t: t, printer: &printer{out: out, colour: t.cfg.Colour}}
	for _, th := range t.Threads() {
		term.meet(th.UserID)
	}
	stop := t.Subscribe(func(e Event) {
		term.meet(e.UserID)
		term.printer.event(e)
	})
	defer stop()
	term.printer.line("%s is on the line to %s. /help lists the commands.", t.ID(), t.cfg.Hub)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan string)
	ended := make(chan error, 1)
	var reader errgroup.Group // not waited for: its Read may outlast the session
	reader.Go(func() error {
		ended <- readLines(ctx, in, lines)
		return nil
	})
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case line := <-lines:
			err := term.do(ctx, line)
			if errors.Is(err, errQuit) {
				return nil
			}
			if err != nil {
				term.printer.failure(err)
			}
		}
	}
}

// readLines hands on each line of in. Its end is no error.
func readLines(ctx context.Context, in io.Reader, lines chan<- string) error {
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, maxHookBody)
	for scanner.Scan() {
		select {
		case lines <- strings.TrimSpace(scanner.Text()):
		case <-ctx.Done():
			return nil
		}
	}
	return scanner.Err()
}

// meet makes the first user anybody hears of the current one. Later ones do not
// take over: an answer must never go to somebody else by accident.
func (s *terminal) meet(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user == "" {
		s.user = user
	}
}

func (s *terminal) current() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.user == "" {
		return "", errors.New("nobody has written yet")
	}
	return s.user, nil
}

// do carries out one line.
func (s *terminal) do(ctx context.Context, line string) error {
	if line == "" {
		return nil
	}
	if !strings.HasPrefix(line, "/") {
		user, err := s.current()
		if err != nil {
			return err
		}
		_, err = s.t.Send(ctx, user, line, "")
		return err
	}
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "/quit", "/exit":
		return errQuit
	case "/help":
		s.printer.text(help)
		return nil
	case "/users":
		return s.users()
	case "/use":
		return s.use(rest)
	case "/stats":
		s.printer.line("%+v", s.t.Stats())
		return nil
	case "/fail", "/delay", "/down", "/up":
		return s.fault(ctx, word, rest)
	}
	user, err := s.current()
	if err != nil {
		return err
	}
	return s.act(ctx, word, user, rest)
}

// act carries out a command that concerns the current user. What the hub does
// in return is printed by the event it causes.
func (s *terminal) act(ctx context.Context, word, user, rest string) error {
	receiver, reason, _ := strings.Cut(rest, " ")
	var err error
	switch word {
	case "/pass", "/offer":
		if receiver == "" {
			return fmt.Errorf("%s needs a receiver; /who lists them", word)
		}
		give := s.t.Pass
		if word == "/offer" {
			give = s.t.Offer
		}
		_, err = give(ctx, user, receiver, strings.TrimSpace(reason))
	case "/take":
		_, err = s.t.Take(ctx, user, "", rest)
	case "/request":
		_, err = s.t.Request(ctx, user, "", rest)
	case "/accept":
		_, err = s.t.Accept(ctx, user, "", rest)
	case "/decline":
		_, err = s.t.Decline(ctx, user, "", rest)
	case "/release":
		_, err = s.t.Release(ctx, user, "", rest)
	case "/received":
		err = s.t.Received(ctx, user)
	case "/allocate":
		err = s.t.Allocate(ctx, user, rest)
	case "/waiting":
		err = s.t.Waiting(ctx, user)
	case "/complete":
		err = s.t.Complete(ctx, user)
	case "/who":
		err = s.who(ctx, user)
	case "/feed":
		var n int
		if n, err = s.t.CatchUp(ctx, user); err == nil {
			s.printer.line("%d new from the feed", n)
		}
	default:
		err = fmt.Errorf("there is no command %s; /help lists them", word)
	}
	return err
}

func (s *terminal) users() error {
	threads := s.t.Threads()
	if len(threads) == 0 {
		return errors.New("nobody has written yet")
	}
	now, err := s.current()
	for _, th := range threads {
		mark := " "
		if err == nil && th.UserID == now {
			mark = "*"
		}
		s.printer.line("%s %2d  %-20s conversation %-3s %-16s owner %s (epoch %d)", mark, th.Number, name(th.Name), th.Conversation, th.State, th.Owner, th.Epoch)
	}
	return nil
}

func (s *terminal) use(rest string) error {
	n, err := strconv.Atoi(rest)
	threads := s.t.Threads()
	if err != nil || n < 1 || n > len(threads) {
		return errors.New("/use needs a number from /users")
	}
	th := threads[n-1]
	s.mu.Lock()
	s.user = th.UserID
	s.mu.Unlock()
	s.printer.line("now answering %s", name(th.Name))
	return nil
}

func (s *terminal) who(ctx context.Context, user string) error {
	list, err := s.t.Listeners(ctx, user)
	for _, l := range list {
		var notes []string
		for note, is := range map[string]bool{"owns the thread": l.Active, "default": l.IsDefault, "primary": l.IsPrimary, "that is you": l.Self, "not available": !l.Available} {
			if is {
				notes = append(notes, note)
			}
		}
		s.printer.line("%-16s %-24s %s", l.ID, l.Name, joinSorted(notes))
	}
	return err
}

// fault changes one thing that is wrong on purpose and leaves the others.
func (s *terminal) fault(ctx context.Context, word, rest string) error {
	f := s.t.Faults()
	switch word {
	case "/fail":
		share, err := strconv.ParseFloat(rest, 64)
		if err != nil || !(share >= 0 && share <= 1) {
			return errors.New("/fail needs a share from 0 to 1")
		}
		f.Fail = share
	case "/delay":
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return errors.New("/delay needs a duration such as 2s; 0s ends it")
		}
		f.Delay = d
	case "/down":
		f.Down = true
	case "/up":
		f = Faults{}
	}
	s.t.SetFaults(f)
	s.printer.line("faults: fail %g, delay %s, down %t", f.Fail, f.Delay, f.Down)
	if word != "/up" {
		return nil
	}
	n, err := s.t.EnableHooks(ctx)
	if n > 0 {
		s.printer.line("%d hooks enabled again", n)
	}
	return err
}

// failure prints what did not work, with the hub's code where it refused.
func (p *printer) failure(err error) {
	var no *tract.Error
	if !errors.As(err, &no) {
		p.paint(red, "%v", err)
		return
	}
	more := ""
	if owner, _ := no.Fields["thread_owner"].(string); owner != "" {
		more = " (owner " + owner + ")"
	}
	p.paint(red, "%s: %v%s", no.Code, err, more)
}
