package upgrade

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/cyvive/cyvive/internal/release"
)

// machine is a node of files: two slots, a boot loader and a state volume.
type machine struct {
	t       *testing.T
	dir     string
	slots   map[string]string // root hash of each
	entries map[string]Entry
	tries   map[string]int
	now     time.Time
	boot    int
	// blessings counts how often an entry was blessed.
	blessings int
	newest    string // the slot of the entry that is tried before the other
	running   System
	broken    error // of the slots
	// putting is called with what an entry is about to go through: "begun", and "made" when it is there; nil does nothing.
	putting func(step string) error
	log     []string
	keeper  *Keeper
	keys    []ed25519.PublicKey
	floor   string
	crash   string
	// opens says whether a kernel image opens its disk; nil is for a disk that is not encrypted.
	opens func(io.ReaderAt) error
	// starts says whether its firmware starts a kernel image; nil is for one that starts any.
	starts func(*io.SectionReader) error
	// suits says whether extensions are there for a kernel image; nil is for a node without extensions.
	suits func(io.ReaderAt, string) error
}

const (
	slotBytes = 1 << 20
	deadline  = 10 * time.Minute
)

func rootHash(n string) string { return strings.Repeat(n, 64) }

func newMachine(t *testing.T) *machine {
	m := &machine{
		t: t, dir: t.TempDir(), now: noon, slots: map[string]string{"a": rootHash("1"), "b": rootHash("0")}, tries: map[string]int{"a": -1},
		entries: map[string]Entry{"a": {Version: "1.0.0", KernelBytes: slotBytes}, "b": {KernelBytes: slotBytes}},
		newest:  "a", floor: "0.9.0",
		running: System{Version: "1.0.0", RootHash: rootHash("1"), Slot: "a"}, keys: []ed25519.PublicKey{signer(1).Public().(ed25519.PublicKey)},
	}
	for _, d := range []string{"state", "data"} {
		if err := os.Mkdir(filepath.Join(m.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.start()
	return m
}

// start opens the keeper, as an agent does that starts.
func (m *machine) start() {
	m.t.Helper()
	k, err := Open(m.t.Context(), Config{
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return m.now },
		Record: filepath.Join(m.dir, "state/upgrade.json"), Pushed: filepath.Join(m.dir, "data/upgrade"),
		Boot: fmt.Sprint(m.boot), SinceBoot: func() time.Duration { return time.Minute }, Crash: m.crash, Running: m.running,
		Architecture: "amd64", Floor: m.floor, Keys: m.keys, Slots: m, Entries: loader{m}, Opens: m.opens, Starts: m.starts, Suits: m.suits,
		Note: func(boot string, s System, text string) error {
			m.log = append(m.log, fmt.Sprintf("note %s %s: %s", boot, s.Version, text))
			return nil
		},
		Reboot: func(_ context.Context, reason string) error { m.log = append(m.log, "reboot: "+reason); return nil },
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.keeper = k
}

// reboot is the boot loader, and the agent after it.
func (m *machine) reboot() {
	m.boot++
	slot := m.newest
	if m.entries[slot].Version == "" || m.tries[slot] == 0 {
		slot = other(slot)
	}
	if m.tries[slot] > 0 {
		m.tries[slot]--
	}
	m.running = System{Version: m.entries[slot].Version, RootHash: m.slots[slot], Slot: slot}
	m.start()
}

func (m *machine) Slot(_ context.Context, name string) (Slot, error) {
	return Slot{RootHash: m.slots[name], RootBytes: slotBytes, VerityBytes: slotBytes}, nil
}

func (m *machine) Write(_ context.Context, name, rootHash string, root, tree io.Reader) error {
	if name == m.running.Slot {
		m.t.Errorf("the running slot %s is written", name)
	}
	if m.entries[name].Version != "" {
		m.t.Errorf("slot %s is written while the boot loader has an entry for it", name)
	}
	for part, r := range map[string]io.Reader{"root": root, "tree": tree} {
		data, err := io.ReadAll(r)
		if err := errors.Join(err, m.broken); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(m.dir, part+"-"+name), data, 0o644); err != nil {
			return err
		}
	}
	m.slots[name] = rootHash
	return nil
}

// loader is the machine's boot loader.
type loader struct{ m *machine }

func (l loader) Read() (map[string]Entry, error) {
	out := map[string]Entry{}
	for slot, e := range l.m.entries {
		e.Counted = e.Version != "" && l.m.tries[slot] >= 0
		e.Untried = e.Counted && l.m.tries[slot] == Tries
		out[slot] = e
	}
	return out, nil
}

func (l loader) Put(slot, version string, tries int, kernel io.Reader) error {
	step := func(name string) error {
		if l.m.putting == nil {
			return nil
		}
		return l.m.putting(name)
	}
	if err := step("begun"); err != nil {
		return err
	}
	if kernel != nil {
		data, err := io.ReadAll(kernel)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(l.m.dir, "kernel-"+slot), data, 0o644); err != nil {
			return err
		}
	}
	l.m.entries[slot], l.m.tries[slot], l.m.newest = Entry{Version: version, KernelBytes: slotBytes}, tries, slot
	return step("made")
}

func (l loader) Kernel(slot string, read func(*io.SectionReader) error) error {
	data, err := os.ReadFile(filepath.Join(l.m.dir, "kernel-"+slot))
	if err != nil {
		return err
	}
	return read(io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))))
}

