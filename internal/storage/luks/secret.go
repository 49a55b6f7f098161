package luks

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
)

// KeyBytes is the size of a key of full entropy.
const KeyBytes = 32

// MaxSecretBytes is the longest secret. cryptsetup takes more from a pipe (8 MiB); nobody types as much.
const MaxSecretBytes = 512

// Secret opens a volume. However it is printed, it does not show itself. The zero Secret opens nothing.
type Secret struct {
	bytes []byte
	// guessable secrets are slowed down.
	guessable bool
}

// Key is a secret that cannot be guessed: KeyBytes of a random number generator. The Secret keeps data.
func Key(data []byte) (Secret, error) {
	if len(data) != KeyBytes {
		return Secret{}, fmt.Errorf("use key: it has %d bytes, expected %d", len(data), KeyBytes)
	}
	return Secret{bytes: data}, nil
}

// NewKey returns a new Key, and its bytes for whoever seals or shows them.
func NewKey() (Secret, []byte) {
	data := make([]byte, KeyBytes)
	_, _ = rand.Read(data) // never fails: crypto/rand, since Go 1.24
	return Secret{bytes: data}, data
}

// Passphrase is a secret that a person thought up. Each attempt to guess it costs 256 MiB of memory and four passes over it (Argon2id; RFC 9106
// recommends 64 MiB and three where memory is scarce), about a second on the node.
func Passphrase(text string) (Secret, error) {
	switch {
	case text == "":
		return Secret{}, errors.New("use passphrase: it is empty")
	case len(text) > MaxSecretBytes:
		return Secret{}, fmt.Errorf("use passphrase: it has %d bytes, expected %d at most", len(text), MaxSecretBytes)
	}
	return Secret{bytes: []byte(text), guessable: true}, nil
}

// What slows down guessing, as derivation has it made and as it is found in a header. The hash is that of the stripes and of the digest too.
const (
	slotHash      = "sha256"
	keyIterations = 1000 // the fewest that cryptsetup takes
	phrasePasses  = 4
	phraseKiB     = 256 << 10
	phraseThreads = 4
)

// derivation are the arguments of cryptsetup that say how a new key slot slows down guessing.
func (s Secret) derivation() []string {
	if s.guessable {
		return []string{
			"--pbkdf=argon2id", "--hash=" + slotHash, fmt.Sprintf("--pbkdf-force-iterations=%d", phrasePasses), fmt.Sprintf("--pbkdf-memory=%d", phraseKiB),
			fmt.Sprintf("--pbkdf-parallel=%d", phraseThreads),
		}
	}
	return []string{"--pbkdf=pbkdf2", "--hash=" + slotHash, fmt.Sprintf("--pbkdf-force-iterations=%d", keyIterations)}
}

const redacted = "[redacted]"

// String returns a fixed text.
func (Secret) String() string { return redacted }

// Format writes a fixed text for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the secret out of JSON and other text encodings.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
