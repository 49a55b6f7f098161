package auditlog

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/audit"
)

// FuzzOpen: whatever a power cut or a failing disk left in the files, the log
// opens, takes entries, and those follow one another.
func FuzzOpen(f *testing.F) {
	line, hash, err := audit.Seal(audit.Entry{Kind: audit.KindCall, Method: "/a"}, 1, audit.Hash{})
	if err != nil {
		f.Fatal(err)
	}
	second, _, err := audit.Seal(audit.Entry{Kind: audit.KindCall, Method: "/b"}, 2, hash)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(bytes.Clone(line), second[:20]...), []byte{})
	f.Add(second, line)
	f.Fuzz(func(t *testing.T, newer, older []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{current: newer, previous: older} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		const room = 64 << 10
		log, err := Open(dir, "boot", int64(len(newer)+room), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		for range 2 {
			if err := log.Append(audit.Entry{Time: time.Unix(1, 0), Kind: audit.KindCall, Method: "/new"}, true); err != nil {
				t.Fatal(err)
			}
		}
		var lines [][]byte
		if err := log.Read(t.Context(), func(line []byte) error {
			if len(line) > audit.MaxLineBytes {
				t.Errorf("a line of %d bytes", len(line))
			}
			lines = append(lines, bytes.Clone(line))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		v := &audit.Verifier{}
		for _, line := range lines[max(0, len(lines)-2):] {
			if e, err := v.Add(line); err != nil || e.Method != "/new" {
				t.Errorf("read %+v, %v; want the entries that were appended", e, err)
			}
		}
	})
}