func (l loader) Bless(slot string) error { l.m.tries[slot] = -1; l.m.blessings++; return nil }
func (l loader) Spoil(slot string) error { l.m.tries[slot] = 0; return nil }
func (l loader) Forget(slot string) error {
	l.m.entries[slot] = Entry{KernelBytes: slotBytes}
	return nil
}

func signer(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

// bundle makes a release; change may alter its manifest before it is signed.
func bundle(t *testing.T, key byte, version, root string, change func(*release.Manifest)) []byte {
	t.Helper()
	content := map[string][]byte{
		release.Kernel: []byte("kernel " + version), release.Verity: []byte("tree " + version),
		release.Root: compress(t, []byte(strings.Repeat("root "+version, 1000))),
	}
	m := release.Manifest{Version: version, Architecture: "amd64", RootHash: rootHash(root), RootBytes: int64(1000 * len("root "+version))}
	for _, name := range []string{release.Kernel, release.Verity, release.Root} {
		sum := sha256.Sum256(content[name])
		m.Files = append(m.Files, release.File{Name: name, Bytes: int64(len(content[name])), SHA256: hex.EncodeToString(sum[:])})
	}
	if change != nil {
		change(&m)
	}
	envelope, err := release.Sign(m, signer(key))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := release.Write(&b, envelope, m, func(name string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content[name])), nil }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t *testing.T, data []byte) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(data, nil)
}

func healthy() []Gate { return gates("", "1m") }

// push and install bring a release on its way.
func (m *machine) install(version, root string) {
	m.t.Helper()
	if _, err := m.keeper.Push(m.t.Context(), Allow{}, bytes.NewReader(bundle(m.t, 1, version, root, nil))); err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.keeper.Install(m.t.Context(), healthy()); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) stage() Stage {
	s, _ := m.keeper.Status()
	return s.Record.Stage
}

