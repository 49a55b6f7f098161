package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"filippo.io/age"
	"go.yaml.in/yaml/v3"
)

// A secret of a document may be sealed: encrypted for one node or several, each known by its recipient, a public X25519 key of age (age-encryption.org/v1). In
// the place of the secret then stands
//
//	sealed:age1qqqqqqqq[+age1rrrrrrrr…]:BASE64
//
// with the first letters of each recipient, which are for people and for mistakes and decide nothing, and an age file. That holds the SHA-256 of the secret's
// place, and the secret. The place is the one by which Restore knows a secret: who may change a configuration and not read its secrets cannot have one used where it
// would be told on, such as in the place of the password for a server of theirs.
const (
	sealedPrefix = "sealed:age1"
	// shownRecipient is how much of a recipient is in a sealed text.
	shownRecipient = len("age1") + 8
	// maxSealedBytes is the longest secret that is sealed, and maxRecipients for how many it is.
	maxSealedBytes = 16 << 10
	maxRecipients  = 100
)

var sealedForm = regexp.MustCompile(`^sealed:(age1[a-z0-9]{8}(?:\+age1[a-z0-9]{8})*):([A-Za-z0-9+/]+={0,2})$`)

// earlySecret is needed to open the disk that has the key for what is sealed.
const earlySecret = "Machine.disk.encryption.kms.client.key"

// Opener opens a secret that is sealed, at its place. The error is a problem for a mistake, and shows nothing of either.
type Opener func(text, place string) (string, error)

var (
	errDamaged = errors.New("got a sealed text that is damaged or cut off, expected it as `nodectl config seal` has written it")
	errMoved   = errors.New("got a text that was sealed for another field, or beside another host or authority, expected one that is sealed for this place")
	errEarly   = errors.New("got a sealed text, and it is needed to open the disk that has the key for it, expected the secret itself")
	errClosed  = errors.New("got a sealed text, which its node alone can open, expected the secret itself")
	errLeft    = errors.New("it is sealed")
)

// LeaveSealed is an Opener that opens nothing: secrets that are sealed are left out of the Config, and only their form is looked at.
func LeaveSealed(text, _ string) (string, error) {
	if !sealedForm.MatchString(strings.TrimSpace(text)) {
		return "", errDamaged
	}
	return "", errLeft
}

func isSealed(text string) bool { return strings.HasPrefix(strings.TrimSpace(text), sealedPrefix) }

// HoldsSealed says that documents may hold sealed secrets.
func HoldsSealed(data []byte) bool { return bytes.Contains(data, []byte(sealedPrefix)) }

func placeSum(place string) []byte {
	sum := sha256.Sum256([]byte("secret of a cyvive configuration\x00" + place))
	return sum[:]
}

// SealingKey opens what is sealed for its recipient.
type SealingKey struct{ identity *age.X25519Identity }

// NewSealingKey makes a key.
func NewSealingKey() (*SealingKey, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make sealing key: %w", err)
	}
	return &SealingKey{identity}, nil
}

// ParseSealingKey reads what Text has written. The error does not show it.
func ParseSealingKey(text []byte) (*SealingKey, error) {
	identity, err := age.ParseX25519Identity(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, errors.New("it is no private key of age (AGE-SECRET-KEY-1…)")
	}
	return &SealingKey{identity}, nil
}

// Text is the private key, for a file that nobody else reads.
func (k *SealingKey) Text() []byte { return []byte(k.identity.String() + "\n") }

// Recipient is the public key.
func (k *SealingKey) Recipient() string { return k.identity.Recipient().String() }

// Open is an Opener.
func (k *SealingKey) Open(text, place string) (string, error) {
	m := sealedForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return "", errDamaged
	}
	file, err := base64.StdEncoding.Strict().DecodeString(m[2])
	if err != nil {
		return "", errDamaged
	}
	plain, err := age.Decrypt(bytes.NewReader(file), k.identity)
	if _, foreign := errors.AsType[*age.NoIdentityMatchError](err); foreign {
		if whose := strings.Split(m[1], "+"); !slices.Contains(whose, k.Recipient()[:shownRecipient]) {
			return "", fmt.Errorf("got a text that is sealed for %s…, and this node's recipient is %s, expected one that is sealed for that (`nodectl config seal`)",
				strings.Join(whose[:min(len(whose), 3)], "…, "), k.Recipient())
		}
	}
	if err != nil {
		return "", errDamaged
	}
	data, err := io.ReadAll(io.LimitReader(plain, sha256.Size+maxSealedBytes+1))
	switch {
	case err != nil || len(data) < sha256.Size:
		return "", errDamaged
	case len(data) > sha256.Size+maxSealedBytes:
		return "", fmt.Errorf("got a sealed text of more than %d bytes", maxSealedBytes)
	case !bytes.Equal(data[:sha256.Size], placeSum(place)):
		return "", errMoved
	}
	return string(data[sha256.Size:]), nil
}

