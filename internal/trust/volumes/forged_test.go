package volumes

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storage/luks"
	"github.com/cyvive/cyvive/internal/trust/kms"
	"github.com/cyvive/cyvive/internal/trust/passphrase"
	"github.com/cyvive/cyvive/internal/trust/tpm"
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

// inEachMode runs a test on a node for each thing that opens disks; with -short for the TPM alone.
func inEachMode(t *testing.T, run func(t *testing.T, n *node)) {
	t.Helper()
	t.Parallel()
	for mode, begin := range map[storage.Mode]func(*testing.T) *node{
		storage.TPM: made, storage.Passphrase: byPassphrase, storage.KMS: func(t *testing.T) *node {
			n, _ := atServer(t)
			return n
		},
	} {
		if testing.Short() && mode != storage.TPM {
			continue
		}
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			run(t, begin(t))
		})
	}
}

// TestForgedHeader: slots, digest and tokens are the true ones, and cryptsetup opens the volume with the true key; but what is read from it, and written to it,
// would not be encrypted. Neither what the TPM, a key server or a passphrase gives opens it, nor the key on state, nor a person's; and no server is asked for one.
func TestForgedHeader(t *testing.T) { inEachMode(t, testForgedHeader) }

func testForgedHeader(t *testing.T, n *node) {
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
		asked := n.asked()
		if reason := n.unlock(v, volume); !strings.Contains(reason, ErrForm.Error()) || !strings.Contains(reason, "cipher_null-ecb") {
			t.Errorf("volume %s: refused with %q", volume, reason)
		}
		if now := n.asked(); now != asked {
			t.Errorf("volume %s: a server was asked for its key", volume)
		}
		if err := v.Recover(t.Context(), volume, n.device(volume), key); !errors.Is(err, ErrForm) {
			t.Errorf("volume %s with the recovery key: %v", volume, err)
		}
		if s := n.look(v, volume); s.Mapped.Device != "" {
			t.Errorf("volume %s is open", volume)
		}
	}
}

// TestForgedToken: a token beside the node's that cryptsetup or systemd would open a volume by keeps it shut, in whatever mode; and one of the node's that names
// another way to open it gets no key that the true one was made for.
func TestForgedToken(t *testing.T) { inEachMode(t, testForgedToken) }

func testForgedToken(t *testing.T, n *node) {
	whole := n.files()
	for _, kind := range []string{"luks2-keyring", "systemd-tpm2", "x-cyvive-kms"} {
		n.restore(whole)
		own := "cyvive-" + strings.Repeat("x", len(kind)-len("cyvive-")) // cryptsetup takes no token of a type that it knows
		text := fmt.Sprintf(`{"type":%q,"keyslots":["0"],"key_description":"x"}`, own)
		if err := n.cryptsetup.PutToken(t.Context(), n.device(storage.State), luks.Token{Number: 7, JSON: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		n.forge(storage.State, own, kind)
		asked := n.asked()
		if reason := n.unlock(n.boot("release 1"), storage.State); !strings.Contains(reason, ErrForm.Error()) || !strings.Contains(reason, "begins with cyvive-") {
			t.Errorf("with %s: refused with %q", kind, reason)
		}
		if n.asked() != asked {
			t.Errorf("with %s: a server was asked", kind)
		}
	}
	for _, kind := range []string{tpm.TokenType, kms.TokenType, passphrase.TokenType} {
		n.restore(whole)
		text := fmt.Sprintf(`{"type":%q,"keyslots":["0"]}`, kind)
		if err := n.cryptsetup.PutToken(t.Context(), n.device(storage.State), luks.Token{Number: sealedToken, JSON: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		if reason := n.unlock(n.boot("release 1"), storage.State); !strings.HasPrefix(reason, errNoKey.Error()) {
			t.Errorf("with an empty token of the type %s: refused with %q", kind, reason)
		}
	}
}
