package pull

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

const (
	// stallBytes have to come within Timeouts.Stall.
	stallBytes = 64 << 10
	// maxFailures without progressBytes between them end a pull.
	maxFailures   = 5
	progressBytes = 1 << 20
	// maxPause bounds the time between two tries.
	maxPause = 30 * time.Second
	// tellEvery is how many bytes lie between two words of progress, where they come within half of Timeouts.Stall.
	tellEvery = 1 << 20
)

// Progress is how far a pull is.
type Progress struct {
	// Bytes of TotalBytes were read; the total is 0 while it is not known.
	Bytes, TotalBytes int64
	// Waiting is what is waited for, in words for a person; empty while bytes come.
	Waiting string
}

// Reader is the file of a release at its source. It connects with the first Read, goes on after a cut, and at the end of the file has compared it with the
// digest, if there is one. It is for one goroutine.
type Reader struct {
	ctx    context.Context
	source Source
	client *client
	tell   func(Progress) error
	auth   *authorizer

	// from is nil until the source is resolved to a file.
	from *file
	// at is how much was read, total how much there is, -1 as long as nobody has said so.
	at, total int64
	sum       hash.Hash
	told      int64
	toldAt    time.Time
	// validator is what If-Range asks for: a strong ETag or a date; contentType is what the server calls the file.
	validator, contentType string

	body *body
	// failures is how often it was tried in vain since lastProgress.
	failures     int
	lastProgress int64
	err          error
}

// file is what a source was resolved to.
type file struct {
	url string
	// size is -1 where it is not known, digest empty where there is none.
	size   int64
	digest string
}

// NewReader returns the file at a source. With sum, the SHA-256 of the file in 64 hexadecimal digits, another one is an error at its end. Tell is called by
// Read, and its error ends the pull. The end of the context does too.
func NewReader(ctx context.Context, cfg Config, s Source, sum string, tell func(Progress) error) (*Reader, error) {
	r := &Reader{ctx: ctx, source: s, client: newClient(cfg, s), tell: tell, total: -1, sum: sha256.New(), toldAt: time.Now()}
	r.auth = newAuthorizer(r.client)
	if s.web != nil {
		r.from = &file{url: s.web.String(), size: -1}
	}
	if sum == "" {
		return r, nil
	}
	if !digestForm.MatchString("sha256:" + sum) {
		return nil, fmt.Errorf("%w: SHA-256 %.80q, expected 64 hexadecimal digits in lower case", ErrSource, sum)
	}
	if s.web == nil {
		return nil, fmt.Errorf("%w: an artifact is pinned by @sha256: and its own digest, not by that of a file", ErrSource)
	}
	r.from.digest = "sha256:" + sum
	return r, nil
}

// Err is why the pull itself failed; nil where it did not, and at the end of the file.
func (r *Reader) Err() error {
	if errors.Is(r.err, io.EOF) {
		return nil
	}
	return r.err
}

// ContentType is what the server calls the file; empty if it has said nothing.
func (r *Reader) ContentType() string { return r.contentType }

// Close ends the connection.
func (r *Reader) Close() error {
	r.drop()
	r.client.close()
	return nil
}

func (r *Reader) drop() {
	if r.body != nil {
		r.body.close()
		r.body = nil
	}
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.read(p)
	r.sum.Write(p[:n])
	if err == nil && (r.at-r.told >= tellEvery || time.Since(r.toldAt) >= r.client.Timeouts.Stall/2) {
		err = r.progress("")
	}
	if errors.Is(err, io.EOF) {
		err = r.finish()
	}
	r.err = err
	return n, err
}

// finish is the end of the file.
func (r *Reader) finish() error {
	if got := "sha256:" + hex.EncodeToString(r.sum.Sum(nil)); r.from.digest != "" && got != r.from.digest {
		return fmt.Errorf("pull %s: %w: what the server has sent is %s, and should be %s", r.source, ErrUnfit, got, r.from.digest)
	}
	if err := r.progress(""); err != nil {
		return err
	}
	return io.EOF
}

// read goes on until there is something, or it is over.
func (r *Reader) read(p []byte) (int, error) {
	for len(p) > 0 {
		if r.body == nil {
			if err := r.connect(); err != nil {
				return 0, err
			}
		}
		n, err := r.body.read(p)
		r.at += int64(n)
		if r.at-r.lastProgress >= progressBytes {
			r.lastProgress, r.failures = r.at, 0
		}
		switch {
		case r.total >= 0 && r.at > r.total:
			return 0, fmt.Errorf("pull %s: %w: more than the %d bytes come that belong to it", r.source, ErrUnfit, r.total)
		case n > 0:
			return n, nil // what is wrong comes again with the next read
		case errors.Is(err, io.EOF) && (r.total < 0 || r.at == r.total):
			return 0, io.EOF
		case err != nil:
			r.drop()
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			if err := r.pause(r.client.connectionTrouble(err)); err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}
