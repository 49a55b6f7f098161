package luks

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrForm says that a header is not of the form that the node makes, and so is not given a key.
var ErrForm = errors.New("its header is not of the form that the node makes")

// TokenPrefix begins the types of the node's tokens. Others are refused: cryptsetup would let them open a volume (a key of the kernel's keyring, a
// plugin) before it looks at the key that it is given.
const TokenPrefix = "cyvive-"

// Numbers of the form that are not chosen here (lib/luks2 of cryptsetup 2.7.5).
const (
	volumeKeyBytes = keyBits / 8
	stripes        = 4000 // LUKS_STRIPES
	saltBytes      = 32   // LUKS_SALTSIZE
	digestBytes    = 32   // of SHA-256
	// areaBytes is what the stripes of a volume key take, in whole pages: get_area_size of luks2_json_format.c.
	areaBytes    = (stripes*volumeKeyBytes + pageBytes - 1) / pageBytes * pageBytes
	pageBytes    = 4096
	jsonBytes    = minHeaderBytes - binaryBytes
	firstArea    = 2 * minHeaderBytes
	maxJSONDepth = 32 // JSON_TOKENER_DEFAULT_DEPTH of json-c
)

// form is the JSON part of a header of the node's form, in full: a field that is not here is refused. Among those are the requirements and flags of
// config, and the flags and the integrity of a segment.
type form struct {
	Keyslots map[string]formKeyslot     `json:"keyslots"`
	Tokens   map[string]json.RawMessage `json:"tokens"`
	Segments map[string]formSegment     `json:"segments"`
	Digests  map[string]formDigest      `json:"digests"`
	Config   formConfig                 `json:"config"`
}

type formKeyslot struct {
	Type    string   `json:"type"`
	KeySize uint64   `json:"key_size"`
	AF      formAF   `json:"af"`
	Area    formArea `json:"area"`
	KDF     formKDF  `json:"kdf"`
}

type formAF struct {
	Type    string `json:"type"`
	Stripes uint64 `json:"stripes"`
	Hash    string `json:"hash"`
}

type formArea struct {
	Type       string `json:"type"`
	Offset     string `json:"offset"`
	Size       string `json:"size"`
	Encryption string `json:"encryption"`
	KeySize    uint64 `json:"key_size"`
}

type formKDF struct {
	Type       string `json:"type"`
	Salt       string `json:"salt"`
	Hash       string `json:"hash"`
	Iterations uint64 `json:"iterations"`
	Time       uint64 `json:"time"`
	Memory     uint64 `json:"memory"`
	CPUs       uint64 `json:"cpus"`
}

type formSegment struct {
	Type       string `json:"type"`
	Offset     string `json:"offset"`
	Size       string `json:"size"`
	IVTweak    string `json:"iv_tweak"`
	Encryption string `json:"encryption"`
	SectorSize uint64 `json:"sector_size"`
}

type formDigest struct {
	Type       string   `json:"type"`
	Keyslots   []string `json:"keyslots"`
	Segments   []string `json:"segments"`
	Hash       string   `json:"hash"`
	Iterations uint64   `json:"iterations"`
	Salt       string   `json:"salt"`
	Digest     string   `json:"digest"`
}

type formConfig struct {
	JSONSize     string `json:"json_size"`
	KeyslotsSize string `json:"keyslots_size"`
}

// checkForm says what of the JSON part of a header is not as the node has it made. Area is the whole part, with the zeros behind the text.
func checkForm(area []byte) error {
	text, rest, _ := bytes.Cut(area, []byte{0})
	if len(bytes.Trim(rest, "\x00")) > 0 {
		return errors.New("there is something behind the JSON text")
	}
	if err := checkNames(text); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var f form
	if err := d.Decode(&f); err != nil {
		return err
	}
	return f.check()
}

func (f form) check() error {
	segment := formSegment{
		Type: "crypt", Offset: strconv.Itoa(HeaderBytes), Size: "dynamic", IVTweak: "0", Encryption: cipher, SectorSize: sectorBytes,
	}
	if got, ok := f.Segments["0"]; !ok || len(f.Segments) != 1 || got != segment {
		return fmt.Errorf("segments are %s, expected one, %s", shown(f.Segments), shown(segment))
	}
	config := formConfig{JSONSize: strconv.Itoa(jsonBytes), KeyslotsSize: strconv.Itoa(HeaderBytes - firstArea)}
	if f.Config != config {
		return fmt.Errorf("config is %s, expected %s", shown(f.Config), shown(config))
	}
	for name, slot := range f.Keyslots {
		if _, err := parseNumber(name); err != nil {
			return fmt.Errorf("key slot: %w", err)
		}
		if err := slot.check(); err != nil {
			return fmt.Errorf("key slot %s: %w", name, err)
		}
	}
	for name, raw := range f.Tokens {
		if _, err := parseNumber(name); err != nil {
			return fmt.Errorf("token: %w", err)
		}
		t, err := ParseToken(raw)
		if err != nil {
			return fmt.Errorf("token %s: %w", name, err)
		}
		if !strings.HasPrefix(t.Type, TokenPrefix) {
			return fmt.Errorf("token %s is of the type %.40q, expected one that begins with %s", name, t.Type, TokenPrefix)
		}
	}
	digest, ok := f.Digests["0"]
	if !ok || len(f.Digests) != 1 {
		return fmt.Errorf("%d digests, expected one", len(f.Digests))
	}
	if err := digest.check(); err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	return nil
}

