package files

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"tract/internal/safehttp"
)

// bucket keeps content in an S3-compatible store.
type bucket struct {
	client       *minio.Client
	name, prefix string
}

var _ Objects = (*bucket)(nil)

const (
	defaultEndpoint = "https://s3.amazonaws.com"
	defaultRegion   = "us-east-1"
	objectTries     = 3
)

func newBucket(c Settings) (*bucket, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the place of files must be s3://BUCKET or s3://BUCKET/PREFIX, not %q", c.URL)
	}
	if c.Endpoint == "" {
		c.Endpoint = defaultEndpoint
	}
	if c.Region == "" {
		c.Region = defaultRegion
	}
	e, err := url.Parse(c.Endpoint)
	if err != nil || e.Scheme != "https" && e.Scheme != "http" || e.Host == "" || e.User != nil || strings.Trim(e.Path, "/") != "" || e.RawQuery != "" {
		return nil, fmt.Errorf("the endpoint of files must be a URL such as https://s3.example.com, not %q", c.Endpoint)
	}
	if c.AccessKey == "" || c.SecretKey.Reveal() == "" {
		return nil, fmt.Errorf("files in %s need an access key and a secret key", c.URL)
	}
	// The operator chose the endpoint: it may be a private address.
	calls := safehttp.New(safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true}})
	client, err := minio.New(e.Host, &minio.Options{Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey.Reveal(), ""), Secure: e.Scheme == "https", Region: c.Region,
		Transport: calls.Transport(), MaxRetries: objectTries})
	if err != nil {
		return nil, fmt.Errorf("the object store: %w", err)
	}
	return &bucket{client: client, name: u.Host, prefix: strings.Trim(u.Path, "/")}, nil
}

func (b *bucket) key(id string) string { return path.Join(b.prefix, id[:2], id) }

// Put sends the content in one request.
func (b *bucket) Put(ctx context.Context, id string, up *Upload) error {
	_, err := b.client.PutObject(ctx, b.name, b.key(id), up.Reader(), up.Size, minio.PutObjectOptions{ContentType: up.MediaType, DisableMultipart: true})
	return err
}

// Open gives the content piece by piece, as it is read.
func (b *bucket) Open(ctx context.Context, id string) (io.ReadSeekCloser, error) {
	o, err := b.client.GetObject(ctx, b.name, b.key(id), minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	if _, err := o.Stat(); err != nil { // asked now, while an error can still be answered
		_ = o.Close()
		return nil, err
	}
	return o, nil
}

// Delete removes the object.
func (b *bucket) Delete(ctx context.Context, id string) error {
	err := b.client.RemoveObject(ctx, b.name, b.key(id), minio.RemoveObjectOptions{})
	if minio.ToErrorResponse(err).StatusCode == http.StatusNotFound {
		return nil
	}
	return err
}
