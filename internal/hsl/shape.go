package hsl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"tract"
	"tract/internal/strictjson"
)

// The published shapes. What samples leave out is optional here and may be
// null; what they write in several ways is taken in all of them.

type envelope[D any] struct {
	Text *string `json:"text"`
	Type string  `json:"type"`
	Data D       `json:"data"`
}

type textData struct {
	QuickReplies *[]actionable `json:"quick_replies"`
}

type buttonData struct {
	Items *[]actionable `json:"items"`
}

type carouselData struct {
	AspectRatio number  `json:"image_aspect_ratio"`
	Width       *string `json:"width"`
	Items       *[]card `json:"items"`
}

type card struct {
	Thumbnail *struct {
		Image *string `json:"image"`
		Type  *string `json:"type"`
	} `json:"thumbnail"`
	Title       *string       `json:"title"`
	SubTitle    *string       `json:"sub_title"`
	Description *string       `json:"description"`
	Actionables *[]actionable `json:"actionables"`
	Actionable  *[]actionable `json:"actionable"` // the name in the property table
	Mini        *actionable   `json:"mini_actionable"`
}

type actionable struct {
	Caption          *string  `json:"actionable_text"`
	LocationRequired flag     `json:"location_required"`
	IsDefault        flag     `json:"is_default"`
	URI              *string  `json:"uri"`
	Type             *string  `json:"type"` // missing: TEXT_ONLY
	Emoji            *string  `json:"emoji"`
	Payload          *payload `json:"payload"`
}

type payload struct {
	Message     *string            `json:"message"`
	GogoMessage *string            `json:"gogo_message"`
	URL         *string            `json:"url"`
	Link        *string            `json:"link"`
	Title       *string            `json:"title"`
	SubTitle    *string            `json:"sub_title"`
	Description *string            `json:"description"`
	Callback    *string            `json:"callback_link"`
	Image       *string            `json:"image"`
	Images      *[]json.RawMessage `json:"images"`
	Items       *[]card            `json:"items"`
}

// flag is 0 or 1, also as a string or a truth value.
type flag struct{}

func (flag) UnmarshalJSON(b []byte) error {
	switch strings.Trim(string(b), `"`) {
	case "0", "1", "true", "false", "null", "":
		return nil
	}
	return errors.New("must be 0 or 1")
}

// number is a number, also as a string.
type number struct{}

func (number) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "" || s == "null" || json.Valid([]byte(s)) && strings.IndexByte("-0123456789", s[0]) >= 0 {
		return nil
	}
	return errors.New("must be a number")
}

// Parse reads one element strictly. A known type must have its published
// shape; of an unknown one only the envelope is looked at. The error names the
// place, such as data.items[2].payload.url.
func Parse(raw []byte) (Element, error) {
	var e envelope[*map[string]any]
	if err := decode(raw, &e); err != nil {
		return Element{}, err
	}
	if e.Type == "" {
		return Element{}, invalid("type", "must name the type of the element")
	}
	if err := checkShape(raw, e.Type, e.Text != nil); err != nil {
		return Element{}, err
	}
	if e.Data != nil {
		if path, why := findUnsafeURL("", *e.Data); why != "" {
			return Element{}, tract.Invalid(CodeUnsafeURL, "message_body: data%s %s", shorten(path), why)
		}
	}
	out := Element{Type: e.Type, Raw: bytes.Clone(raw)}
	if e.Text != nil {
		out.Text = *e.Text
	}
	return out, nil
}

