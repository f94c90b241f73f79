package tract

import "time"

// State is where a conversation stands.
type State string

// The states. StateNone is a thread before its first conversation.
const (
	StateNone           State = ""
	StateBot            State = "bot"              // the IVA owns it
	StateQueued         State = "queued"           // waits for a human: in a queue, or at a tool that has not allocated it
	StateAssigned       State = "assigned"         // an agent has it
	StateWaitingForUser State = "waiting_for_user" // the agent waits for the user
	StateComplete       State = "complete"
)

// Open says whether the conversation is going on.
func (s State) Open() bool { return s != StateNone && s != StateComplete }

// Reasons a conversation is completed for.
const (
	ReasonAgent         = "agent"
	ReasonTool          = "tool"
	ReasonBot           = "bot"
	ReasonAuto          = "auto"
	ReasonUserTimeout   = "user_timeout"
	ReasonTransferToIVA = "transfer_to_iva"
	ReasonOperator      = "operator"
)

// Reasons a thread is handed over for.
const (
	ReasonBotBreak  = "bot_break"
	ReasonUserAsked = "user_asked"
	ReasonAPI       = "api"
	ReasonPass      = "pass"
	ReasonFailover  = "failover"
)

// OwnReason says whether a reason is one of the hub's own words: anything else is
// what somebody wrote.
func OwnReason(r string) bool {
	switch r {
	case ReasonAgent, ReasonTool, ReasonBot, ReasonAuto, ReasonUserTimeout, ReasonTransferToIVA, ReasonOperator,
		ReasonBotBreak, ReasonUserAsked, ReasonAPI, ReasonPass, ReasonFailover,
		"complete", "new_conversation", "user_replied", "no_default_receiver", "default_receiver_found", "reassigned", "timeout", "superseded", "idle", "ack_timeout", "hook_disabled", "tool_removed":
		return true
	}
	return Op(r).Valid()
}

// Agent is the person shown to the user and in transcripts.
type Agent struct {
	Name         string `json:"name"`
	Email        string `json:"email,omitempty"`
	ProfileImage string `json:"profile_image,omitempty"`
}

// Pending is an open offer or request. At most one stands.
type Pending struct {
	Type      Op         `json:"type"` // offer | request
	Receiver  ReceiverID `json:"receiver"`
	By        ReceiverID `json:"by"`
	ExpiresAt time.Time  `json:"expires_at"`
	Team      string     `json:"team,omitempty"`
}

// Countdown is a move to another receiver that happens later unless something
// else happens first.
type Countdown struct {
	DueAt time.Time  `json:"due_at"`
	To    ReceiverID `json:"to"`
	Team  string     `json:"team"`
}

// Thread is the endless chat of one user with one business: the state that the
// rules decide on; its JSON leaves out what the store keeps in columns. Times are
// UTC with microseconds; the zero time means "not set".
type Thread struct {
	Owner        ReceiverID `json:"-"` // "" only before the first message or while no default receiver exists
	Epoch        int64      `json:"-"` // raised by one with each change of owner
	Conversation int        `json:"-"` // number of the present or last conversation; 0 before the first
	State        State      `json:"-"`
	Reason       string     `json:"reason,omitzero"` // why it was completed
	Team         string     `json:"team,omitzero"`
	Agent        Agent      `json:"agent,omitzero"` // who has it, while assigned or waiting for the user
	Pending      *Pending   `json:"pending,omitzero"`
	Countdown    *Countdown `json:"countdown,omitzero"`

	LastUserAt  time.Time `json:"last_user_at,omitzero"`  // last message of the user
	LastOwnerAt time.Time `json:"last_owner_at,omitzero"` // last sign of life of the owner in this thread
	LastTalkAt  time.Time `json:"last_talk_at,omitzero"`  // last message of anyone but the system

	UnansweredSince time.Time `json:"unanswered_since,omitzero"` // when the oldest user message was written that nobody has answered
	GainedAt        time.Time `json:"gained_at,omitzero"`        // when the owner got the thread
	Answered        bool      `json:"answered,omitzero"`         // whether the owner has written since

	// Timers are durable: each due time is mirrored by a row. They are not
	// moved by activity; when one fires the rules look again.
	AckDue     time.Time `json:"ack_due,omitzero"`
	AutoDue    time.Time `json:"auto_due,omitzero"`
	ReleaseDue time.Time `json:"release_due,omitzero"`

	FailoverSaid bool      `json:"failover_said,omitzero"` // the user was told of a failover in this conversation
	ChangesSince time.Time `json:"changes_since,omitzero"` // start of the minute in which Changes are counted
	Changes      int       `json:"changes,omitzero"`
}