// Recipients are whom secrets are sealed for: each of them can open them.
type Recipients []*age.X25519Recipient

// ParseRecipients reads recipients as nodes tell theirs.
func ParseRecipients(texts []string) (Recipients, error) {
	if len(texts) == 0 || len(texts) > maxRecipients {
		return nil, fmt.Errorf("got %d recipients, expected 1 to %d", len(texts), maxRecipients)
	}
	var out Recipients
	for _, text := range texts {
		text = strings.TrimSpace(text)
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			if strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-") {
				text = "a private key"
			}
			return nil, fmt.Errorf("got %.80q as a recipient, expected a public key of age (age1…), as `nodectl identity` shows that of a node", text)
		}
		out = append(out, r)
	}
	return out, nil
}

// Sealed are documents with sealed secrets.
type Sealed struct {
	Documents []byte
	// Fields are the secrets that were sealed. Left are those that cannot be: what opens a disk is needed before the key that the disk has.
	Fields, Left []string
}

// Seal seals the secrets of documents, or of a patch, that are not sealed yet. Comments, and all that is no secret field of a known kind, stay as they are.
func (r Recipients) Seal(data []byte) (Sealed, error) {
	var out Sealed
	var mistakes Errors
	documents, err := edit(data, func(doc *yaml.Node, fields []Field) {
		if namesKind(doc, passphraseKind) {
			out.Left = append(out.Left, passphraseKind+".passphrase")
		}
		eachPlace(doc, fields, func(field, place string, value *yaml.Node) {
			problem := ""
			switch {
			case isNull(value), value.Value == redacted, value.Kind == yaml.ScalarNode && isSealed(value.Value):
				return
			case field == earlySecret:
				out.Left = append(out.Left, field)
				return
			case value.Kind != yaml.ScalarNode:
				problem = "got " + describe(value) + ", expected a text"
			case len(value.Value) > maxSealedBytes:
				problem = fmt.Sprintf("got %d bytes, expected at most %d", len(value.Value), maxSealedBytes)
			}
			text, err := r.seal(value.Value, place)
			if err != nil {
				problem = err.Error()
			}
			if problem != "" {
				mistakes = append(mistakes, &Error{File: "configuration", Line: value.Line, Field: field, Problem: problem})
				return
			}
			value.SetString(text)
			value.Style = 0
			out.Fields = append(out.Fields, field)
		})
	})
	if err == nil && len(mistakes) > 0 {
		err = mistakes
	}
	if err != nil {
		return Sealed{}, err
	}
	out.Documents = documents
	return out, nil
}

func (r Recipients) seal(secret, place string) (string, error) {
	var all []age.Recipient
	var shown []string
	for _, one := range r {
		all, shown = append(all, one), append(shown, one.String()[:shownRecipient])
	}
	var file bytes.Buffer
	w, err := age.Encrypt(&file, all...)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	_, err = w.Write(append(placeSum(place), secret...))
	if err = errors.Join(err, w.Close()); err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return "sealed:" + strings.Join(shown, "+") + ":" + base64.StdEncoding.EncodeToString(file.Bytes()), nil
}

// eachPlace is eachSecret with both names of a secret: the field for people, and the place.
func eachPlace(doc *yaml.Node, fields []Field, do func(field, place string, value *yaml.Node)) {
	var names []string
	eachSecret(doc, fields, kindOf(doc), byPlace, func(path string, _ *yaml.Node) { names = append(names, path) })
	n := 0
	eachSecret(doc, fields, titleOf(doc), byTexts, func(place string, value *yaml.Node) {
		do(names[n], place, value)
		n++
	})
}

// unseal puts the secrets of a document that are sealed in the place of the sealed texts. One that cannot be opened counts as told of, and is left out. What is
// in other fields is shown, and so is never opened.
func (d *decoder) unseal(doc *yaml.Node) {
	var fields []Field
	for _, known := range Documents() {
		if known.Kind == kindOf(doc) {
			fields = known.Fields
		}
	}
	eachPlace(doc, fields, func(field, place string, value *yaml.Node) {
		if value.Kind != yaml.ScalarNode || !isSealed(value.Value) {
			return
		}
		text, err := d.opened(field, place, value.Value)
		if err == nil {
			value.Value = text
			return
		}
		if !errors.Is(err, errLeft) {
			d.fail(value.Line, field, "%v", err)
		}
		*value = yaml.Node{Line: value.Line}
	})
}

func (d *decoder) opened(field, place, text string) (string, error) {
	switch {
	case field == earlySecret:
		return "", errEarly
	case d.open == nil:
		return "", errClosed
	}
	return d.open(text, place)
}
