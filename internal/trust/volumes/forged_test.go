package volumes

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage"
)

// forge replaces a text in both copies of a volume's header by one that is as long, with checksums that are right: LUKS2 On-Disk Format 2.1.
func (n *node) forge(volume, from, to string) {
	n.t.Helper()
	const copyBytes, sumOffset, sumBytes = 16 << 10, 448, 64
	data, err := os.ReadFile(n.device(volume))
	if err != nil || len(from) != len(to) || bytes.Count(data[:2*copyBytes], []byte(from)) != 2 {
		n.t.Fatalf("%q is not once in each copy, or not as long as %q: %v", from, to, err)
	}
	for at := 0; at < 2*copyBytes; at += copyBytes {
		part := data[at : at+copyBytes]
		copy(part, bytes.Replace(part, []byte(from), []byte(to), 1))
		clear(part[sumOffset : sumOffset+sumBytes])
		sum := sha256.Sum256(part)
		copy(part[sumOffset:], sum[:])
	}
	if err := os.WriteFile(n.device(volume), data, 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// TestForgedHeader: slots, digest and tokens are the true ones, and cryptsetup opens the volume with the true key; but what is read from it, and written to it,
// would not be encrypted. Neither the TPM's key opens it, nor the one on state, nor a person's.
func TestForgedHeader(t *testing.T) {
	n := made(t)
	key, err := n.agent().RecoveryKey()
	if err != nil {
		t.Fatal(err)
	}
	whole := n.files()
	for _, volume := range []string{storage.State, storage.Data} {
		n.restore(whole)
		n.forge(volume, `"encryption":"aes-xts-plain64","sector_size"`, `"encryption":"cipher_null-ecb","sector_size"`)
		v := n.boot("release 1")
		if volume == storage.Data {
			if reason := n.unlock(v, storage.State); reason != "" {
				t.Fatal(reason)
			}
		}
		if reason := n.unlock(v, volume); !strings.Contains(reason, ErrForm.Error()) || !strings.Contains(reason, "cipher_null-ecb") {
			t.Errorf("volume %s: refused with %q", volume, reason)
		}
		if err := v.Recover(t.Context(), volume, n.device(volume), key); !errors.Is(err, ErrForm) {
			t.Errorf("volume %s with the recovery key: %v", volume, err)
		}
		if s := n.look(v, volume); s.Mapped.Device != "" {
			t.Errorf("volume %s is open", volume)
		}
	}
}
