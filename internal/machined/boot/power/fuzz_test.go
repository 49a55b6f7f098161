package power

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func FuzzRead(f *testing.F) {
	press := make([]byte, eventBytes)
	binary.LittleEndian.PutUint16(press[16:], evKey)
	binary.LittleEndian.PutUint16(press[18:], keyPower)
	binary.LittleEndian.PutUint32(press[20:], 1)
	f.Add(press)
	f.Add(press[:23])
	f.Fuzz(func(t *testing.T, stream []byte) {
		presses := 0
		read(bytes.NewReader(stream), func() { presses++ })
		want := 0
		for ; len(stream) >= eventBytes; stream = stream[eventBytes:] {
			if bytes.Equal(stream[16:eventBytes], press[16:]) {
				want++
			}
		}
		if presses != want {
			t.Errorf("%d presses, want %d", presses, want)
		}
	})
}
