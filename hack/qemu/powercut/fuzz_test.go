package powercut

import (
	"io"
	"strings"
	"testing"
)

// FuzzServe: whatever a client sends, the server answers or ends, and the disk keeps its size.
func FuzzServe(f *testing.F) {
	d := newDisk(f, nil, 1<<20, 64<<10, 1)
	const begin = "\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x01\x00\x00\x00\x00"
	command := func(kind string, rest string) string { return "\x25\x60\x95\x13\x00\x00\x00" + kind + rest }
	f.Add([]byte(begin + command("\x00", strings.Repeat("\x00", 18)+"\x02\x00")))
	f.Add([]byte(begin + command("\x01", strings.Repeat("\x00", 18)+"\x02\x00"+strings.Repeat("x", 512))))
	f.Add([]byte(begin + command("\x03", strings.Repeat("\x00", 20)) + command("\x06", strings.Repeat("\x00", 18)+"\x02\x00")))
	f.Add([]byte("\x00\x00\x00\x01IHAVEOPT\x00\x00\x00\x07\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		_ = handle(pipe{strings.NewReader(string(sent)), io.Discard}, d)
		if _, err := d.ReadAt(make([]byte, 1), d.SizeBytes()-1); err != nil {
			t.Error(err)
		}
	})
}
