package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"tract"
)

// bundle is a file on its way to a server: with the variables it uses, so that
// the server's own are never looked at, and the files it names.
type bundle struct {
	Name     string            `json:"name"`
	Manifest string            `json:"manifest"`
	Env      map[string]string `json:"env"`
	Files    map[string][]byte `json:"files"`
}

// EncodeBundle reads the file at path ("-" is stdin), checks it, and packs it as
// a JSON body for DecodeBundle on the server. The body holds secrets.
func EncodeBundle(path string, stdin io.Reader, env func(name string) (string, bool)) ([]byte, error) {
	f, err := Load(path, stdin, env)
	if err != nil {
		return nil, err
	}
	return json.Marshal(bundle{f.name, string(f.text), f.env, f.named})
}

// DecodeBundle reads what EncodeBundle made, as Parse would read the file. It
// looks at no variables and no files but those in the body.
func DecodeBundle(body []byte) (*File, error) {
	var b bundle
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		return nil, tract.Invalid("bundle", "the body is not a bundle: send what tract apply --server sends").Because(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, tract.Invalid("bundle", "something follows the bundle")
	}
	return Parse(bytes.NewReader([]byte(b.Manifest)), b.Name, Options{
		Env: func(name string) (string, bool) { v, ok := b.Env[name]; return v, ok },
		ReadFile: func(path string) ([]byte, error) {
			if content, ok := b.Files[path]; ok {
				return content, nil
			}
			return nil, errors.New("the file is not in the bundle")
		},
	})
}