// MessageID numbers the entries of the log: unique, increasing, below 2^53.
type MessageID int64

// Op is a thread control operation.
type Op string

// The operations a receiver may ask for, and those the hub does by itself.
const (
	OpPass    Op = "pass"
	OpTake    Op = "take"
	OpRequest Op = "request"
	OpOffer   Op = "offer"
	OpAccept  Op = "accept"
	OpDecline Op = "decline"
	OpRelease Op = "release"

	OpBegin    Op = "begin"    // a conversation started with the default receiver
	OpReset    Op = "reset"    // an operator, or completion
	OpFailover Op = "failover" // the owner was dead
	OpExpire   Op = "expire"   // an offer or request ran out
)

// Valid says whether a receiver may ask for the operation.
func (o Op) Valid() bool {
	switch o {
	case OpPass, OpTake, OpRequest, OpOffer, OpAccept, OpDecline, OpRelease:
		return true
	}
	return false
}

// TimerKind names a thread's timer.
type TimerKind string

// The timers.
const (
	TimerAck       TimerKind = "ack"       // the new owner has not acknowledged
	TimerPending   TimerKind = "pending"   // an offer or request expires
	TimerCountdown TimerKind = "countdown" // a delayed move
	TimerAuto      TimerKind = "auto"      // silence completes
	TimerRelease   TimerKind = "release"   // a silent tool gives the thread back
)

// Timers gives the due time of every armed timer.
func (t *Thread) Timers() map[TimerKind]time.Time {
	out := map[TimerKind]time.Time{}
	set := func(k TimerKind, at time.Time) {
		if !at.IsZero() {
			out[k] = at
		}
	}
	set(TimerAck, t.AckDue)
	set(TimerAuto, t.AutoDue)
	set(TimerRelease, t.ReleaseDue)
	if t.Pending != nil {
		set(TimerPending, t.Pending.ExpiresAt)
	}
	if t.Countdown != nil {
		set(TimerCountdown, t.Countdown.DueAt)
	}
	return out
}

// Entry is one line of a thread's log as the rules write it: a message when
// Event is "", else an event.
type Entry struct {
	Conversation int
	By           ReceiverID // the tool it came from; "" for the user and the hub itself

	// of a message
	Sender      Sender
	Agent       Agent
	Body        string // HSL, serialised
	Text        string // instead of Body: plain text of the hub's own
	MessageType int

	// of an event
	Event    Event
	Op       Op
	Reason   string
	From, To ReceiverID
	Team     string
	Metadata map[string]any

	// Owner and Epoch are those a receiver is told: for a message, before its
	// own effect; for an event, what it announces.
	Owner   ReceiverID
	Epoch   int64
	Pending ReceiverID // who has an open offer
}

// LedgerEntry records one operation, granted or refused.
type LedgerEntry struct {
	Op        Op
	Requester ReceiverID
	From, To  ReceiverID
	Granted   bool
	Code      string // of the refusal
	Reason    string
	Metadata  map[string]any
	Epoch     int64 // after the operation
}

