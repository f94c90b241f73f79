package files_test

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"
	"unicode/utf8"

	"tract"
	"tract/internal/files"
)

func encode(t testing.TB, fn func(b *bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := fn(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func picture(w, h int) *image.Paletted {
	return image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{color.Black, color.White})
}

func aPNG(t testing.TB) []byte {
	return encode(t, func(b *bytes.Buffer) error { return png.Encode(b, picture(4, 3)) })
}

func aJPEG(t testing.TB) []byte {
	return encode(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, picture(64, 64), nil) })
}

func aGIF(t testing.TB, w, frames int) []byte {
	g := &gif.GIF{}
	for range frames {
		g.Image, g.Delay = append(g.Image, picture(w, 1)), append(g.Delay, 1)
	}
	return encode(t, func(b *bytes.Buffer) error { return gif.EncodeAll(b, g) })
}

// bigPNG claims a size that it would be madness to decode.
func bigPNG(w, h uint32) []byte {
	chunk := func(b []byte, kind string, data []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
		body := append([]byte(kind), data...)
		return binary.BigEndian.AppendUint32(append(b, body...), crc32.ChecksumIEEE(body))
	}
	head := append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h), 8, 2, 0, 0, 0)
	var data bytes.Buffer
	z := zlib.NewWriter(&data)
	_, _ = z.Write(make([]byte, 1<<20))
	_ = z.Close()
	b := chunk([]byte("\x89PNG\r\n\x1a\n"), "IHDR", head)
	return chunk(chunk(b, "IDAT", data.Bytes()), "IEND", nil)
}

func aZIP(t testing.TB, names ...string) []byte {
	return encode(t, func(b *bytes.Buffer) error {
		z := zip.NewWriter(b)
		for _, n := range names {
			w, err := z.Create(n)
			if err != nil {
				return err
			}
			if _, err := w.Write(make([]byte, 8<<20)); err != nil { // small when packed
				return err
			}
		}
		return z.Close()
	})
}

// anOLE is an old Office file with a stream of that name.
func anOLE(stream string, before int) []byte {
	b := append([]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), make([]byte, before)...)
	for _, c := range stream {
		b = append(b, byte(c), 0)
	}
	return append(b, make([]byte, 512)...)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// The rows MF-05 to MF-11 that concern a file's name and bytes.
