package hsl

import "strings"

// Choice is something the user may pick to say.
type Choice struct {
	Caption string // what is on the button
	Message string // what then appears as the user's message
	// GogoMessage is what the receiver gets; where the element gives none, Message.
	GogoMessage string
}

// Choices lists, in order, the quick replies of a text, the text buttons of a
// BUTTON, and those of all cards of a CAROUSEL. Buttons that do something else,
// such as opening a link, are no choices.
func (e Element) Choices() []Choice {
	var list []actionable
	// Raw passed these very checks, so that there is no error to handle.
	switch e.Type {
	case TypeText:
		var x envelope[*textData]
		if decode(e.Raw, &x) == nil && x.Data != nil {
			list = all(x.Data.QuickReplies)
		}
	case TypeButton:
		var x envelope[*buttonData]
		if decode(e.Raw, &x) == nil && x.Data != nil {
			list = all(x.Data.Items)
		}
	case TypeCarousel:
		var x envelope[*carouselData]
		if decode(e.Raw, &x) == nil && x.Data != nil {
			for _, c := range all(x.Data.Items) {
				list = append(append(list, all(c.Actionables)...), all(c.Actionable)...)
			}
		}
	}
	var choices []Choice
	for _, a := range list {
		if a.says() {
			choices = append(choices, a.choice())
		}
	}
	return choices
}

// MayOffer is false of a body that surely has no choices, without parsing it.
func MayOffer(body string) bool {
	return strings.Contains(body, "quick_replies") || strings.Contains(body, "items") || strings.Contains(body, `\u`)
}

// says reports whether choosing a sends a text.
func (a actionable) says() bool {
	switch str(a.Type) {
	case "", "TEXT_ONLY", "TEXT":
		uri := str(a.URI)
		return uri == "" || uri == "LAUNCH_CHANNEL" // one of the samples has the latter
	}
	return false
}

func (a actionable) choice() Choice {
	c := Choice{Caption: str(a.Caption)}
	if a.Payload != nil {
		c.Message, c.GogoMessage = str(a.Payload.Message), str(a.Payload.GogoMessage)
	}
	if c.Message == "" {
		c.Message = c.Caption
	}
	if c.GogoMessage == "" {
		c.GogoMessage = c.Message
	}
	return c
}

func str(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func all[T any](list *[]T) []T {
	if list == nil {
		return nil
	}
	return *list
}
