package pools

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// program answers with what package zpool has of the real one.
type program struct{ err error }

func (p program) Zpool(_ context.Context, args ...string) ([]byte, error) {
	if p.err != nil {
		return nil, p.err
	}
	return os.ReadFile(filepath.Join("../../storage/pool/zpool/testdata", args[0]+".json"))
}

// kernel is a folder as the kernel has it.
func kernel(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPool(t *testing.T) {
	p := New(kernel(t, map[string]string{
		"node/guid": "17446744073709551615\n", "node/state": "ONLINE\n", "bad/guid": "-1\n", "bad/state": "ONLINE\n", "none/guid": "0\n", "none/state": "ONLINE\n",
		"late/guid": "7\n", "late/state": "TRANSITIONING\n", "half/guid": "8\n",
	}), program{})
	got, err := p.Pool(t.Context(), "node")
	if diff := cmp.Diff(csi.Pool{GUID: 17446744073709551615, State: "ONLINE"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for name, absent := range map[string]bool{"tank": true, "late": true, "half": true, "bad": false, "none": false} {
		if got, err := p.Pool(t.Context(), name); err == nil || errors.Is(err, zfs.ErrNotExist) != absent {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestDataErrors(t *testing.T) {
	p := New("", program{})
	for name, want := range map[string]uint64{"tank": 2, "bpool": 0} {
		if got, err := p.DataErrors(t.Context(), name); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", name, got, err, want)
		}
	}
	if _, err := p.DataErrors(t.Context(), "other"); !errors.Is(err, zfs.ErrNotExist) {
		t.Errorf("a pool that is not there: %v", err)
	}
	broken := errors.New("broken")
	if _, err := New("", program{broken}).DataErrors(t.Context(), "tank"); !errors.Is(err, broken) {
		t.Errorf("a program that fails: %v", err)
	}
}