// Outcome is what a command does. A refusal comes beside it as an error; then
// the thread and the log are as before and only Ledger may hold an entry.
type Outcome struct {
	Thread  Thread
	Entries []Entry
	Ledger  []LedgerEntry

	// BotTurn is the index of the user message that the bot has to answer, or -1.
	BotTurn int
	// HandedTo is the receiver that gained the thread and may need its history.
	HandedTo ReceiverID
	// FirstAnswer says that the owner wrote for the first time since it gained the thread.
	FirstAnswer bool
	// Orphaned says that the message has no receiver because no default exists.
	Orphaned bool
	// Alarm is set when something needs an operator's eyes.
	Alarm string
}

// Command is something asked of a thread. The types below are all there are.
type Command interface{ command() }

// UserMessage is a message of the chat end user.
type UserMessage struct {
	Body        string
	MessageType int
	AgentFree   bool // the agent who waited for the user can take the chat at once
}

// Send is a message of a receiver, or of the system, to the user.
type Send struct {
	By          ReceiverID
	Sender      Sender
	Agent       Agent
	Body        string
	MessageType int
	Epoch       int64    // what the sender believes; 0 = does not say
	Then        *Control // an operation that goes with the message: both or none
}

// RaiseEvent is an event that a receiver raises.
type RaiseEvent struct {
	By       ReceiverID
	Event    Event // complete, waiting, received, allocated, user_timeout
	Agent    Agent // of allocated
	Metadata map[string]any
	Reason   string // of complete; "" takes the receiver's own
}

// Control is a thread control operation.
type Control struct {
	Op       Op
	By       ReceiverID
	To       ReceiverID
	Reason   string
	Team     string
	Metadata map[string]any
	Epoch    int64 // what the requester believes; 0 = does not say
	Force    bool  // pass to a receiver that is not available
}

// BotAnswer is what the IVA found for one user message. The bodies are sent in
// any case; with Handoff the thread is handed over after HandoverBody, or, where
// that is not possible, the user gets BreakBody.
type BotAnswer struct {
	Epoch        int64 // when the question was committed
	Conversation int   // in which it was asked; 0 = the present one
	Bodies       []string
	Mark         string // what the last of the bodies is; "" = an answer
	Handoff      string // reason to hand over (bot_break, user_asked); "" = the bodies are the answer
	HandoverBody string // HSL; "" = say nothing
	BreakBody    string // HSL; "" = say nothing
}

// MarkKey is where a message of the bot carries its mark, in Entry.Metadata.
// Marks stay in the log: the bot reads there how well it has understood so far.
const MarkKey = "mark"

// Marks of a BotAnswer.
const (
	MarkMisunderstood = "misunderstood" // it did not know what was meant, or asked
	MarkAside         = "aside"         // says nothing about that: small talk, a receipt
)

// MoveLater moves the conversation to another receiver after a delay.
type MoveLater struct {
	To    ReceiverID
	Team  string
	Delay time.Duration
}

// Reassign puts a chat of the desk into another team's queue.
type Reassign struct{ Team string }

// Close completes a conversation for an operator.
type Close struct{ Metadata map[string]any }

// Reset gives the thread back to the default receiver.
type Reset struct {
	Reason string // operator, tool_removed
}

// Failover moves the thread from a dead owner to the next in the list.
type Failover struct {
	From   ReceiverID // who is dead: does nothing when the owner is another by now
	Reason string
}

// Adopt hands a thread without a receiver to the default one, now that one
// exists.
type Adopt struct{}

// Fire is a timer that has come due.
type Fire struct {
	Timer TimerKind
	// Heard is for the acknowledgement timer: the owner answered a call since it
	// gained the thread, or there was nothing to call it for.
	Heard bool
}

func (UserMessage) command() {}
func (Send) command()        {}
func (RaiseEvent) command()  {}
func (Control) command()     {}
func (BotAnswer) command()   {}
func (MoveLater) command()   {}
func (Reassign) command()    {}
func (Close) command()       {}
func (Reset) command()       {}
func (Failover) command()    {}
func (Adopt) command()       {}
func (Fire) command()        {}
