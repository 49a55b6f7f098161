package upgrade

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/release"
)

// member is one file of a bundle.
type member struct {
	name string
	data []byte
}

// members takes a bundle apart.
func members(t *testing.T, data []byte) []member {
	t.Helper()
	var out []member
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err != nil {
			return out // its end
		}
		var content bytes.Buffer
		if _, err := content.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		out = append(out, member{h.Name, content.Bytes()})
	}
}

// join puts members together, whatever they are.
func join(t *testing.T, all ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range all {
		if err := w.WriteHeader(&tar.Header{Name: m.name, Mode: 0o644, Size: int64(len(m.data)), Format: tar.FormatUSTAR}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// corrupted are releases that no node may take, made of a good one; test/e2e pushes the same to a whole node.
func corrupted(t *testing.T) map[string]struct {
	data []byte
	want error
} {
	t.Helper()
	good := bundle(t, 1, "1.1.0", "2", nil)
	parts := members(t, good) // envelope, kernel, tree, root
	signed := func(change func(*release.Manifest)) []byte { return bundle(t, 1, "1.1.0", "2", change) }
	within := func(i int) int { return bytes.Index(good, parts[i].data) }
	flip := func(i int) []byte {
		out := bytes.Clone(good)
		out[within(i)+len(parts[i].data)/2] ^= 1
		return out
	}
	envelope := func(of []byte) member { return members(t, of)[0] }
	sized, err := release.Sign(resized(t, good), signer(1))
	if err != nil {
		t.Fatal(err)
	}
	unsigned := []byte(string(parts[0].data[:bytes.Index(parts[0].data, []byte(`"signatures"`))]) + `"signatures": []}`)
	type bad = struct {
		data []byte
		want error
	}
	return map[string]bad{
		"truncated in the envelope": {good[:within(0)+100], release.ErrMalformed},
		"truncated in the kernel":   {good[:within(1)+3], release.ErrMalformed},
		"truncated in the tree":     {good[:within(2)+3], release.ErrMalformed},
		"truncated in the root":     {good[:within(3)+len(parts[3].data)-1], release.ErrMalformed},
		"bit of the kernel":         {flip(1), release.ErrAltered},
		"bit of the tree":           {flip(2), release.ErrAltered},
		"bit of the root":           {flip(3), release.ErrAltered},
		"swapped parts":             {join(t, parts[0], parts[2], parts[1], parts[3]), release.ErrMalformed},
		"other parts":               {join(t, envelope(bundle(t, 1, "1.2.0", "3", nil)), parts[1], parts[2], parts[3]), release.ErrAltered},
		"wrong size":                {join(t, member{envelopeFile, sized}, parts[1], parts[2], parts[3]), release.ErrAltered},
		"wrong architecture":        {signed(func(m *release.Manifest) { m.Architecture = "arm64" }), release.ErrUnwanted},
		"older than the floor":      {bundle(t, 1, "0.8.0", "2", nil), release.ErrUnwanted},
		"larger than the slot":      {signed(func(m *release.Manifest) { m.RootBytes = slotBytes + 1 }), release.ErrUnwanted},
		"unsigned":                  {join(t, member{envelopeFile, unsigned}, parts[1], parts[2], parts[3]), release.ErrUntrusted},
		"unknown key":               {bundle(t, 3, "1.1.0", "2", nil), release.ErrUntrusted},
	}
}

// resized is the manifest of a bundle with another size for the kernel.
func resized(t *testing.T, data []byte) release.Manifest {
	t.Helper()
	b, err := release.Open(bytes.NewReader(data), newMachine(t).keys)
	if err != nil {
		t.Fatal(err)
	}
	m := b.Manifest
	m.Files = append([]release.File(nil), m.Files...)
	m.Files[0].Bytes++
	return m
}

// world is all that a machine keeps: its files, slots and boot entries.
func (m *machine) world() map[string]string {
	m.t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(m.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			out[path] = ""
			return err
		}
		data, err := os.ReadFile(path)
		out[path] = string(data)
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	for name, hash := range m.slots {
		out["slot "+name] = hash
	}
	for name, e := range m.entries {
		out["entry "+name] = e.Version
	}
	return out
}

// TestCorrupted pushes them one after the other, a downgrade being allowed: all are refused with the right kind of error, nothing of the machine
// changes and nothing is kept of them, and a good release is taken afterwards. A bit of the envelope is the fifteenth kind; every bit of it is tried.
func TestCorrupted(t *testing.T) {
	m := newMachine(t)
	before := m.world()
	all := corrupted(t)
	if len(all) < 12 {
		t.Fatalf("%d kinds, want twelve at least", len(all))
	}
	push := func(name string, data []byte, want ...error) {
		t.Helper()
		_, err := m.keeper.Push(t.Context(), Allow{Downgrade: true}, bytes.NewReader(data))
		matched := false
		for _, w := range want {
			matched = matched || errors.Is(err, w)
		}
		if !matched {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if d := cmp.Diff(before, m.world()); d != "" {
			t.Fatalf("%s: the machine changed (-before +after):\n%s", name, d)
		}
		if _, err := m.keeper.Install(t.Context(), healthy()); !errors.Is(err, ErrNothingPushed) {
			t.Fatalf("%s: installed: %v", name, err)
		}
	}
	for name, bad := range all {
		push(name, bad.data, bad.want)
	}
	good := bundle(t, 1, "1.1.0", "2", nil)
	start := bytes.Index(good, members(t, good)[0].data)
	payload := start + bytes.Index(good[start:], []byte(`"payload": "`))
	for i := range strings.Index(string(good[payload:]), "signatures") {
		data := bytes.Clone(good)
		data[payload+i] ^= 1
		push("bit of the envelope", data, release.ErrMalformed, release.ErrUntrusted)
	}
	m.install("1.1.0", "2")
}

// TestWouldNotOpen: a release under which the disk stayed shut is refused before anything of it is kept.
func TestWouldNotOpen(t *testing.T) {
	m := newMachine(t)
	var seen []byte
	shut := errors.New("signed by nobody")
	m.opens = func(kernel io.ReaderAt) error {
		var err error
		seen, err = io.ReadAll(io.NewSectionReader(kernel, 0, 1<<20))
		return errors.Join(err, shut)
	}
	m.start()
	before := m.world()
	data := bundle(t, 1, "1.1.0", "2", nil)
	_, err := m.keeper.Push(t.Context(), Allow{}, bytes.NewReader(data))
	if !errors.Is(err, release.ErrUnwanted) || !errors.Is(err, shut) || !strings.Contains(err.Error(), "encrypted disk") {
		t.Errorf("got %v", err)
	}
	if want := members(t, data)[1].data; !bytes.Equal(seen, want) {
		t.Errorf("asked for %q, want the kernel image %q", seen, want)
	}
	if d := cmp.Diff(before, m.world()); d != "" {
		t.Errorf("the machine changed (-before +after):\n%s", d)
	}
	shut = nil
	m.install("1.1.0", "2")
}

// TestWouldNotStart: a release that the firmware would refuse is refused before anything of it is kept, and so is going back to one.
func TestWouldNotStart(t *testing.T) {
	m := newMachine(t)
	var seen []byte
	unsigned := errors.New("signed by nobody")
	m.starts = func(kernel *io.SectionReader) error {
		var err error
		seen, err = io.ReadAll(kernel)
		return errors.Join(err, unsigned)
	}
	m.start()
	before := m.world()
	data := bundle(t, 1, "1.1.0", "2", nil)
	_, err := m.keeper.Push(t.Context(), Allow{}, bytes.NewReader(data))
	if !errors.Is(err, release.ErrUnwanted) || !errors.Is(err, unsigned) || !strings.Contains(err.Error(), "kernel image") {
		t.Errorf("got %v", err)
	}
	if want := members(t, data)[1].data; !bytes.Equal(seen, want) {
		t.Errorf("asked for %q, want the kernel image %q", seen, want)
	}
	if d := cmp.Diff(before, m.world()); d != "" {
		t.Errorf("the machine changed (-before +after):\n%s", d)
	}

	// Signed now, installed, and started; then somebody has Secure Boot take other keys.
	unsigned = nil
	m.install("1.1.0", "2")
	if err := os.WriteFile(filepath.Join(m.dir, "kernel-a"), []byte("kernel 1.0.0"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.reboot()
	if _, err := m.keeper.Look(t.Context(), healthy(), deadline); err != nil || m.stage() != Idle {
		t.Fatalf("stage %s, %v; want %s", m.stage(), err, Idle)
	}
	unsigned = errors.New("signed by nobody")
	before = m.world()
	if _, err := m.keeper.Rollback(t.Context(), healthy()); !errors.Is(err, release.ErrUnwanted) || !errors.Is(err, unsigned) || !strings.Contains(err.Error(), "slot a") {
		t.Errorf("roll back: got %v", err)
	}
	if string(seen) != "kernel 1.0.0" {
		t.Errorf("asked for %q", seen)
	}
	if d := cmp.Diff(before, m.world()); d != "" {
		t.Errorf("the machine changed (-before +after):\n%s", d)
	}
}

// TestAskedAgain: what has changed since a release was pushed keeps it from being installed, and nothing is written.
func TestAskedAgain(t *testing.T) {
	refusal := errors.New("signed by nobody")
	for name, test := range map[string]struct {
		version string
		change  func(*machine)
		want    string // part of the error; empty if it is installed
	}{
		"nothing":             {"1.1.0", func(*machine) {}, ""},
		"downgrade":           {"0.9.5", func(*machine) {}, ""},
		"it does not open":    {"1.1.0", func(m *machine) { m.opens = func(io.ReaderAt) error { return refusal } }, "encrypted disk"},
		"it does not start":   {"1.1.0", func(m *machine) { m.starts = func(*io.SectionReader) error { return refusal } }, "kernel image"},
		"below the floor":     {"0.9.5", func(m *machine) { m.floor = "0.9.9" }, "older than 0.9.9"},
		"not asked to be old": {"1.1.0", func(m *machine) { m.running.Version = "1.2.0" }, "a downgrade must be asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			if _, err := m.keeper.Push(t.Context(), Allow{Downgrade: test.version == "0.9.5"}, bytes.NewReader(bundle(t, 1, test.version, "2", nil))); err != nil {
				t.Fatal(err)
			}
			test.change(m)
			m.start()
			before := m.world()
			_, err := m.keeper.Install(t.Context(), healthy())
			if test.want == "" {
				if err != nil || m.stage() != Armed {
					t.Errorf("stage %s, %v", m.stage(), err)
				}
				return
			}
			if !errors.Is(err, release.ErrUnwanted) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if d := cmp.Diff(before, m.world()); d != "" {
				t.Errorf("the machine changed (-before +after):\n%s", d)
			}
		})
	}
}

// TestInstalledAgain: what was pushed is there still after the upgrade, since the disk did not keep that it is gone. It does not go into the other slot: the
// partitions of both would have the same names.
func TestInstalledAgain(t *testing.T) {
	m := newMachine(t)
	if _, err := m.keeper.Push(t.Context(), Allow{}, bytes.NewReader(bundle(t, 1, "1.1.0", "2", nil))); err != nil {
		t.Fatal(err)
	}
	pushed, kept := filepath.Join(m.dir, "data/upgrade"), t.TempDir()
	if err := os.CopyFS(kept, os.DirFS(pushed)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.keeper.Install(t.Context(), healthy()); err != nil {
		t.Fatal(err)
	}
	m.reboot()
	if _, err := m.keeper.Look(t.Context(), healthy(), deadline); err != nil || m.stage() != Idle {
		t.Fatalf("stage %s, %v; want %s", m.stage(), err, Idle)
	}
	if err := os.CopyFS(pushed, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	before := m.world()
	if _, err := m.keeper.Install(t.Context(), healthy()); !errors.Is(err, release.ErrUnwanted) || !strings.Contains(err.Error(), "runs it already") {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(before, m.world()); d != "" {
		t.Errorf("the machine changed (-before +after):\n%s", d)
	}
}

// TestWayBackIsRefused: what a push would refuse of the release in the other slot keeps the node from going back to it.
func TestWayBackIsRefused(t *testing.T) {
	m := upgraded(t)
	if err := os.WriteFile(filepath.Join(m.dir, "kernel-a"), []byte("kernel 1.0.0"), 0o644); err != nil {
		t.Fatal(err)
	}
	shut := errors.New("signed by nobody")
	refused := func(want string) {
		t.Helper()
		m.start()
		before := m.world()
		if _, err := m.keeper.Rollback(t.Context(), healthy()); !errors.Is(err, release.ErrUnwanted) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if d := cmp.Diff(before, m.world()); d != "" {
			t.Errorf("the machine changed (-before +after):\n%s", d)
		}
	}
	m.floor = "1.0.1"
	refused("version 1.0.0 is older than 1.0.1")
	m.floor = "1.0.0"
	var seen []byte
	m.opens = func(kernel io.ReaderAt) error {
		var err error
		seen, err = io.ReadAll(io.NewSectionReader(kernel, 0, 1<<20))
		return errors.Join(err, shut)
	}
	refused("slot a: not a release for this node: it would not open the node's encrypted disk: signed by nobody")
	if string(seen) != "kernel 1.0.0" {
		t.Errorf("asked for %q", seen)
	}
	shut = nil
	if _, err := m.keeper.Rollback(t.Context(), healthy()); err != nil {
		t.Errorf("what opens, and is no older than the floor: %v", err)
	}
}

// TestSuits: a release without a node's extensions is refused with nothing written, unless it is taken without them; then its trial is not asked for
// them, and neither is one that is rolled back to.
func TestSuits(t *testing.T) {
	m := newMachine(t)
	var asked string
	m.suits = func(kernel io.ReaderAt, version string) error {
		asked = version
		return errors.New("nlmon 1.0.0 is not on the node")
	}
	m.start()
	good := bundle(t, 1, "1.1.0", "2", nil)
	_, err := m.keeper.Push(t.Context(), Allow{Downgrade: true}, bytes.NewReader(good))
	if !errors.Is(err, release.ErrUnwanted) || !strings.Contains(err.Error(), "nlmon 1.0.0") || asked != "1.1.0" {
		t.Errorf("asked for %q, got %v", asked, err)
	}
	if _, err := m.keeper.Install(t.Context(), healthy()); !errors.Is(err, ErrNothingPushed) {
		t.Errorf("after it was refused: %v", err)
	}
	if _, err := m.keeper.Push(t.Context(), Allow{WithoutExtensions: true}, bytes.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	waived := func() []string {
		s, _ := m.keeper.Status()
		return s.Record.Waived
	}
	gates := append(healthy(), Gate{Name: ExtensionsGate, Holds: true})
	if _, err := m.keeper.Install(t.Context(), gates); err != nil || !slices.Equal(waived(), []string{ExtensionsGate}) {
		t.Errorf("installed without them: %v, not asked for %q", err, waived())
	}
	if err := m.keeper.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.keeper.Rollback(t.Context(), gates); err != nil || !slices.Equal(waived(), []string{ExtensionsGate}) {
		t.Errorf("rolled back: %v, not asked for %q", err, waived())
	}
	if err := m.keeper.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.suits = func(io.ReaderAt, string) error { return nil }
	m.start()
	if _, err := m.keeper.Push(t.Context(), Allow{}, bytes.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	before := m.world()
	m.suits = func(io.ReaderAt, string) error { return errors.New("late 1.0.0 is not on the node") }
	m.start() // the configuration names another since
	if _, err := m.keeper.Install(t.Context(), gates); !errors.Is(err, release.ErrUnwanted) || !strings.Contains(err.Error(), "late 1.0.0") {
		t.Errorf("when one is missing since the push: %v", err)
	}
	if d := cmp.Diff(before, m.world()); d != "" {
		t.Errorf("the machine changed (-before +after):\n%s", d)
	}
	m.suits = func(io.ReaderAt, string) error { return nil }
	m.start()
	if _, err := m.keeper.Install(t.Context(), gates); err != nil || len(waived()) > 0 {
		t.Errorf("with them: %v, not asked for %q", err, waived())
	}
}