func TestUpgradeAndBack(t *testing.T) {
	m := newMachine(t)
	m.install("1.1.0", "2")
	for part, want := range map[string]string{
		"root-b": strings.Repeat("root 1.1.0", 1000), "tree-b": "tree 1.1.0", "kernel-b": "kernel 1.1.0",
	} {
		if got, err := os.ReadFile(filepath.Join(m.dir, part)); string(got) != want || err != nil {
			t.Errorf("%s holds %.20q, %v", part, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(m.dir, "data/upgrade")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was pushed is still there: %v", err)
	}
	m.start() // the agent is killed before the reboot
	if got := m.stage(); got != Armed {
		t.Fatalf("stage %s, want %s", got, Armed)
	}
	m.reboot()
	if got := m.stage(); got != Trial || m.running.Slot != "b" {
		t.Fatalf("stage %s in slot %s, want %s in b", got, m.running.Slot, Trial)
	}
	if _, err := m.keeper.Look(t.Context(), healthy(), deadline); err != nil {
		t.Fatal(err)
	}
	s, _ := m.keeper.Status()
	if s.Record.Stage != Idle || s.Record.Last == nil || !s.Record.Last.Succeeded || m.tries["b"] != -1 {
		t.Fatalf("not blessed: %+v, tries %d", s.Record, m.tries["b"])
	}
	want := System{Version: "1.0.0", RootHash: rootHash("1"), Slot: "a"}
	if s.Other != want {
		t.Errorf("the other slot holds %+v, want %+v", s.Other, want)
	}
	// And back, which is a trial too.
	if got, err := m.keeper.Rollback(t.Context(), healthy()); got != want || err != nil {
		t.Fatalf("roll back to %+v, %v", got, err)
	}
	if m.stage() != Armed || m.tries["a"] != Tries {
		t.Errorf("stage %s with %d tries of slot a", m.stage(), m.tries["a"])
	}
	if len(m.log) != 0 {
		t.Errorf("notes of a good upgrade: %q", m.log)
	}
}

// upgraded is a machine that has been taken to version 1.1.0, and has 1.0.0 in the other slot.
func upgraded(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	m.install("1.1.0", "2")
	m.reboot()
	if _, err := m.keeper.Look(t.Context(), healthy(), deadline); err != nil || m.stage() != Idle {
		t.Fatalf("stage %s, %v; want %s", m.stage(), err, Idle)
	}
	return m
}

// TestRollbackIsCut: what is in the other slot can be gone back to whatever happens while its entry is made: an error of the boot partition, the end of the
// agent, or of the power.
func TestRollbackIsCut(t *testing.T) {
	broken := errors.New("input/output error")
	for _, at := range []string{"begun", "made"} {
		for end, again := range map[string]func(*machine){"error": nil, "agent": (*machine).start, "power": (*machine).reboot} {
			t.Run(at+" "+end, func(t *testing.T) {
				m := upgraded(t)
				m.putting = func(step string) error {
					switch {
					case step != at:
						return nil
					case end == "error":
						return broken
					}
					panic(broken) // nothing more is done
				}
				func() {
					defer func() {
						if p := recover(); p != nil && p != any(broken) {
							panic(p)
						}
					}()
					if _, err := m.keeper.Rollback(t.Context(), healthy()); !errors.Is(err, broken) {
						t.Fatalf("roll back: %v", err)
					}
				}()
				m.putting = nil
				if again != nil {
					again(m)
				}
				if at == "made" && end == "power" {
					if m.running.Version != "1.0.0" || m.stage() != Trial {
						t.Errorf("version %s runs, stage %s", m.running.Version, m.stage())
					}
					return
				}
				if m.running.Version != "1.1.0" || m.tries["a"] > 0 {
					t.Errorf("version %s runs, and the other has %d tries", m.running.Version, m.tries["a"])
				}
				if s, _ := m.keeper.Status(); s.Record.Stage != Idle || s.Other.Version != "1.0.0" {
					t.Fatalf("stage %s, the other slot holds %+v", s.Record.Stage, s.Other)
				}
				if _, err := m.keeper.Rollback(t.Context(), healthy()); err != nil {
					t.Fatal(err)
				}
				m.reboot()
				if m.running.Version != "1.0.0" || m.stage() != Trial {
					t.Errorf("after another try: version %s, stage %s", m.running.Version, m.stage())
				}
			})
		}
	}
}

// TestNeverWell: a release that is not well goes back by itself, also to one below its own floor, which would be refused to whoever asks for it.
func TestNeverWell(t *testing.T) {
	m := newMachine(t)
	m.install("1.1.0", "2")
	m.floor = "1.1.0" // that of the release which starts now
	m.reboot()
	m.keeper.cfg.SinceBoot = func() time.Duration { return deadline }
	if _, err := m.keeper.Look(t.Context(), gates("node", "1m"), deadline); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"note 1 1.1.0: going back to version 1.0.0: not well 10m0s after its start: node: not there",
		"reboot: going back to version 1.0.0: not well 10m0s after its start: node: not there",
	}
	if d := cmp.Diff(want, m.log); d != "" || m.stage() != Reverting || m.tries["b"] != 0 {
		t.Fatalf("stage %s, tries %d\n%s", m.stage(), m.tries["b"], d)
	}
	m.reboot()
	s, _ := m.keeper.Status()
	if s.Record.Last == nil || s.Record.Last.Succeeded || !strings.Contains(s.Record.Last.Reason, "node: not there") || m.running.Slot != "a" {
		t.Errorf("in slot %s: %+v", m.running.Slot, s.Record.Last)
	}
}

// TestRecordIsBehind: a release is blessed once, and stays blessed whatever its gates say while the record of it cannot be stored.
func TestRecordIsBehind(t *testing.T) {
	m := newMachine(t)
	m.install("1.1.0", "2")
	m.reboot()
	record := filepath.Join(m.dir, "state/upgrade.json")
	if err := errors.Join(os.Remove(record), os.Mkdir(record, 0o700)); err != nil {
		t.Fatal(err)
	}
	m.keeper.cfg.SinceBoot = func() time.Duration { return deadline }
	for _, g := range [][]Gate{healthy(), healthy(), gates("node", "1m")} {
		if _, err := m.keeper.Look(t.Context(), g, deadline); err == nil || !m.keeper.Blessed() || m.stage() != Trial {
			t.Fatalf("stage %s, blessed: %t, %v", m.stage(), m.keeper.Blessed(), err)
		}
	}
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}
	if _, err := m.keeper.Look(t.Context(), gates("node", "1m"), deadline); err != nil {
		t.Fatal(err)
	}
	s, _ := m.keeper.Status()
	if s.Record.Stage != Idle || s.Record.Last == nil || !s.Record.Last.Succeeded || m.tries["b"] != -1 || m.blessings != 1 || len(m.log) > 0 {
		t.Errorf("%+v, %d tries, blessed %d times, log %q", s.Record, m.tries["b"], m.blessings, m.log)
	}
}

