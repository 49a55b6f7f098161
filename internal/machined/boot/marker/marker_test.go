package marker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWriteRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stage1.json")
	want := Marker{RootHash: strings.Repeat("ab", 32), Slot: "a", RootPartition: "vda2", Disk: "vda"}
	if err := Write(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	medium := Marker{RootHash: want.RootHash, RootPartition: "loop0p2", Disk: "loop0", Medium: true}
	path = filepath.Join(t.TempDir(), "medium.json")
	if err := Write(path, medium); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path); got != medium || err != nil {
		t.Errorf("on a medium: %+v, %v", got, err)
	}
	for _, text := range []string{"", "{}", `{"roothash":"abc"}`, "[]"} {
		bad := filepath.Join(t.TempDir(), "bad.json")
		os.WriteFile(bad, []byte(text), 0o600)
		if _, err := Read(bad); err == nil {
			t.Errorf("Read of %q: no error", text)
		}
	}
}

func TestCheckStage1(t *testing.T) {
	machine := Process{PID: 1, RootIsMemory: true}
	tests := map[string]struct {
		change func(*Process)
		want   string
	}{
		"a machine":     {func(*Process) {}, ""},
		"not PID 1":     {func(p *Process) { p.PID = 7 }, "PID 1 of a machine only, this is PID 7"},
		"proc is there": {func(p *Process) { p.ProcMounted = true }, "/proc is mounted already"},
		"a disk's root": {func(p *Process) { p.RootIsMemory = false }, "from an initramfs only"},
	}
	for name, test := range tests {
		p := machine
		test.change(&p)
		checkRefusal(t, name, CheckStage1(p), test.want)
	}
}

func TestCheckInit(t *testing.T) {
	machine := Process{PID: 1, ProcMounted: true, PIDNamespace: "pid:[4026531836]"}
	tests := map[string]struct {
		change func(*Process)
		marker error
		want   string
	}{
		"a machine":     {func(*Process) {}, nil, ""},
		"not PID 1":     {func(p *Process) { p.PID = 7 }, nil, "PID 1 of a machine only, this is PID 7"},
		"no proc":       {func(p *Process) { p.ProcMounted = false }, nil, "stage 1 leaves /proc mounted"},
		"a container":   {func(p *Process) { p.PIDNamespace = "pid:[4026532000]" }, nil, "PID 1 of a container"},
		"unknown space": {func(p *Process) { p.PIDNamespace = "" }, nil, "PID 1 of a container"},
		"no marker":     {func(*Process) {}, fs.ErrNotExist, "no marker of stage 1"},
	}
	for name, test := range tests {
		p := machine
		test.change(&p)
		checkRefusal(t, name, CheckInit(p, test.marker), test.want)
	}
}

func checkRefusal(t *testing.T, name string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: refused: %v", name, err)
	case want != "" && (!errors.Is(err, ErrNotHere) || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: %v, want a refusal with %q", name, err, want)
	}
}

// TestLook: the process of a test is no stage 1 and no init.
func TestLook(t *testing.T) {
	p := Look()
	if p.PID != os.Getpid() || !p.ProcMounted || p.PIDNamespace == "" {
		t.Errorf("Look() = %+v", p)
	}
	if CheckStage1(p) == nil || CheckInit(p, nil) == nil {
		t.Errorf("a test may act as PID 1: %+v", p)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"roothash":"` + strings.Repeat("ab", 32) + `","slot":"a"}`))
	f.Add([]byte(`{"roothash":7}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m, err := parse(raw); err == nil && len(m.RootHash) != 64 {
			t.Errorf("root hash %q was let through", m.RootHash)
		}
	})
}
