package bot

import (
	"context"
	"encoding/csv"
	"io"
	"strings"
	"unicode/utf8"

	"tract"
	"tract/internal/store"
)

// WriteCSV writes steps as an FAQ file that ReadCSV reads as the same steps, and
// in which no cell begins like a formula of a spreadsheet: such a cell gets an
// apostrophe. Only when there is one does the file have a fourth column, which
// names these cells of each row; without it nobody could tell an apostrophe that
// was added from one that belongs to the text. each gives the steps; it is
// called twice.
func WriteCSV(w io.Writer, each func(fn func(tract.Step) error) error) error {
	mark := false
	if err := each(func(s tract.Step) error {
		for _, c := range cells(s) {
			mark = mark || likeFormula(c)
		}
		return nil
	}); err != nil {
		return err
	}
	out := csv.NewWriter(w)
	header := []string{columnName, columnQuestion, columnAnswer}
	if mark {
		header = append(header, columnAdded)
	}
	if err := out.Write(header); err != nil {
		return err
	}
	if err := each(func(s tract.Step) error {
		row := cells(s)
		var added []string
		for i, c := range row {
			if likeFormula(c) {
				row[i], added = "'"+c, append(added, header[i])
			}
		}
		if mark {
			row = append(row, strings.Join(added, " "))
		}
		return out.Write(row)
	}); err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

func cells(s tract.Step) []string {
	return []string{s.Name, strings.Join(s.Questions, "|"), strings.Join(s.Answers, separator)}
}

// likeFormula says whether a spreadsheet might take a cell for a formula.
func likeFormula(cell string) bool {
	first, _ := utf8.DecodeRuneInString(cell)
	return cell != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", first)
}

// Export writes steps to a file that can be read from the start and is gone once
// it is closed: a caller who reads slowly holds up nobody in the store. each
// gives the steps; it is called twice, in one snapshot.
func (im *Importer) Export(ctx context.Context, each func(tx *store.Tx, fn func(tract.Step) error) error) (f io.ReadCloser, size int64, err error) {
	out, err := im.temporary()
	if err != nil {
		return nil, 0, err
	}
	err = im.Store.View(ctx, func(tx *store.Tx) error {
		return WriteCSV(out, func(fn func(tract.Step) error) error { return each(tx, fn) })
	})
	if err == nil {
		size, err = out.Seek(0, io.SeekEnd)
	}
	if err == nil {
		_, err = out.Seek(0, io.SeekStart)
	}
	if err != nil {
		out.Close()
		return nil, 0, err
	}
	return out, size, nil
}
