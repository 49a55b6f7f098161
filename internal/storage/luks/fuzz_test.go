package luks

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"testing"
)

// assemble puts a header together, its two copies alike but for their magic numbers and places. With sum, the checksums are right.
func assemble(head, metadata []byte, sum bool) []byte {
	image := make([]byte, 2*minHeaderBytes)
	for i, magic := range []string{primaryMagic, secondaryMagic} {
		part := image[i*minHeaderBytes : (i+1)*minHeaderBytes]
		copy(part[:sumOffset], head)
		copy(part, magic)
		part[placeOffset+6] = byte(i * minHeaderBytes >> 8)
		copy(part[binaryBytes:], metadata)
		if sum {
			s := sha256.Sum256(part)
			copy(part[sumOffset:], s[:])
		}
	}
	return image
}

func FuzzReadHeader(f *testing.F) {
	head := make([]byte, sumOffset)
	copy(head[versionOffset:], "\x00\x02\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x00\x03state")
	copy(head[sumKindOffset:], "sha256")
	f.Add(head, []byte(`{"keyslots":{"0":{"kdf":{"type":"pbkdf2"}}},"segments":{"0":{"type":"crypt","offset":"4194304"}}}`), true)
	f.Fuzz(func(t *testing.T, head, metadata []byte, sum bool) {
		image := assemble(head, metadata, sum)
		h, err := ReadHeader(bytes.NewReader(image))
		if err != nil {
			return
		}
		if !sum {
			t.Errorf("a header with a wrong checksum was read: %+v", h)
		}
		if h.OffsetBytes > 1<<63 || len(h.UUID) > uuidBytes || len(h.Label) > labelBytes {
			t.Errorf("read %+v", h)
		}
		for i, k := range h.Keyslots {
			if k.Number < 0 || k.Number > maxNumber || i > 0 && h.Keyslots[i-1].Number >= k.Number {
				t.Errorf("key slots %+v", h.Keyslots)
			}
		}
		// Each copy does for the other.
		clear(image[:minHeaderBytes])
		if again, err := ReadHeader(bytes.NewReader(image)); err != nil || again.UUID != h.UUID || !again.Repair {
			t.Errorf("from the second copy: %+v, %v", again, err)
		}
	})
}

// whole is the JSON part of a header of the node's form, with a token.
const whole = `{"keyslots":{"0":{"type":"luks2","key_size":64,"af":{"type":"luks1","stripes":4000,"hash":"sha256"},` +
	`"area":{"type":"raw","offset":"32768","size":"258048","encryption":"aes-xts-plain64","key_size":64},` +
	`"kdf":{"type":"pbkdf2","hash":"sha256","iterations":1000,"salt":"yc84FOCp8yJU7WpDHH9mYapAshsMgG3UMtQIj25NvGQ="}}},` +
	`"tokens":{"1":{"type":"cyvive-recovery","keyslots":["0"]}},` +
	`"segments":{"0":{"type":"crypt","offset":"4194304","size":"dynamic","iv_tweak":"0","encryption":"aes-xts-plain64","sector_size":4096}},` +
	`"digests":{"0":{"type":"pbkdf2","keyslots":["0"],"segments":["0"],"hash":"sha256","iterations":1000,` +
	`"salt":"F83bH9f5mnTZKaqF+MCTf3KbqmH4wK+fiC4SFLVeASk=","digest":"KWT3umr4N8PCoDuBpsIbfERYANKjoOGDERJJaGQWEfw="}},` +
	`"config":{"json_size":"12288","keyslots_size":"4161536"}}`

// FuzzForm: what passes has its ciphers where a reader that tells cases apart finds them.
func FuzzForm(f *testing.F) {
	f.Add([]byte(whole))
	for _, change := range forged() {
		f.Add([]byte(change(whole)))
	}
	f.Fuzz(func(t *testing.T, area []byte) {
		if err := checkForm(area); err != nil {
			if text(area) == whole && len(area) == len(whole) {
				t.Errorf("the node's own form: %v", err)
			}
			return
		}
		var read map[string]map[string]map[string]any
		// Config has texts where the others have objects.
		if err := json.Unmarshal([]byte(text(area)), &read); err != nil && read["segments"] == nil {
			t.Fatalf("it passes, and is not read: %v", err)
		}
		if got := read["segments"]["0"]["encryption"]; got != cipher {
			t.Errorf("the segment is encrypted by %v", got)
		}
		for name, slot := range read["keyslots"] {
			if area, _ := slot["area"].(map[string]any); area["encryption"] != cipher {
				t.Errorf("slot %s is encrypted by %v", name, area["encryption"])
			}
		}
	})
}

func FuzzParseToken(f *testing.F) {
	f.Add([]byte(`{"type":"cyvive-tpm2","keyslots":["0"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		token, err := ParseToken(data)
		if err != nil {
			return
		}
		if token.Type == "" || !bytes.Equal(token.JSON, data) {
			t.Errorf("%q: got %+v", data, token)
		}
		for _, n := range token.Keyslots {
			if n < 0 || n > maxNumber {
				t.Errorf("%q: key slot %d", data, n)
			}
		}
	})
}