// TestNoSign: the release never gets as far as its agent.
func TestNoSign(t *testing.T) {
	m := newMachine(t)
	m.install("1.1.0", "2")
	m.tries["b"] = 0 // both were used up
	m.crash = "kernel panic: no init"
	m.reboot()
	s, _ := m.keeper.Status()
	if l := s.Record.Last; l == nil || l.Succeeded || l.Reason != m.crash {
		t.Errorf("%+v", l)
	}
	if want := "note  1.1.0: fell back to version 1.0.0: kernel panic: no init"; len(m.log) != 1 || m.log[0] != want {
		t.Errorf("notes %q, want %q", m.log, want)
	}
}

// TestRefused pushes what the node must not take. Neither slot nor entry may be touched, and the next good one is taken.
func TestRefused(t *testing.T) {
	m := newMachine(t)
	good := bundle(t, 1, "1.1.0", "2", nil)
	tests := map[string]struct {
		data []byte
		want error
	}{
		"cut":            {good[:bytes.Index(good, []byte("tree 1.1.0"))+3], release.ErrMalformed},
		"altered":        {bytes.Replace(good, []byte("tree 1.1.0"), []byte("tree 1.1.1"), 1), release.ErrAltered},
		"another's":      {bundle(t, 2, "1.1.0", "2", nil), release.ErrUntrusted},
		"older":          {bundle(t, 1, "0.9.9", "2", nil), release.ErrUnwanted},
		"the same":       {bundle(t, 1, "1.0.0", "1", nil), release.ErrUnwanted},
		"arm64":          {bundle(t, 1, "1.1.0", "2", func(r *release.Manifest) { r.Architecture = "arm64" }), release.ErrUnwanted},
		"too large":      {bundle(t, 1, "1.1.0", "2", func(r *release.Manifest) { r.RootBytes = slotBytes + 1 }), release.ErrUnwanted},
		"not a release":  {[]byte("<html>404</html>"), release.ErrMalformed},
		"nothing at all": {nil, release.ErrMalformed},
	}
	for name, test := range tests {
		if _, err := m.keeper.Push(t.Context(), Allow{}, bytes.NewReader(test.data)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if _, err := m.keeper.Install(t.Context(), healthy()); !errors.Is(err, ErrNothingPushed) {
			t.Errorf("%s: installed: %v", name, err)
		}
	}
	if m.slots["b"] != rootHash("0") || m.entries["b"].Version != "" {
		t.Errorf("slot b was touched: %s, %+v", m.slots["b"], m.entries["b"])
	}
	m.install("1.1.0", "2")
}

// endless repeats a block.
type endless struct {
	block []byte
	at    int
	read  int64
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.block[e.at:])
	e.at = (e.at + n) % len(e.block)
	e.read += int64(n)
	return n, nil
}

