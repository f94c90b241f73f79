package bot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// scanner reads comma separated values (RFC 4180) field by field, so that a
// quote that is never closed costs no memory. Line ends are LF or CRLF; inside
// quotes everything is kept as it is.
type scanner struct {
	in     *bufio.Reader
	most   int // bytes of a field
	read   int64
	line   int // of the next byte
	field  []byte
	fields []string
}

// flaw is what is wrong with a row, and in which field.
type flaw struct {
	field  int
	reason string
	text   string
}

func (f *flaw) Error() string { return f.text }

func newScanner(r io.Reader) *scanner {
	return &scanner{in: bufio.NewReaderSize(r, 64<<10), most: maxFieldBytes, line: 1}
}

// sniff passes over a byte order mark and refuses files that are no text.
func (s *scanner) sniff() error {
	head, err := s.in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the file: %w", err)
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		_, err := s.in.Discard(3)
		s.read = 3
		return err
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return badCSV(1, "", "encoding", "the file is UTF-16; save it as UTF-8")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return badCSV(1, "", "encoding", "the file is an archive or a spreadsheet; save it as CSV (UTF-8)")
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return badCSV(1, "", "encoding", "the file is compressed; unpack it first")
	}
	return nil
}

// row gives the next row and the line it begins on; io.EOF at the end of the
// file, a *flaw for a row that is wrong. The fields hold until the next call.
func (s *scanner) row() (line int, fields []string, err error) {
	line, s.fields = s.line, s.fields[:0]
	if _, err := s.in.Peek(1); err != nil {
		if !errors.Is(err, io.EOF) {
			err = fmt.Errorf("read the file: %w", err)
		}
		return line, nil, err
	}
	for {
		last, err := s.readField()
		if err != nil {
			return line, nil, err
		}
		if !utf8.Valid(s.field) {
			return line, nil, s.flaw("encoding", "the text is not UTF-8; save the file as UTF-8")
		}
		s.fields = append(s.fields, string(s.field))
		if last {
			return line, s.fields, nil
		}
		if len(s.fields) == maxColumns {
			return line, nil, s.flaw("too_many_columns", "a row may have %d columns", maxColumns)
		}
	}
}

func (s *scanner) flaw(reason, format string, args ...any) error {
	return &flaw{len(s.fields), reason, fmt.Sprintf(format, args...)}
}

// next gives the next byte; ok is false at the end of the file.
func (s *scanner) next() (c byte, ok bool, err error) {
	c, err = s.in.ReadByte()
	switch {
	case errors.Is(err, io.EOF):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("read the file: %w", err)
	}
	if s.read++; s.read > MaxCSVBytes {
		return 0, false, ErrCSVTooLarge
	}
	switch c {
	case '\n':
		s.line++
	case 0:
		return 0, false, s.flaw("encoding", "the file holds a NUL byte; save it as UTF-8 text")
	}
	return c, true, nil
}

func (s *scanner) keep(c byte) error {
	if len(s.field) == s.most {
		return s.flaw("field_too_long", "the field is longer than %d bytes", maxFieldBytes)
	}
	s.field = append(s.field, c)
	return nil
}

// readField reads one field and what ends it; last says that the row ends, too.
func (s *scanner) readField() (last bool, err error) {
	s.field = s.field[:0]
	for {
		c, ok, err := s.next()
		if err != nil {
			return false, err
		}
		if !ok {
			return true, nil
		}
		if c == '"' {
			if len(s.field) > 0 {
				return false, s.flaw("quote", "a quote stands inside a field that does not begin with one; put the field in quotes and double the quotes in it")
			}
			return s.readQuoted()
		}
		if ended, last, err := s.ends(c); ended || err != nil {
			return last, err
		}
		if err := s.keep(c); err != nil {
			return false, err
		}
	}
}

// readQuoted reads on behind an opening quote.
func (s *scanner) readQuoted() (last bool, err error) {
	from := s.line
	for {
		c, ok, err := s.next()
		if err != nil {
			return false, err
		}
		if !ok {
			return false, s.flaw("quote", "the quote opened on line %d is never closed", from)
		}
		if c == '"' {
			after, more, err := s.next()
			if err != nil || !more {
				return true, err
			}
			if after != '"' {
				ended, last, err := s.ends(after)
				if err == nil && !ended {
					err = s.flaw("quote", "there is text behind the closing quote; double the quotes inside a field")
				}
				return last, err
			}
		}
		if err := s.keep(c); err != nil {
			return false, err
		}
	}
}

// ends says whether c ends a field, and whether the row with it.
func (s *scanner) ends(c byte) (ended, last bool, err error) {
	switch c {
	case ',':
		return true, false, nil
	case '\n':
		return true, true, nil
	case '\r':
		c, ok, err := s.next()
		if err != nil {
			return false, false, err
		}
		if !ok || c != '\n' {
			return false, false, s.flaw("line_endings", "a line ends with CR alone; save the file with LF or CRLF")
		}
		return true, true, nil
	}
	return false, false, nil
}