func (k formKeyslot) check() error {
	af, encryption := formAF{Type: "luks1", Stripes: stripes, Hash: slotHash}, k.Area.Encryption
	switch {
	case k.Type != "luks2" || k.KeySize != volumeKeyBytes:
		return fmt.Errorf("it is of the type %.40q and for %d bytes, expected luks2 and %d", k.Type, k.KeySize, volumeKeyBytes)
	case encryption != cipher || k.Area.KeySize != volumeKeyBytes:
		return fmt.Errorf("it is encrypted by %.40q with %d bytes, expected %s and %d", encryption, k.Area.KeySize, cipher, volumeKeyBytes)
	case k.AF != af:
		return fmt.Errorf("it is split as %s, expected %s", shown(k.AF), shown(af))
	case k.Area.Type != "raw" || k.Area.Size != strconv.Itoa(areaBytes):
		return fmt.Errorf("its area is of the type %.40q with %.40q bytes, expected raw and %d", k.Area.Type, k.Area.Size, areaBytes)
	}
	at, err := strconv.ParseUint(k.Area.Offset, 10, 32)
	if err != nil || strconv.FormatUint(at, 10) != k.Area.Offset || at%pageBytes != 0 || at < firstArea || at+areaBytes > HeaderBytes {
		return fmt.Errorf("its area begins at %.40q, expected a page behind both copies and within %d bytes", k.Area.Offset, HeaderBytes)
	}
	return k.KDF.check()
}

// check wants what Secret.derivation asks for. Where cryptsetup takes fewer threads than it was told, as it may on a small machine, the key is another
// one and not a weaker one.
func (d formKDF) check() error {
	if err := checkBase64(d.Salt, saltBytes); err != nil {
		return fmt.Errorf("its salt: %w", err)
	}
	bare := d
	bare.Salt, bare.CPUs = "", 0
	switch bare {
	case formKDF{Type: "pbkdf2", Hash: slotHash, Iterations: keyIterations}:
		if d.CPUs == 0 {
			return nil
		}
	case formKDF{Type: "argon2id", Time: phrasePasses, Memory: phraseKiB}:
		if d.CPUs >= 1 && d.CPUs <= phraseThreads {
			return nil
		}
	}
	return fmt.Errorf("its key is derived by %s, as no key of the node is", shown(bare))
}

func (d formDigest) check() error {
	switch {
	case d.Type != "pbkdf2" || d.Hash != slotHash || d.Iterations != keyIterations:
		return fmt.Errorf("it is made by %.40q, %.40q, %d times, expected pbkdf2, %s, %d", d.Type, d.Hash, d.Iterations, slotHash, keyIterations)
	case !slices.Equal(d.Segments, []string{"0"}):
		return fmt.Errorf("it is of the segments %.40q, expected 0", d.Segments)
	}
	return errors.Join(checkBase64(d.Salt, saltBytes), checkBase64(d.Digest, digestBytes))
}

// shown is a part of somebody else's header for a person to read: JSON has no control characters, and a reason is not to fill the console.
func shown(part any) string {
	data, err := json.Marshal(part)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%.300s", data)
}

func checkBase64(text string, size int) error {
	if data, err := base64.StdEncoding.Strict().DecodeString(text); err != nil || len(data) != size {
		return fmt.Errorf("%d bytes in Base64 (%v), expected %d", len(data), err, size)
	}
	return nil
}

// checkNames wants one JSON object in which no two fields could be taken for one another. Package json takes a name for a field's in any case, and the last
// of two; json-c, by which cryptsetup reads, tells cases apart. Where all names are in lower case and none is there twice, both read the same.
func checkNames(text []byte) error {
	if !utf8.Valid(text) || !bytes.HasPrefix(text, []byte("{")) {
		return errors.New("it is not an object in UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := checkValue(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the object")
	}
	return nil
}

// checkValue reads one value, whatever it is.
func checkValue(d *json.Decoder, depth int) error {
	t, err := d.Token()
	open, ok := t.(json.Delim)
	if err != nil || !ok {
		return err
	}
	if depth == maxJSONDepth {
		return fmt.Errorf("it is nested deeper than %d", maxJSONDepth)
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			t, err := d.Token()
			if err != nil {
				return err
			}
			name, _ := t.(string)
			if seen[name] || strings.Trim(name, nameLetters) != "" {
				return fmt.Errorf("the name %.40q is there twice, or not in lower case", name)
			}
			seen[name] = true
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

const nameLetters = "abcdefghijklmnopqrstuvwxyz0123456789_-"