// TestEndlessPush: a stream that never comes to the point is given up after what a manifest can have, and one that goes on behind the release
// after what the manifest says.
func TestEndlessPush(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: strings.Repeat("x", 300), Format: tar.FormatPAX, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	// The extended header alone, which promises that another follows.
	extended := archive.Bytes()[:archive.Len()-512]
	good := bundle(t, 1, "1.1.0", "2", nil)
	for name, test := range map[string]struct {
		start []byte
		limit int64
	}{"from the start": {nil, 256 << 10}, "behind it": {good[:len(good)-1024], 320 << 10}} {
		m := newMachine(t)
		e := &endless{block: extended}
		_, err := m.keeper.Push(t.Context(), Allow{}, io.MultiReader(bytes.NewReader(test.start), e))
		if !errors.Is(err, release.ErrMalformed) || e.read > test.limit {
			t.Errorf("%s: %v after %d bytes", name, err, e.read)
		}
		if _, err := os.Stat(filepath.Join(m.dir, "data/upgrade")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was kept: %v", name, err)
		}
	}
}

// TestNoRoom: what does not fit beside the node's own data is refused before it is written.
func TestNoRoom(t *testing.T) {
	m := newMachine(t)
	m.keeper.cfg.FreeBytes = func(dir string) (int64, error) {
		if dir != filepath.Join(m.dir, "data") {
			t.Errorf("asked for the room of %s", dir)
		}
		return keptFreeBytes, nil
	}
	if _, err := m.keeper.Push(t.Context(), Allow{}, bytes.NewReader(bundle(t, 1, "1.1.0", "2", nil))); !errors.Is(err, ErrNoRoom) {
		t.Errorf("pushed: %v", err)
	}
	if _, err := os.Stat(filepath.Join(m.dir, "data/upgrade")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}

// TestDiskFails: the slot cannot be written; the node stays as it is, says so, and the next attempt goes through.
func TestDiskFails(t *testing.T) {
	m := newMachine(t)
	if _, err := m.keeper.Push(t.Context(), Allow{}, bytes.NewReader(bundle(t, 1, "1.1.0", "2", nil))); err != nil {
		t.Fatal(err)
	}
	m.broken = errors.New("input/output error")
	if _, err := m.keeper.Install(t.Context(), healthy()); !errors.Is(err, m.broken) {
		t.Fatalf("installed on a broken disk: %v", err)
	}
	s, _ := m.keeper.Status()
	if s.Record.Stage != Idle || s.Record.Last == nil || s.Record.Last.Reason != m.broken.Error() || m.entries["b"].Version != "" {
		t.Errorf("%+v, entry %+v", s.Record, m.entries["b"])
	}
	m.broken = nil
	if _, err := m.keeper.Install(t.Context(), healthy()); err != nil {
		t.Errorf("the second attempt: %v", err)
	}
}

// TestPushedIsDamaged: what lies on the data volume is not what was pushed any more.
func TestPushedIsDamaged(t *testing.T) {
	for _, name := range []string{release.Kernel, release.Verity, release.Root} {
		m := newMachine(t)
		if _, err := m.keeper.Push(t.Context(), Allow{}, bytes.NewReader(bundle(t, 1, "1.1.0", "2", nil))); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(m.dir, "data/upgrade", name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)-1] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := m.keeper.Install(t.Context(), healthy()); err == nil {
			t.Errorf("%s: damaged, and installed", name)
		}
		if m.entries["b"].Version != "" {
			t.Errorf("%s: damaged, and there is an entry for it", name)
		}
	}
}

