package files

import (
	"bufio"
	"encoding/binary"
	"errors"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"

	"tract"
)

const (
	maxPixels = 40_000_000
	maxFrames = 1000 // of an animation
	// A script that is also a GIF begins its program in the bytes of the width,
	// which then is at least "  " read as a number.
	maxGIFWidth = 0x2020
)

// imageInfo is what following an image's structure shows.
type imageInfo struct {
	frames   int
	largest  int64 // pixels of the largest frame
	trailing bool  // something follows the image
}

var errImage = errors.New("not a whole image")

// checkImage follows the image to its end and looks at its size; it is never
// decoded, for a few bytes can stand for a picture that takes gigabytes.
func (f format) checkImage(c Content, r *io.SectionReader, mismatch error) (Content, error) {
	info, err := f.image(r)
	if err != nil {
		return c, mismatch
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return c, ErrStorage.Because(err)
	}
	if c.Width, c.Height, err = dimensions(f.media, r); err != nil || c.Width <= 0 || c.Height <= 0 {
		return c, mismatch
	}
	switch {
	case int64(c.Width)*int64(c.Height) > maxPixels:
		return c, tract.Invalid(CodeImageLarge, "the image has %d × %d pixels; at most %d million are taken", c.Width, c.Height, maxPixels/1_000_000)
	case info.frames > maxFrames || info.largest > maxPixels:
		return c, tract.Invalid(CodeImageLarge, "the animation has more than %d frames, or one of more than %d million pixels", maxFrames, maxPixels/1_000_000)
	}
	c.Inline = !info.trailing && (f.media != "image/gif" || c.Width < maxGIFWidth)
	return c, nil
}

func dimensions(media string, r io.Reader) (width, height int, err error) {
	decode := jpeg.DecodeConfig
	switch media {
	case "image/png":
		decode = png.DecodeConfig
	case "image/gif":
		decode = gif.DecodeConfig
	}
	c, err := decode(r)
	return c.Width, c.Height, err
}

// steps reads an image piece by piece; after the first failure all is zero.
type steps struct {
	r   *bufio.Reader
	err error
}

func newSteps(r io.Reader) *steps { return &steps{r: bufio.NewReader(r)} }

func (s *steps) skip(n int) {
	if s.err == nil {
		_, s.err = s.r.Discard(n)
	}
}

func (s *steps) byte() byte {
	if s.err != nil {
		return 0
	}
	var b byte
	b, s.err = s.r.ReadByte()
	return b
}

// number reads n bytes, the most significant first.
func (s *steps) number(n int) (v uint32) {
	for range n {
		v = v<<8 | uint32(s.byte())
	}
	return v
}

// little reads two bytes, the least significant first.
func (s *steps) little() int { return int(binary.LittleEndian.Uint16([]byte{s.byte(), s.byte()})) }

// more says whether anything is left.
func (s *steps) more() bool {
	_, err := s.r.Peek(1)
	return err == nil
}

func readPNG(r io.Reader) (info imageInfo, err error) {
	const ihdr, idat, iend = 0x49484452, 0x49444154, 0x49454e44
	s := newSteps(r)
	s.skip(8)
	data := false
	for first := true; s.err == nil; first = false {
		n, kind := s.number(4), s.number(4)
		if n > MaxSize || first && kind != ihdr {
			return info, errImage
		}
		data = data || kind == idat
		s.skip(int(n) + 4)
		if kind == iend && s.err == nil {
			if !data {
				return info, errImage
			}
			info.trailing = s.more()
			return info, nil
		}
	}
	return info, s.err
}

func readGIF(r io.Reader) (info imageInfo, err error) {
	s := newSteps(r)
	s.skip(10)
	table := func(flags byte) {
		if flags&0x80 != 0 {
			s.skip(3 << (flags&7 + 1))
		}
	}
	flags := s.byte()
	s.skip(2)
	table(flags)
	for s.err == nil {
		switch s.byte() {
		case '!': // extension
			s.skip(1)
		case ',': // frame
			s.skip(4)
			pixels := int64(s.little()) * int64(s.little())
			table(s.byte())
			s.skip(1)
			info.frames++
			info.largest = max(info.largest, pixels)
		case ';':
			if s.err != nil || info.frames == 0 {
				return info, errImage
			}
			info.trailing = s.more()
			return info, nil
		default:
			return info, errImage
		}
		for n := s.byte(); n > 0 && s.err == nil; n = s.byte() {
			s.skip(int(n))
		}
	}
	return info, s.err
}

// readJPEG finds the end of the image. What follows it is common: cameras put
// previews and short films there.
func readJPEG(r io.Reader) (info imageInfo, err error) {
	s := newSteps(r)
	s.skip(2)
	for s.err == nil {
		if s.byte() != 0xff {
			return info, errImage
		}
		m := s.byte()
		for m == 0xff { // fill bytes
			m = s.byte()
		}
		for ; m == 0xda; m = s.scan() { // start of a scan
			s.segment()
		}
		switch {
		case s.err != nil:
		case m == 0xd9: // end of the image
			info.trailing = s.more()
			return info, nil
		case m == 0x01 || m >= 0xd0 && m <= 0xd7: // stand alone
		case m == 0x00 || m == 0xd8:
			return info, errImage
		default:
			s.segment()
		}
	}
	return info, s.err
}

// segment skips what comes with its length before it.
func (s *steps) segment() {
	n := int(s.number(2))
	if n < 2 && s.err == nil {
		s.err = errImage
	}
	s.skip(n - 2)
}

// scan skips the data of a scan and gives the marker after it.
func (s *steps) scan() byte {
	for s.err == nil {
		if s.byte() != 0xff {
			continue
		}
		m := s.byte()
		for m == 0xff {
			m = s.byte()
		}
		if m != 0 && (m < 0xd0 || m > 0xd7) {
			return m
		}
	}
	return 0
}
