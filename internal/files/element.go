package files

import (
	"bytes"
	"encoding/json"
	"math"

	"tract"
	"tract/internal/hsl"
)

// fileData is what a file's message carries in data beside the published shape.
type fileData struct {
	URL      string `json:"url"`
	Name     string `json:"name"`
	Size     int64  `json:"size"`
	MimeType string `json:"mime_type"`
}

type image struct {
	AspectRatio float64 `json:"image_aspect_ratio"`
	Width       string  `json:"width"`
	Items       [1]card `json:"items"`
	fileData
}

type card struct {
	Thumbnail struct {
		Image string `json:"image"`
		Type  string `json:"type"`
	} `json:"thumbnail"`
	Title       string   `json:"title"`
	Actionables []button `json:"actionables"`
}

type document struct {
	Items [1]button `json:"items"`
	fileData
}

type button struct {
	Text             string         `json:"actionable_text"`
	LocationRequired bool           `json:"location_required"`
	IsDefault        int            `json:"is_default"`
	URI              string         `json:"uri"`
	Type             string         `json:"type"`
	Payload          map[string]any `json:"payload"`
}

// Element is the message of an upload under a link. It has the published shape
// of an image (a carousel of one item) or of a file to download (a button that
// opens it), so that tools that know nothing of data.url show it too. The text
// is the user's, else the file's name.
func (u *Upload) Element(text, link string) (hsl.Element, error) {
	if text == "" {
		text = u.Name
	}
	kind, data := hsl.TypeButton, any(nil)
	file := fileData{link, u.Name, u.Size, u.MediaType}
	if u.MessageType == tract.TypeImage {
		img := image{AspectRatio: ratio(u.Width, u.Height), Width: "MEDIUM", fileData: file}
		img.Items[0].Thumbnail.Image, img.Items[0].Thumbnail.Type, img.Items[0].Actionables = link, "LANDSCAPE", []button{}
		kind, data = hsl.TypeCarousel, img
	} else {
		data = document{fileData: file, Items: [1]button{{Text: "Download Here", URI: "LINK", Type: "APP_ACTION", Payload: map[string]any{"url": link, "message": "", "gogo_message": ""}}}}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(struct {
		Text string `json:"text"`
		Type string `json:"type"`
		Data any    `json:"data"`
	}{text, kind, data}); err != nil {
		return hsl.Element{}, err
	}
	return hsl.Parse(bytes.TrimSpace(b.Bytes()))
}

// ratio is width to height with two decimals, never 0.
func ratio(width, height int) float64 {
	return max(0.01, math.Round(100*float64(width)/float64(height))/100)
}
