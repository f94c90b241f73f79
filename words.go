package tract

import "strings"

// ReceiverID names a tool that can hold a thread: IVA, SAC or the id that a
// client gave to an external chat tool.
type ReceiverID string

// The two receivers that are part of the hub. They are the primary receivers.
const (
	IVA ReceiverID = "iva"
	SAC ReceiverID = "sac"
)

// Primary says whether the receiver may take and give control of any thread.
func (r ReceiverID) Primary() bool { return r == IVA || r == SAC }

// Type is the receiver's kind as the listeners answer gives it.
func (r ReceiverID) Type() string {
	if r.Primary() {
		return string(r)
	}
	return "ect"
}

// Sender says in whose name a message was written.
type Sender string

// The senders of a message.
const (
	SenderCEU    Sender = "ceu"    // the chat end user
	SenderIVA    Sender = "iva"    // the bot
	SenderSystem Sender = "haptik" // the hub itself; the name is the original's
	SenderECT    Sender = "ect"    // an external chat tool
	SenderAEU    Sender = "aeu"    // a human agent, here or in a tool
)

// Message types.
const (
	TypeText     = 0
	TypeImage    = 1
	TypeDocument = 52
)

// Device platforms: the numbers are the original's.
var platformNames = map[int]string{
	2: "Android", 3: "Facebook", 4: "Jio", 5: "WebSDK", 6: "iOS", 9: "Voice", 11: "Kookoo", 12: "Phonecom", 13: "Webhook",
	14: "WhatsApp", 15: "Jio Connector", 16: "IVR", 17: "ISON", 18: "JIO IVR", 19: "SMS Gupshup", 20: "Netcore",
	21: "Google Business Messages", 22: "Sunshine Zendesk",
}

// PlatformWebhook is the device platform of the webhook channel.
const PlatformWebhook = 13

// PlatformName is the name of a device platform, or "" when the number is unknown.
func PlatformName(id int) string { return platformNames[id] }

// TextOnly says whether a device platform shows, or reads out, nothing but text:
// voice and SMS.
func TextOnly(platform int) bool {
	switch platform {
	case 9, 11, 12, 16, 17, 18, 19:
		return true
	}
	return false
}

// Event is an event's canonical name, "category/subcategory".
type Event string

// The events. The comment says who raises them.
const (
	EventBot            Event = "conversation_state/bot"              // hub
	EventWaiting        Event = "conversation_state/waiting"          // hub: a human must step in
	EventPinned         Event = "conversation_state/pinned"           // hub: an agent was assigned
	EventComplete       Event = "conversation_state/complete"         // hub and tools
	EventWaitingForUser Event = "conversation_state/waiting_for_user" // log only
	EventMessage        Event = "message/receive"                     // hub
	EventReceived       Event = "aeu_events/received"                 // tools
	EventAllocated      Event = "aeu_events/allocated"                // tools
	EventUserTimeout    Event = "aeu_events/user_timeout"             // tools
	EventCreateUser     Event = "user_events/create_user"             // hub
	EventPassed         Event = "thread_control/passed"
	EventTaken          Event = "thread_control/taken"
	EventReleased       Event = "thread_control/released"
	EventReset          Event = "thread_control/reset"
	EventFailedOver     Event = "thread_control/failed_over"
	EventRequested      Event = "thread_control/requested"
	EventOffered        Event = "thread_control/offered"
	EventAccepted       Event = "thread_control/accepted"
	EventDeclined       Event = "thread_control/declined"
	EventExpired        Event = "thread_control/expired"
)

// Direction says which way an event name travels.
type Direction string

// The directions.
const (
	ToTool   Direction = "to_tool"
	FromTool Direction = "from_tool"
	BothWays Direction = "both"
)

// EventName is one name under which an event is registered or sent.
type EventName struct {
	Category, Subcategory string
	Event                 Event
	Direction             Direction
}

// eventNames lists every accepted name; several may stand for one event.
var eventNames = []EventName{
	{"conversation_state", "bot", EventBot, ToTool},
	{"collection_state", "bot", EventBot, ToTool},
	{"conversation_state", "waiting", EventWaiting, BothWays},
	{"conversation_state", "incomplete", EventWaiting, ToTool},
	{"collection_state", "incomplete", EventWaiting, ToTool},
	{"conversation_state", "pinned", EventPinned, ToTool},
	{"conversation_state", "complete", EventComplete, BothWays},
	{"collection_state", "complete", EventComplete, BothWays},
	{"message", "receive", EventMessage, ToTool},
	{"aeu_events", "received", EventReceived, FromTool},
	{"aeu_events", "allocated", EventAllocated, FromTool},
	{"message", "allocated", EventAllocated, FromTool},
	{"aeu_events", "user_timeout", EventUserTimeout, FromTool},
	{"message", "user_timeout", EventUserTimeout, FromTool},
	{"user_events", "create_user", EventCreateUser, ToTool},
	{"thread_control", "passed", EventPassed, ToTool},
	{"thread_control", "taken", EventTaken, ToTool},
	{"thread_control", "released", EventReleased, ToTool},
	{"thread_control", "reset", EventReset, ToTool},
	{"thread_control", "failed_over", EventFailedOver, ToTool},
	{"thread_control", "requested", EventRequested, ToTool},
	{"thread_control", "offered", EventOffered, ToTool},
	{"thread_control", "accepted", EventAccepted, ToTool},
	{"thread_control", "declined", EventDeclined, ToTool},
	{"thread_control", "expired", EventExpired, ToTool},
}

// EventNames returns every accepted event name, in a stable order.
func EventNames() []EventName { return append([]EventName(nil), eventNames...) }

// HookEvent finds the event that a tool may register a hook for.
func HookEvent(category, subcategory string) (Event, bool) {
	return findEvent(category, subcategory, FromTool)
}

// ToolEvent finds the event that a tool may send.
func ToolEvent(category, subcategory string) (Event, bool) {
	return findEvent(category, subcategory, ToTool)
}

func findEvent(category, subcategory string, not Direction) (Event, bool) {
	for _, n := range eventNames {
		if n.Category == category && n.Subcategory == subcategory && n.Direction != not {
			return n.Event, true
		}
	}
	return "", false
}

// Names joins the accepted names of one direction for an error text.
func Names(d Direction) string {
	var out []string
	for _, n := range eventNames {
		if n.Direction == d || n.Direction == BothWays {
			out = append(out, n.Category+"/"+n.Subcategory)
		}
	}
	return strings.Join(out, ", ")
}

// Control says whether the event announces a change (or a wish to change) of ownership.
func (e Event) Control() bool { return strings.HasPrefix(string(e), "thread_control/") }