func checkShape(raw []byte, kind string, hasText bool) error {
	if !hasText && (kind == TypeText || kind == TypeButton || kind == TypeSystem) {
		return invalid("text", "is missing")
	}
	switch kind {
	case TypeText:
		var e envelope[*textData]
		if err := decode(raw, &e); err != nil || e.Data == nil {
			return err
		}
		return checkActionables("data.quick_replies", e.Data.QuickReplies, true)
	case TypeButton:
		var e envelope[*buttonData]
		if err := decode(raw, &e); err != nil {
			return err
		}
		if e.Data == nil || e.Data.Items == nil {
			return invalid("data.items", "is missing")
		}
		return checkActionables("data.items", e.Data.Items, false)
	case TypeCarousel:
		var e envelope[*carouselData]
		if err := decode(raw, &e); err != nil {
			return err
		}
		if e.Data == nil || e.Data.Items == nil {
			return invalid("data.items", "is missing")
		}
		return checkCards("data.items", *e.Data.Items)
	}
	return nil
}

func checkCards(path string, cards []card) error {
	for i, c := range cards {
		at := fmt.Sprintf("%s[%d]", path, i)
		if err := checkActionables(at+".actionables", c.Actionables, false); err != nil {
			return err
		}
		if err := checkActionables(at+".actionable", c.Actionable, false); err != nil {
			return err
		}
		if c.Mini != nil {
			if err := c.Mini.checkPayload(at + ".mini_actionable"); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkActionables(path string, list *[]actionable, quickReplies bool) error {
	if list == nil {
		return nil
	}
	for i, a := range *list {
		at := fmt.Sprintf("%s[%d]", path, i)
		if a.Caption == nil {
			return invalid(at+".actionable_text", "is missing")
		}
		if quickReplies && (a.Payload == nil || a.Payload.Message == nil) {
			return invalid(at+".payload.message", "is missing")
		}
		if err := a.checkPayload(at); err != nil {
			return err
		}
	}
	return nil
}

// checkPayload follows the cards that a button may open.
func (a actionable) checkPayload(path string) error {
	if a.Payload == nil || a.Payload.Items == nil {
		return nil
	}
	return checkCards(path+".payload.items", *a.Payload.Items)
}

// findUnsafeURL looks at every string below v, the value of the named member,
// that stands where a URL does, and says what is wrong with the first bad one.
// It does not go by the shapes, since what they do not name may reach the
// user's screen too. The path is put together on the way back only: a hostile
// element could make it long.
func findUnsafeURL(name string, v any) (path, why string) {
	switch v := v.(type) {
	case string:
		if isURLMember(name) && v != "" {
			return "", unsafeURL(v)
		}
	case []any:
		for i, e := range v {
			if path, why = findUnsafeURL(name, e); why != "" {
				return fmt.Sprintf("[%d]%s", i, path), why
			}
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if path, why = findUnsafeURL(k, v[k]); why != "" {
				return "." + k + path, why
			}
		}
	}
	return "", ""
}

func isURLMember(name string) bool {
	switch strings.ToLower(name) {
	case "url", "link", "image", "images", "callback_link", "profile_image", "menu_url":
		return true
	}
	return false
}

// unsafeURL says why s may not be offered to a user, "" if it may.
func unsafeURL(s string) string {
	if len(s) > 2048 {
		return "must have at most 2048 bytes"
	}
	u, err := url.Parse(s) // refuses control characters; gives the scheme in lower case
	if err != nil {
		return "must be a URL"
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return "must name a host"
		}
	case "tel", "mailto":
	default:
		return "must begin with http:, https:, tel: or mailto:"
	}
	return ""
}

// shorten keeps the end of a path that the sender made long.
func shorten(path string) string {
	if len(path) <= 300 {
		return path
	}
	return "…" + strings.ToValidUTF8(path[len(path)-300:], "")
}

func invalid(path, what string) error {
	return tract.Invalid(CodeInvalid, "message_body: %s %s", path, what)
}

// decode fills v; whatever is wrong is one and the same fault to the sender,
// told apart by the text.
func decode(raw []byte, v any) error {
	err := strictjson.Decode(raw, v)
	if e, ok := errors.AsType[*tract.Error](err); ok {
		return tract.Invalid(CodeInvalid, "message_body: %s", strings.TrimPrefix(e.Msg, "field "))
	}
	return err
}
