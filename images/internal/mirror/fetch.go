package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"

	"github.com/cyvive/cyvive/images/internal/deb"
	"github.com/cyvive/cyvive/images/internal/lock"
)

const (
	// maxIndexBytes bounds an index; Debian's largest has 60 MB unpacked.
	maxIndexBytes = 256 << 20
	// fetchAttempts is how often one download is tried.
	fetchAttempts = 3
)

// ErrGone says that the mirror does not have a pinned file any more.
var ErrGone = errors.New("the mirror no longer has it")

// Client takes files from one mirror. It is safe for concurrent use.
type Client struct {
	Addresses Addresses
	HTTP      *http.Client
	// Keys verify InRelease files; only Indexes needs them.
	Keys openpgp.KeyRing
}

func (c *Client) base(archive string) string {
	if archive == lock.ArchiveSecurity {
		return c.Addresses.Security
	}
	return c.Addresses.Main
}

// get reads an address whole, up to maxIndexBytes.
func (c *Client) get(ctx context.Context, address string) ([]byte, error) {
	var out bytes.Buffer
	err := c.copyTo(ctx, address, &out, func() error { out.Reset(); return nil })
	return out.Bytes(), err
}

// copyTo downloads address to w and tries again after a broken transfer;
// reset empties w before each attempt.
func (c *Client) copyTo(ctx context.Context, address string, w io.Writer, reset func() error) error {
	var last error
	for n := range fetchAttempts {
		if n > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(n) * time.Second):
			}
		}
		if err := reset(); err != nil {
			return err
		}
		if last = c.copyOnce(ctx, address, w); last == nil || errors.Is(last, ErrGone) {
			return last
		}
	}
	return last
}

func (c *Client) copyOnce(ctx context.Context, address string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", address, err)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		return fmt.Errorf("fetch %s: %w (%s)", address, ErrGone, resp.Status)
	default:
		return fmt.Errorf("fetch %s: answer %s", address, resp.Status)
	}
	if _, err := io.Copy(w, io.LimitReader(resp.Body, 4*maxIndexBytes)); err != nil {
		return fmt.Errorf("fetch %s: %w", address, err)
	}
	return nil
}

// Suite names one suite of an archive, and the components that are used.
type Suite struct {
	Archive, Name string
	Components    []string
}

// Indexes reads the Packages files of suites for arch and returns them with
// the date of the newest InRelease.
func (c *Client) Indexes(ctx context.Context, suites []Suite, arch string) (*Index, time.Time, error) {
	x, newest := NewIndex(), time.Time{}
	for _, s := range suites {
		dist := c.base(s.Archive) + "/dists/" + s.Name + "/"
		b, err := c.get(ctx, dist+"InRelease")
		if err != nil {
			return nil, newest, err
		}
		rel, err := VerifyRelease(b, s.Name, c.Keys)
		if err != nil {
			return nil, newest, err
		}
		if rel.Date.After(newest) {
			newest = rel.Date
		}
		for _, component := range s.Components {
			if err := c.addIndex(ctx, x, s.Archive, dist, component+"/binary-"+arch+"/Packages.xz", rel); err != nil {
				return nil, newest, err
			}
		}
	}
	return x, newest, nil
}

func (c *Client) addIndex(ctx context.Context, x *Index, archive, dist, name string, rel *Release) error {
	want, ok := rel.files[name]
	if !ok {
		return fmt.Errorf("find index: %s has no %s", dist, name)
	}
	b, err := c.get(ctx, dist+name)
	if err != nil {
		return err
	}
	if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != want {
		return fmt.Errorf("verify %s%s: SHA-256 is %x, the signed InRelease says %s", dist, name, got, want)
	}
	plain, err := deb.Decompress(name, bytes.NewReader(b))
	if err != nil {
		return err
	}
	defer plain.Close()
	if err := x.Add(archive, io.LimitReader(plain, maxIndexBytes)); err != nil {
		return fmt.Errorf("read %s%s: %w", dist, name, err)
	}
	return nil
}

// Package puts a pinned package at path unless it is there, and verifies it.
func (c *Client) Package(ctx context.Context, p lock.Package, path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".fetch-*")
	if err != nil {
		return fmt.Errorf("fetch %s: %w", p.Name, err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	sum := sha256.New()
	err = c.copyTo(ctx, c.base(p.Archive)+"/"+p.Path, io.MultiWriter(f, sum), func() error {
		sum.Reset()
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return f.Truncate(0)
	})
	if errors.Is(err, ErrGone) {
		return fmt.Errorf("fetch %s %s: %w; run `make lock` to move the pins to what it has: %w", p.Name, p.Version, ErrGone, err)
	}
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != p.SHA256 {
		return fmt.Errorf("verify %s %s: SHA-256 is %s, the lock file says %s", p.Name, p.Version, got, p.SHA256)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("fetch %s: %w", p.Name, err)
	}
	return os.Rename(f.Name(), path)
}
