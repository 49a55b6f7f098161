package e2e

import (
	"archive/tar"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cyvive/cyvive/internal/release"
)

// envelopeFile is the first file of a release (internal/release).
const envelopeFile = "release.dsse.json"

// span is where a file of a release lies in it.
type span struct{ at, size int64 }

// spans reads a release's table of contents.
func spans(t *testing.T, path string) map[string]span {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := map[string]span{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		// The reader takes no more of the file than the header (archive/tar reads blocks).
		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = span{at, h.Size}
	}
}

// copied copies the good release and changes the copy.
func copied(t *testing.T, u *upgrades, path string, change func(*os.File) error) {
	t.Helper()
	in, err := os.Open(u.file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, change(out), out.Close()); err != nil {
		t.Fatal(err)
	}
}

// truncated ends the release so many bytes into a file of it, or before that file's end.
func truncated(name string, bytes int64) func(*testing.T, *upgrades, string) {
	return func(t *testing.T, u *upgrades, path string) {
		s := spans(t, u.file)[name]
		if bytes < 0 {
			bytes += s.size
		}
		copied(t, u, path, func(f *os.File) error { return f.Truncate(s.at + bytes) })
	}
}

// flipped changes a bit in the middle of a file of the release.
func flipped(name string) func(*testing.T, *upgrades, string) {
	return func(t *testing.T, u *upgrades, path string) {
		s := spans(t, u.file)[name]
		copied(t, u, path, func(f *os.File) error {
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, s.at+s.size/2); err != nil {
				return err
			}
			b[0] ^= 1
			_, err := f.WriteAt(b, s.at+s.size/2)
			return err
		})
	}
}

// same leaves an envelope as it is.
func same(_ release.Manifest, envelope []byte) ([]byte, error) { return envelope, nil }

// withoutSignature takes the signatures off an envelope.
func withoutSignature(_ release.Manifest, envelope []byte) ([]byte, error) {
	var fields map[string]any
	if err := json.Unmarshal(envelope, &fields); err != nil {
		return nil, err
	}
	if _, ok := fields["signatures"]; !ok {
		return nil, fmt.Errorf("the envelope has no signatures: %s", envelope)
	}
	fields["signatures"] = []any{}
	return json.Marshal(fields)
}

// byAnother signs with a key that nobody has seen before.
func byAnother(m release.Manifest, _ []byte) ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return release.Sign(m, key)
}

func otherArchitecture(m *release.Manifest) {
	m.Architecture = map[string]string{"amd64": "arm64", "arm64": "amd64"}[m.Architecture]
}

// assembled puts a release together of the good one's parts, in any order, behind a manifest that was changed before it was signed, or an envelope
// that was changed after that.
func assembled(change func(*release.Manifest), envelope func(release.Manifest, []byte) ([]byte, error), parts ...string) func(*testing.T, *upgrades, string) {
	return func(t *testing.T, u *upgrades, path string) {
		m := manifest(t, u.good)
		m.Files = slices.Clone(m.Files)
		if change != nil {
			change(&m)
		}
		signed, err := release.Sign(m, u.Key().Release)
		if err == nil {
			signed, err = envelope(m, signed)
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := archive(out, signed, u.good, parts); err != nil {
			t.Fatal(err)
		}
	}
}

// archive writes an envelope and files of a folder, without a look at what the one says of the others.
func archive(w io.Writer, envelope []byte, dir string, names []string) error {
	out := tar.NewWriter(w)
	if err := out.WriteHeader(&tar.Header{Name: envelopeFile, Mode: 0o644, Size: int64(len(envelope)), Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	if _, err := out.Write(envelope); err != nil {
		return err
	}
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil {
			err = out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: info.Size(), Format: tar.FormatUSTAR})
		}
		if err == nil {
			_, err = io.Copy(out, f)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return out.Close()
}
