package audit

import (
	"bytes"
	"testing"
)

func FuzzParseHead(f *testing.F) {
	f.Add(Head{Sequence: 7, Hash: Hash{1, 2}}.String())
	f.Add("7:")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHead(s)
		if err != nil {
			return
		}
		if again, err := ParseHead(h.String()); err != nil || again != h {
			t.Errorf("%q is %v, which reads as %v, %v", s, h, again, err)
		}
	})
}

// FuzzVerifier changes bytes of a log in order: unless nothing changed, it is
// found, or the head is another than the one that was written down.
func FuzzVerifier(f *testing.F) {
	whole := bytes.Join(chain(f, 1, Hash{}, 3), nil)
	written, err := verify(whole)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), uint16(1), []byte("0"))
	f.Add(uint16(len(whole)-1), uint16(1), []byte{})
	f.Fuzz(func(t *testing.T, at, gone uint16, in []byte) {
		from := int(at) % (len(whole) + 1)
		to := min(from+int(gone), len(whole))
		spoilt := append(append(bytes.Clone(whole[:from]), in...), whole[to:]...)
		v, err := verify(spoilt)
		if err == nil && v.Head() == written.Head() && v.Dropped() == written.Dropped() && !bytes.Equal(spoilt, whole) {
			t.Errorf("not noticed: bytes %d to %d became %q", from, to, in)
		}
	})
}
