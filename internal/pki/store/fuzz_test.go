package store_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/pki/store"
)

// FuzzRead: a stamp that is damaged in any way must lead to a new set, neither
// to an error that keeps the node down, nor to certificates without an end.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"inputs":"ab","renewAt":"2026-11-24T00:00:00Z"}`))
	f.Add([]byte(`{"inputs":"ab"`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ".stamp"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		stamp, err := store.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if stamp.Inputs == "" {
			return
		}
		if err := store.Write(dir, 0, nil, stamp); err != nil {
			t.Skip(err) // a time that JSON does not write
		}
		again, err := store.Read(dir)
		if err != nil || again.Inputs != stamp.Inputs || !again.RenewAt.Equal(stamp.RenewAt) {
			t.Errorf("%q: %+v was written, %+v read, %v", data, stamp, again, err)
		}
		if stamp.Current(stamp.Inputs, stamp.RenewAt.Add(time.Nanosecond)) {
			t.Errorf("%q: current after its end", data)
		}
	})
}