func TestBusy(t *testing.T) {
	m := newMachine(t)
	m.install("1.1.0", "2")
	if _, err := m.keeper.Push(t.Context(), Allow{}, bytes.NewReader(bundle(t, 1, "1.2.0", "3", nil))); !errors.Is(err, ErrBusy) {
		t.Errorf("push while armed: %v", err)
	}
	if err := m.keeper.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.keeper.Cancel(t.Context()); !errors.Is(err, ErrIdle) {
		t.Errorf("cancel twice: %v", err)
	}
	if m.tries["b"] != 0 {
		t.Error("a cancelled upgrade would still be tried")
	}
	m.install("1.2.0", "3")
}

// TestRecordIsLost: the state volume was made anew in the middle of a trial.
func TestRecordIsLost(t *testing.T) {
	m := newMachine(t)
	m.install("1.1.0", "2")
	m.reboot()
	for _, text := range []string{"", "{not JSON"} {
		path := filepath.Join(m.dir, "state/upgrade.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		m.start()
		if got := m.stage(); got != Trial {
			t.Errorf("with a record %q: stage %s, want %s", text, got, Trial)
		}
	}
}

// TestPushed: what was pushed is handed out as it was signed, and nothing else happens to it meanwhile.
func TestPushed(t *testing.T) {
	m := newMachine(t)
	never := func(release.Manifest, func(string) (io.ReadCloser, error)) error {
		t.Error("something was handed out")
		return nil
	}
	if err := m.keeper.Pushed(never); !errors.Is(err, ErrNothingPushed) {
		t.Errorf("nothing pushed: %v", err)
	}
	if _, err := m.keeper.Push(t.Context(), Allow{}, bytes.NewReader(bundle(t, 1, "1.1.0", "2", nil))); err != nil {
		t.Fatal(err)
	}
	read := func(open func(string) (io.ReadCloser, error), name string) (string, error) {
		in, err := open(name)
		if err != nil {
			return "", err
		}
		data, err := io.ReadAll(in)
		return string(data), errors.Join(err, in.Close())
	}
	err := m.keeper.Pushed(func(got release.Manifest, open func(string) (io.ReadCloser, error)) error {
		if got.Version != "1.1.0" || got.RootHash != rootHash("2") {
			t.Errorf("manifest %+v", got)
		}
		for name, want := range map[string]string{release.Kernel: "kernel 1.1.0", release.Verity: "tree 1.1.0", release.Root: strings.Repeat("root 1.1.0", 1000)} {
			if text, err := read(open, name); text != want || err != nil {
				t.Errorf("%s: %d bytes, %v", name, len(text), err)
			}
		}
		if _, err := m.keeper.Install(t.Context(), healthy()); !errors.Is(err, ErrBusy) {
			t.Errorf("an installation meanwhile: %v", err)
		}
		if err := os.WriteFile(filepath.Join(m.dir, "data/upgrade", release.Kernel), []byte("kernel 1.1.1"), 0o600); err != nil {
			return err
		}
		_, err := read(open, release.Kernel)
		return err
	})
	if !errors.Is(err, release.ErrAltered) {
		t.Errorf("what is not what was signed: %v", err)
	}
}
