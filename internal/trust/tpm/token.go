package tpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/cyvive/cyvive/internal/trust/pcr"
)

// TokenType names the form of the token among those of a LUKS2 header. It is not systemd-tpm2: systemd would take that for its own.
const TokenType = "cyvive-tpm2"

// tokenVersion is raised when an older release could misread a token.
const tokenVersion = 1

// maxPartBytes bounds the parts of a sealed key; a TPM's structures are smaller.
const maxPartBytes = 4096

// Token is a sealed key as the header of its volume keeps it.
type Token struct {
	// Keyslot is the number of the slot that the key opens.
	Keyslot int
	// Volume is the name of the volume, and UUID that of its LUKS header.
	Volume, UUID string
	Sealed       Sealed
}

// tokenText is the JSON form. Keyslots and type are those of every LUKS2 token.
type tokenText struct {
	Type     string            `json:"type"`
	Keyslots []string          `json:"keyslots"`
	Version  int               `json:"version"`
	Volume   string            `json:"volume"`
	UUID     string            `json:"uuid"`
	Parent   string            `json:"parent"`
	Signer   string            `json:"signer"`
	Fixed    map[string]string `json:"fixed"`
	Public   []byte            `json:"public"`
	Private  []byte            `json:"private"`
}

// Encode returns the token as a LUKS2 header takes it.
func (t Token) Encode() ([]byte, error) {
	point, err := t.Sealed.Signer.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode token: %w", err)
	}
	text := tokenText{
		Type: TokenType, Keyslots: []string{strconv.Itoa(t.Keyslot)}, Version: tokenVersion, Volume: t.Volume, UUID: t.UUID,
		Parent: hex.EncodeToString(t.Sealed.Parent), Signer: hex.EncodeToString(point), Fixed: map[string]string{},
		Public: t.Sealed.Public, Private: t.Sealed.Private,
	}
	for n, d := range t.Sealed.Fixed {
		text.Fixed[strconv.Itoa(n)] = d.String()
	}
	out, err := json.Marshal(text)
	if err != nil {
		return nil, fmt.Errorf("encode token: %w", err)
	}
	return out, nil
}

// ParseToken reads a token strictly: what is not known here could change what it means.
func ParseToken(data []byte) (Token, error) {
	var text tokenText
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&text); err != nil {
		return Token{}, fmt.Errorf("parse token: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Token{}, errors.New("parse token: there is something behind it")
	}
	t, err := text.parse()
	if err != nil {
		return Token{}, fmt.Errorf("parse token: %w", err)
	}
	return t, nil
}

func (text tokenText) parse() (Token, error) {
	t := Token{Volume: text.Volume, UUID: text.UUID, Sealed: Sealed{Public: text.Public, Private: text.Private, Fixed: pcr.Values{}}}
	switch {
	case text.Type != TokenType:
		return t, fmt.Errorf("it is of the type %.40q, expected %s", text.Type, TokenType)
	case text.Version != tokenVersion:
		return t, fmt.Errorf("it is of version %d, expected %d", text.Version, tokenVersion)
	case text.Volume == "" || text.UUID == "":
		return t, errors.New("it does not say which volume it is of")
	case len(text.Keyslots) != 1:
		return t, fmt.Errorf("it has %d key slots, expected one", len(text.Keyslots))
	case len(text.Public) == 0 || len(text.Public) > maxPartBytes || len(text.Private) == 0 || len(text.Private) > maxPartBytes:
		return t, fmt.Errorf("the sealed key has %d and %d bytes: out of range", len(text.Public), len(text.Private))
	case len(text.Fixed) == 0:
		return t, errors.New("it holds no register to a value")
	}
	var err error
	if t.Keyslot, err = parseNumber(text.Keyslots[0], 32); err != nil {
		return t, fmt.Errorf("key slot: %w", err)
	}
	if t.Sealed.Parent, err = hex.DecodeString(text.Parent); err != nil || len(t.Sealed.Parent) != 34 {
		return t, fmt.Errorf("%.80q is not the name of a storage key", text.Parent)
	}
	point, err := hex.DecodeString(text.Signer)
	if err != nil {
		return t, fmt.Errorf("signer: %w", err)
	}
	if t.Sealed.Signer, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point); err != nil {
		return t, fmt.Errorf("signer: %w", err)
	}
	for name, value := range text.Fixed {
		n, err := parseNumber(name, pcr.Count)
		if err != nil {
			return t, fmt.Errorf("register: %w", err)
		}
		if t.Sealed.Fixed[n], err = pcr.ParseDigest(value); err != nil {
			return t, fmt.Errorf("PCR %d: %w", n, err)
		}
	}
	return t, nil
}

func parseNumber(text string, below int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n >= below || strconv.Itoa(n) != text {
		return 0, fmt.Errorf("%.20q is no number below %d", text, below)
	}
	return n, nil
}

// Check says whether the token belongs to a volume, by the volume's name and what its header says.
func (t Token) Check(volume, uuid string) error {
	if t.Volume != volume || t.UUID != uuid {
		return fmt.Errorf("use token: it is of volume %s (%s), and this is volume %s (%s)", t.Volume, t.UUID, volume, uuid)
	}
	return nil
}