func TestCheck(t *testing.T) {
	picture, photo, moving := aPNG(t), aJPEG(t), aGIF(t, 3, 2)
	pdf := []byte("%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>\n%%EOF")
	docx, xlsx := aZIP(t, "[Content_Types].xml", "word/document.xml"), aZIP(t, "[Content_Types].xml", "xl/workbook.xml")
	tests := []struct {
		name    string
		file    string
		message int
		data    []byte
		code    string // "" = taken
		media   string
		inline  bool
	}{
		{"png", "a.png", 1, picture, "", "image/png", true},
		{"extension in capitals", "a.PNG", 1, picture, "", "image/png", true},
		{"nothing but an extension", ".PNG", 1, picture, "", "image/png", true},
		{"jpg", "a.jpg", 1, photo, "", "image/jpeg", true},
		{"jpeg", "a.jpeg", 1, photo, "", "image/jpeg", true},
		{"gif", "a.gif", 1, moving, "", "image/gif", true},
		{"pdf with a script", "a.pdf", 52, pdf, "", "application/pdf", false},
		{"docx", "a.docx", 52, docx, "", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", false},
		{"xlsx", "a.xlsx", 52, xlsx, "", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", false},
		{"doc", "a.doc", 52, anOLE("WordDocument", 100), "", "application/msword", false},
		{"xls", "a.xls", 52, anOLE("Workbook", 100), "", "application/vnd.ms-excel", false},
		{"older xls", "a.xls", 52, anOLE("Book", 100), "", "application/vnd.ms-excel", false},
		{"doc with a table inside", "a.doc", 52, join(anOLE("Workbook", 100), anOLE("WordDocument", 9)), "", "application/msword", false},
		{"csv", "a.csv", 52, []byte("name,amount\nÄpfel,3\n"), "", "text/csv; charset=utf-8", false},
		{"csv with a byte order mark", "a.csv", 52, []byte("\ufeffname;amount\r\n"), "", "text/csv; charset=utf-8", false},
		{"csv in another encoding", "a.csv", 52, []byte("name,caf\xe9\n"), "", "text/csv; charset=utf-8", false},

		{"MF-06 the other name counts", "b.php", 1, picture, files.CodeFileType, "", false},
		{"MF-07 html as png", "a.png", 1, []byte("<!doctype html><script>alert(1)</script>"), files.CodeMismatch, "", false},
		{"MF-07 svg as png", "a.png", 1, []byte("<svg onload=alert(1)>"), files.CodeMismatch, "", false},
		{"MF-07 php as gif", "a.gif", 1, []byte("GIF89a<?php system($_GET['c']); ?>"), files.CodeMismatch, "", false},
		{"MF-07 elf as jpg", "a.jpg", 1, []byte("\x7fELF\x02\x01\x01"), files.CodeMismatch, "", false},
		{"MF-07 pdf as png", "a.png", 1, pdf, files.CodeMismatch, "", false},
		{"MF-07 png as pdf", "a.pdf", 52, picture, files.CodeMismatch, "", false},
		{"MF-07 gif that is a script", "a.gif", 1, []byte("GIF89a/*" + strings.Repeat("\x00", 20) + "*/=alert(1)"), files.CodeMismatch, "", false},
		{"MF-07 well formed gif that is a script", "a.gif", 1, aGIF(t, 0x2a2f, 1), "", "image/gif", false},
		{"MF-07 zip behind a png", "a.png", 1, join(picture, docx), "", "image/png", false},
		{"MF-07 page behind a jpg", "a.jpg", 1, join(photo, []byte("<script>")), "", "image/jpeg", false},
		{"MF-07 html as csv", "a.csv", 52, []byte("<html><script>alert(1)</script>"), files.CodeMismatch, "", false},
		{"MF-07 program as csv", "a.csv", 52, join([]byte("a,b\n"), bytes.Repeat([]byte("x,"), 40_000), []byte{0}), files.CodeMismatch, "", false},
		{"MF-07 pdf as csv", "a.csv", 52, pdf, files.CodeMismatch, "", false},

		{"MF-08 svg", "a.svg", 1, []byte("<svg/>"), files.CodeFileType, "", false},
		{"MF-08 html", "a.html", 52, []byte("<p>"), files.CodeFileType, "", false},
		{"MF-08 exe", "a.exe", 1, []byte("MZ"), files.CodeFileType, "", false},
		{"MF-08 no extension", "passwd", 52, []byte("root"), files.CodeFileType, "", false},
		{"MF-08 two extensions", "a.jpg.html", 1, photo, files.CodeFileType, "", false},
		{"image as document", "a.png", 52, picture, files.CodeFileType, "", false},
		{"document as image", "a.pdf", 1, pdf, files.CodeFileType, "", false},

		{"MF-09 png of 50,000 × 50,000", "a.png", 1, bigPNG(50_000, 50_000), files.CodeImageLarge, "", false},
		{"40 megapixels", "a.png", 1, bigPNG(8000, 5000), "", "image/png", true},
		{"a row more", "a.png", 1, bigPNG(8000, 5001), files.CodeImageLarge, "", false},
		{"MF-09 gif of 10,000 frames", "a.gif", 1, aGIF(t, 1, 10_000), files.CodeImageLarge, "", false},
		{"gif of 1,000 frames", "a.gif", 1, aGIF(t, 1, 1000), "", "image/gif", true},
		{"MF-09 truncated jpg", "a.jpg", 1, photo[:len(photo)-2], files.CodeMismatch, "", false},
		{"truncated in its head", "a.jpg", 1, photo[:40], files.CodeMismatch, "", false},
		{"truncated png", "a.png", 1, picture[:len(picture)-1], files.CodeMismatch, "", false},
		{"png without data", "a.png", 1, picture[:33], files.CodeMismatch, "", false},
		{"truncated gif", "a.gif", 1, moving[:len(moving)-1], files.CodeMismatch, "", false},
		{"frame of 4 gigapixels", "a.gif", 1, bytes.Replace(moving, []byte{',', 0, 0, 0, 0, 3, 0, 1, 0}, []byte{',', 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, 1), files.CodeImageLarge, "", false},

		{"MF-10 zip bomb as docx", "a.docx", 52, aZIP(t, "1", "2", "3", "4"), "", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", false},
		{"xlsx as docx", "a.docx", 52, xlsx, files.CodeMismatch, "", false},
		{"docx as xlsx", "a.xlsx", 52, docx, files.CodeMismatch, "", false},
		{"program for Java as docx", "a.docx", 52, aZIP(t, "META-INF/MANIFEST.MF"), files.CodeMismatch, "", false},
		{"xls as doc", "a.doc", 52, anOLE("Workbook", 64<<10-12), files.CodeMismatch, "", false},
		{"docx as doc", "a.doc", 52, docx, files.CodeMismatch, "", false},

		{"MF-11 empty", "a.csv", 52, nil, files.CodeEmpty, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := files.Check(tt.file, tt.message, int64(len(tt.data)), bytes.NewReader(tt.data))
			if tt.code != "" {
				if tract.CodeOf(err) != tt.code || tract.KindOf(err) != tract.KindInvalid {
					t.Fatalf("error %v, want code %s", err, tt.code)
				}
				return
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if c.MediaType != tt.media || c.Inline != tt.inline || c.MessageType != tt.message {
				t.Errorf("got %+v, want %s, inline %v", c, tt.media, tt.inline)
			}
		})
	}
}

// Cutting an image anywhere, or changing any one byte, never panics.
func TestCheckDamaged(t *testing.T) {
	for name, whole := range map[string][]byte{"a.png": aPNG(t), "a.jpg": aJPEG(t), "a.gif": aGIF(t, 3, 2)} {
		for i := range whole {
			if _, err := files.Check(name, 1, int64(i), bytes.NewReader(whole[:i])); err == nil {
				t.Errorf("%s cut to %d of %d bytes is taken", name, i, len(whole))
			}
			for _, b := range []byte{0, 0xff, whole[i] ^ 0x80} {
				changed := bytes.Clone(whole)
				changed[i] = b
				_, err := files.Check(name, 1, int64(len(changed)), bytes.NewReader(changed))
				if err != nil && tract.KindOf(err) != tract.KindInvalid {
					t.Errorf("%s with byte %d = %d: %v", name, i, b, err)
				}
			}
		}
	}
}

// MF-05: names.
func TestCleanName(t *testing.T) {
	long := strings.Repeat("ä", 2000) + ".png"
	tests := []struct{ in, want string }{
		{"a.png", "a.png"},
		{"../../etc/passwd", "passwd"},
		{`C:\x\..\e.exe`, "e.exe"},
		{`..\..\a.png`, "a.png"},
		{".htaccess", ".htaccess"},
		{"CON", "CON"},
		{"exe\u202egpj.exe", "exegpj.exe"},
		{"a\r\nSet-Cookie: x.png", "aSet-Cookie x.png"},
		{"a.png. . ", "a.png"},
		{`"a<b>.png`, "ab.png"},
		{"", ""}, {"/", ""}, {"...", ""}, {"\u202e", ""},
		{"a\x00.png", ""},
		{"a\xff.png", ""},
	}
	for _, tt := range tests {
		got, err := files.CleanName(tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: got %q, %v; want %q", tt.in, got, err, tt.want)
		}
		if err != nil && tract.CodeOf(err) != files.CodeFileName {
			t.Errorf("%q: code %s", tt.in, tract.CodeOf(err))
		}
	}
	got, err := files.CleanName(long)
	if err != nil || len(got) > 200 || !strings.HasSuffix(got, "ä.png") || !utf8.ValidString(got) {
		t.Errorf("a name of 4 KiB: %q, %v", got, err)
	}
}
