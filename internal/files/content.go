package files

import (
	"bytes"
	"io"
	"net/http"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"tract"
)

// The codes of refusals.
const (
	CodeFileName   = "file_name"
	CodeFileType   = "file_type"
	CodeMismatch   = "content_mismatch"
	CodeImageLarge = "image_too_large"
	CodeEmpty      = "file_empty"
)

// Content is what was found out about a file's bytes.
type Content struct {
	MediaType     string
	MessageType   int
	Width, Height int  // of an image
	Inline        bool // a browser may show it: it is an image and nothing but one
}

// format is one kind of file that is taken.
type format struct {
	media   string
	message int
	magic   string // first bytes; "" = text
	image   func(io.Reader) (imageInfo, error)
	// own stands somewhere in a file of this format, others in files of formats
	// with the same first bytes.
	own, others []string
}

func formatOf(ext string) (f format, ok bool) {
	const (
		zip = "PK\x03\x04"
		ole = "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
	)
	// Names in a ZIP's directory.
	const docx, xlsx, pptx, jar, apk = "word/document.xml", "xl/workbook.xml", "ppt/presentation.xml", "META-INF/MANIFEST.MF", "AndroidManifest.xml"
	// Names of streams, in UTF-16.
	doc, xls, book, ppt := wide("WordDocument"), wide("Workbook"), wide("Book"), wide("PowerPoint Document")
	switch ext {
	case "jpg", "jpeg":
		return format{media: "image/jpeg", message: tract.TypeImage, magic: "\xff\xd8\xff", image: readJPEG}, true
	case "png":
		return format{media: "image/png", message: tract.TypeImage, magic: "\x89PNG\r\n\x1a\n", image: readPNG}, true
	case "gif":
		return format{media: "image/gif", message: tract.TypeImage, magic: "GIF8", image: readGIF}, true
	case "pdf":
		return format{media: "application/pdf", message: tract.TypeDocument, magic: "%PDF-"}, true
	case "doc":
		return format{media: "application/msword", message: tract.TypeDocument, magic: ole, own: []string{doc}, others: []string{xls, book, ppt}}, true
	case "xls":
		return format{media: "application/vnd.ms-excel", message: tract.TypeDocument, magic: ole, own: []string{xls, book}, others: []string{doc, ppt}}, true
	case "docx":
		return format{media: "application/vnd.openxmlformats-officedocument.wordprocessingml.document", message: tract.TypeDocument, magic: zip, own: []string{docx}, others: []string{xlsx, pptx, jar, apk}}, true
	case "xlsx":
		return format{media: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", message: tract.TypeDocument, magic: zip, own: []string{xlsx}, others: []string{docx, pptx, jar, apk}}, true
	case "csv":
		return format{media: "text/csv; charset=utf-8", message: tract.TypeDocument}, true
	}
	return format{}, false
}

// wide is ASCII text in UTF-16, as old Office files write names.
func wide(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.Write([]byte{s[i], 0})
	}
	return b.String()
}

// Check says what a file is, or refuses it: the extension of its name, its
// first bytes and the message type have to agree. Nothing is unpacked or
// decoded; of an image the structure is followed to its end.
func Check(name string, messageType int, size int64, r io.ReaderAt) (c Content, err error) {
	ext := strings.ToLower(strings.TrimPrefix(path.Ext(name), "."))
	f, ok := formatOf(ext)
	switch {
	case !ok:
		return c, tract.Invalid(CodeFileType, "files of this kind are not taken; those are: jpg, jpeg, png, gif (message_type 1) and doc, docx, pdf, xls, xlsx, csv (message_type 52)")
	case f.message != messageType:
		return c, tract.Invalid(CodeFileType, "a %s file goes with message_type %d", ext, f.message)
	case size == 0:
		return c, tract.Invalid(CodeEmpty, "the file is empty")
	}
	c = Content{MediaType: f.media, MessageType: f.message}
	mismatch := tract.Invalid(CodeMismatch, "the content is not that of a %s file, or is damaged", ext)
	whole := io.NewSectionReader(r, 0, size)
	head := make([]byte, min(size, 512))
	if _, err := io.ReadFull(whole, head); err != nil {
		return c, ErrStorage.Because(err)
	}
	if _, err := whole.Seek(0, io.SeekStart); err != nil {
		return c, ErrStorage.Because(err)
	}
	switch {
	case f.magic == "":
		ok, err = plainText(head, whole)
	case !bytes.HasPrefix(head, []byte(f.magic)):
		ok = false
	case f.image != nil:
		return f.checkImage(c, whole, mismatch)
	case f.own != nil:
		ok, err = f.agrees(whole)
	}
	switch {
	case err != nil:
		return c, ErrStorage.Because(err)
	case !ok:
		return c, mismatch
	}
	return c, nil
}

// plainText says whether a file is text and no markup, which a browser might
// take for a page.
func plainText(head []byte, r io.Reader) (bool, error) {
	if http.DetectContentType(head) != "text/plain; charset=utf-8" {
		return false, nil
	}
	found, err := find(r, []string{"\x00"})
	return err == nil && !found[0], err
}

// agrees says whether nothing in a file tells that it is of another format with
// the same first bytes.
func (f format) agrees(r io.Reader) (bool, error) {
	found, err := find(r, append(append([]string{}, f.own...), f.others...))
	if err != nil {
		return false, err
	}
	foreign := false
	for i, there := range found {
		if i < len(f.own) && there {
			return true, nil
		}
		foreign = foreign || there
	}
	return !foreign, nil
}

// find says which of the texts stand anywhere in r.
func find(r io.Reader, texts []string) ([]bool, error) {
	longest := 0
	for _, t := range texts {
		longest = max(longest, len(t))
	}
	found := make([]bool, len(texts))
	b := make([]byte, 64<<10)
	kept := 0 // of the piece before, so that nothing is missed between two
	for {
		n, err := io.ReadFull(r, b[kept:])
		for i, t := range texts {
			found[i] = found[i] || bytes.Contains(b[:kept+n], []byte(t))
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		kept = copy(b, b[len(b)-longest+1:])
	}
}

// maxName bounds a file's name, in bytes.
const maxName = 200

// CleanName makes the name under which a file is shown: without folders and
// without characters that would hide its extension. It names nothing on disk.
func CleanName(name string) (string, error) {
	if !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return "", tract.Invalid(CodeFileName, "the file's name must be UTF-8 without NUL characters")
	}
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) || strings.ContainsRune(`"<>|:*?`, r) {
			return -1
		}
		return r
	}, name)
	name = strings.TrimRight(strings.TrimSpace(name), ". ")
	if name == "" {
		return "", tract.Invalid(CodeFileName, "the file has no name")
	}
	if len(name) > maxName {
		ext := path.Ext(name)
		if len(ext) > 8 {
			ext = ""
		}
		name = strings.ToValidUTF8(name[:maxName-len(ext)], "") + ext
	}
	return name, nil
}
