package luks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// maxNumber is the highest number that a key slot or token can have (LUKS2_KEYSLOTS_MAX, LUKS2_TOKENS_MAX of cryptsetup: 32 of each).
const maxNumber = 31

// metadata is the JSON part, as far as it is looked at (chapter 3 of the specification). Numbers of 64 bits are texts in it.
type metadata struct {
	Keyslots map[string]struct {
		KDF struct {
			Type string `json:"type"`
		} `json:"kdf"`
	} `json:"keyslots"`
	Tokens   map[string]json.RawMessage `json:"tokens"`
	Segments map[string]struct {
		Type       string `json:"type"`
		Offset     string `json:"offset"`
		Encryption string `json:"encryption"`
		SectorSize uint64 `json:"sector_size"`
	} `json:"segments"`
}

// parseMetadata fills in what the JSON says. It stands at the beginning of area, and zeros behind it.
func (h *Header) parseMetadata(area []byte) error {
	area, _, _ = bytes.Cut(area, []byte{0})
	var m metadata
	if err := json.Unmarshal(area, &m); err != nil {
		return err
	}
	segment, ok := m.Segments["0"]
	if !ok || len(m.Segments) != 1 || segment.Type != "crypt" {
		// More are there while cryptsetup encrypts anew, which the node never has it do.
		return fmt.Errorf("%d segments, expected one that is encrypted", len(m.Segments))
	}
	offset, err := strconv.ParseUint(segment.Offset, 10, 63)
	if err != nil {
		return fmt.Errorf("the data begins at %q: %w", segment.Offset, err)
	}
	h.OffsetBytes, h.SectorBytes, h.Cipher = offset, segment.SectorSize, segment.Encryption
	for name, slot := range m.Keyslots {
		number, err := parseNumber(name)
		if err != nil {
			return fmt.Errorf("key slot: %w", err)
		}
		h.Keyslots = append(h.Keyslots, Keyslot{Number: number, KDF: slot.KDF.Type})
	}
	for name, raw := range m.Tokens {
		number, err := parseNumber(name)
		if err != nil {
			return fmt.Errorf("token: %w", err)
		}
		t, err := ParseToken(raw)
		if err != nil {
			return fmt.Errorf("token %d: %w", number, err)
		}
		t.Number = number
		h.Tokens = append(h.Tokens, t)
	}
	slices.SortFunc(h.Keyslots, func(a, b Keyslot) int { return a.Number - b.Number })
	slices.SortFunc(h.Tokens, func(a, b Token) int { return a.Number - b.Number })
	return nil
}

func parseNumber(name string) (int, error) {
	n, err := strconv.Atoi(name)
	if err != nil || n < 0 || n > maxNumber || strconv.Itoa(n) != name {
		return 0, fmt.Errorf("%q is no number from 0 to %d", name, maxNumber)
	}
	return n, nil
}

// Token is something that the header keeps for whoever opens the volume: a sealed key, say, or how it is come by. It is not secret.
type Token struct {
	// Number is its place in the header.
	Number int
	// Type names its form.
	Type string
	// Keyslots are the numbers of the key slots that it helps to open.
	Keyslots []int
	// JSON is the whole of it, an object.
	JSON []byte
}

// ParseToken reads the two fields that every token has (chapter 3.5 of the specification).
func ParseToken(data []byte) (Token, error) {
	var common struct {
		Type     string   `json:"type"`
		Keyslots []string `json:"keyslots"`
	}
	if err := json.Unmarshal(data, &common); err != nil {
		return Token{}, fmt.Errorf("parse token: %w", err)
	}
	if common.Type == "" {
		return Token{}, errors.New("parse token: it has no type")
	}
	t := Token{Type: common.Type, JSON: bytes.Clone(data)}
	for _, name := range common.Keyslots {
		number, err := parseNumber(name)
		if err != nil {
			return Token{}, fmt.Errorf("parse token: key slot: %w", err)
		}
		t.Keyslots = append(t.Keyslots, number)
	}
	return t, nil
}
