package pcr

import (
	"bytes"
	"crypto/ecdsa"
	"debug/pe"
	"fmt"
	"io"
	"maps"
)

// SectionName is the section that holds signatures.
const SectionName = ".pcrsig"

// SectionBytes is how much room the builder leaves for them: that of about six.
const SectionBytes = 4096

// Blank is the section of an image that is not signed: a document without signatures, with line ends behind it.
func Blank() []byte {
	blank := bytes.Repeat([]byte("\n"), SectionBytes)
	copy(blank, "{}")
	return blank
}

// Attach puts signatures into an image, in place of those that it has. It changes image, and nothing of it but that section.
func Attach(image []byte, list []Signature) error {
	text, err := Encode(list)
	if err != nil {
		return err
	}
	return fill(image, text)
}

// Detach makes an image what the builder made.
func Detach(image []byte) error { return fill(image, []byte("{}")) }

func fill(image, text []byte) error {
	s, err := signatureSection(bytes.NewReader(image))
	if err != nil {
		return err
	}
	room := image[s.Offset : s.Offset+s.VirtualSize]
	if len(text) > len(room) {
		return fmt.Errorf("sign image: the signatures take %d bytes, and its section %s has %d", len(text), SectionName, len(room))
	}
	for i := copy(room, text); i < len(room); i++ {
		room[i] = '\n'
	}
	return nil
}

// Attached returns the signatures in an image, or ErrUnsigned.
func Attached(image io.ReaderAt) ([]Signature, error) {
	s, err := signatureSection(image)
	if err != nil {
		return nil, err
	}
	text := make([]byte, s.VirtualSize)
	if _, err := s.ReadAt(text, 0); err != nil {
		return nil, fmt.Errorf("read signed policies: %w", err)
	}
	return Parse(text)
}

// Check says whether an image, once it has booted, opens what is sealed for a signer: it has that signer's signature, which holds, over what it is
// measured as.
func Check(image io.ReaderAt, signer *ecdsa.PublicKey) error {
	want, err := Predict(image)
	if err != nil {
		return err
	}
	list, err := Attached(image)
	if err != nil {
		return err
	}
	name, err := Fingerprint(signer)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.Key != name {
			continue
		}
		if err := s.Verify(signer); err != nil {
			return err
		}
		if !maps.Equal(s.Values, want) {
			return fmt.Errorf("check image: it is measured as %s, and signed is %s: it was changed after that", want[Kernel], s.Values[Kernel])
		}
		return nil
	}
	return fmt.Errorf("check image: %w by key %s", ErrUnsigned, name)
}

// signatureSection finds the one section, and sees to it that the file holds all of it.
func signatureSection(image io.ReaderAt) (*pe.Section, error) {
	f, err := pe.NewFile(image)
	if err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	s := f.Section(SectionName)
	if s == nil {
		return nil, fmt.Errorf("read image: %w: it has no section %s: it was built without room for signatures", ErrUnsigned, SectionName)
	}
	if s.VirtualSize == 0 || s.VirtualSize > s.Size || s.VirtualSize > 1<<20 {
		return nil, fmt.Errorf("read image: its section %s has %d bytes in memory and %d in the file", SectionName, s.VirtualSize, s.Size)
	}
	if n, err := s.ReadAt(make([]byte, 1), int64(s.VirtualSize)-1); n != 1 {
		return nil, fmt.Errorf("read image: its section %s lies beyond the end of the file: %w", SectionName, err)
	}
	return s, nil
}
