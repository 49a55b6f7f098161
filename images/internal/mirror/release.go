package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"

	"github.com/cyvive/cyvive/images/internal/deb"
)

// Release is a verified InRelease file.
type Release struct {
	Codename string
	Date     time.Time
	// files maps an index's path to its SHA-256 in hex.
	files map[string]string
}

// ReadKeyring reads Debian's archive keys from below root ("/" on a machine);
// the package debian-archive-keyring puts them there.
func ReadKeyring(root string) (openpgp.EntityList, error) {
	var keys openpgp.EntityList
	dir := filepath.Join(root, "usr/share/keyrings")
	for _, pattern := range []string{"debian-archive-keyring.*", "debian-archive-trixie-*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, fmt.Errorf("list keyrings: %w", err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return nil, fmt.Errorf("read keyring: %w", err)
			}
			read := openpgp.ReadKeyRing
			if bytes.HasPrefix(b, []byte("-----BEGIN")) {
				read = openpgp.ReadArmoredKeyRing
			}
			more, err := read(bytes.NewReader(b))
			if err != nil {
				return nil, fmt.Errorf("read keyring %s: %w", f, err)
			}
			keys = append(keys, more...)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("read keyring: none in %s; install debian-archive-keyring", dir)
	}
	return keys, nil
}

// VerifyRelease checks the signature of an InRelease file and that it is
// suite, and returns what it says.
func VerifyRelease(inRelease []byte, suite string, keys openpgp.KeyRing) (*Release, error) {
	block, _ := clearsign.Decode(inRelease)
	if block == nil {
		return nil, errors.New("verify InRelease: not a clear-signed file")
	}
	if _, err := block.VerifySignature(keys, nil); err != nil {
		return nil, fmt.Errorf("verify InRelease of %s: %w", suite, err)
	}
	r, err := parseRelease(block.Plaintext)
	if err != nil {
		return nil, fmt.Errorf("read InRelease of %s: %w", suite, err)
	}
	if r.Codename != suite {
		return nil, fmt.Errorf("verify InRelease: codename is %q, expected %q", r.Codename, suite)
	}
	return r, nil
}

func parseRelease(text []byte) (*Release, error) {
	r := &Release{files: map[string]string{}}
	var sums string
	err := deb.ReadParagraphs(bytes.NewReader(text), func(p deb.Paragraph) error {
		r.Codename, sums = p["Codename"], p["SHA256"]
		var err error
		if r.Date, err = time.Parse(time.RFC1123, p["Date"]); err != nil {
			return fmt.Errorf("field Date: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(sums) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 || len(f[0]) != 64 {
			return nil, fmt.Errorf("field SHA256: bad line %q", line)
		}
		if _, err := strconv.ParseInt(f[1], 10, 64); err != nil {
			return nil, fmt.Errorf("field SHA256: %w", err)
		}
		r.files[f[2]] = f[0]
	}
	return r, nil
}
