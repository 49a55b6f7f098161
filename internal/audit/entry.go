package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Kind is what an entry is about.
type Kind string

// The kinds. A call that acts on the node, and one that is a stream, is
// noted twice: when it begins, so that no crash hides it, and when it ends.
const (
	KindBegin      Kind = "begin"      // a call that was let in
	KindCall       Kind = "call"       // a call that has ended, or was refused
	KindHandshake  Kind = "handshake"  // a connection that came to no TLS session
	KindSuppressed Kind = "suppressed" // Count refusals of unverified callers, not noted one by one
	KindLost       Kind = "lost"       // Count entries that could not be written
	KindResumed    Kind = "resumed"    // the log was taken up after a write of Count bytes that had not been completed
)

// Hash is the SHA-256 of an entry. The zero Hash stands before the first.
type Hash [sha256.Size]byte

// String is the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(h) {
		return fmt.Errorf("hash %.80q: expected %d hexadecimal digits", text, 2*len(h))
	}
	copy(h[:], raw)
	return nil
}

// Entry is one event of the log. Sequence and Previous are set when it is sealed.
type Entry struct {
	Sequence uint64    `json:"seq"` // from 1
	Previous Hash      `json:"prev"`
	Time     time.Time `json:"time"` // the node's clock
	Boot     string    `json:"boot,omitempty"`
	// Early is the hash the entry had in memory, before the log's volume was there; zero for others.
	Early   Hash          `json:"early,omitzero"`
	Kind    Kind          `json:"kind"`
	Method  string        `json:"method,omitempty"`
	Code    string        `json:"code,omitempty"`    // of gRPC, as in "PermissionDenied"
	Subject string        `json:"subject,omitempty"` // common name of the certificate; only claimed where Code is "Unauthenticated"
	Serial  string        `json:"serial,omitempty"`  // of the certificate, hexadecimal
	Roles   string        `json:"roles,omitempty"`
	Peer    string        `json:"peer,omitempty"` // address and port
	Took    time.Duration `json:"took,omitempty"`
	Error   string        `json:"error,omitempty"`
	Count   uint64        `json:"count,omitempty"` // by the kind; of KindCall, how many calls the entry stands for, if they are several
}

// MaxLineBytes bounds a line with its newline: Seal cuts the texts of an entry, which callers choose, to what fits.
const MaxLineBytes = 8 << 10

// maxText leaves room for six bytes of JSON for each byte of a text: "\u003c".
const maxText = 96

// Seal writes the entry as the line that follows previous, with its newline, and returns its hash.
func Seal(e Entry, sequence uint64, previous Hash) ([]byte, Hash, error) {
	e.Sequence, e.Previous, e.Time = sequence, previous, e.Time.UTC()
	for _, text := range []*string{&e.Boot, &e.Method, &e.Code, &e.Subject, &e.Serial, &e.Roles, &e.Peer} {
		*text = cut(*text, maxText)
	}
	e.Error = cut(e.Error, 3*maxText)
	body, err := json.Marshal(e)
	if err != nil {
		return nil, Hash{}, fmt.Errorf("encode audit entry: %w", err)
	}
	hash := Hash(sha256.Sum256(body))
	return fmt.Appendf(nil, "%s %s\n", hash, body), hash, nil
}

func cut(s string, limit int) string {
	if len(s) <= limit {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// ParseLine reads one line, without its newline, and checks that it is as it was sealed.
func ParseLine(line []byte) (Entry, Hash, error) {
	text, body, ok := bytes.Cut(line, []byte(" "))
	var hash Hash
	if !ok {
		return Entry{}, hash, errors.New("expected a hash, a space and an entry")
	}
	if err := hash.UnmarshalText(text); err != nil {
		return Entry{}, hash, err
	}
	// Upper case would be the same number but another line.
	if computed := Hash(sha256.Sum256(body)); computed != hash || hash.String() != string(text) {
		return Entry{}, hash, fmt.Errorf("the entry's hash is %s, and the line says %s", computed, text)
	}
	var e Entry
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&e); err != nil {
		return Entry{}, hash, fmt.Errorf("decode entry: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Entry{}, hash, errors.New("decode entry: something follows it")
	}
	return e, hash, nil
}
