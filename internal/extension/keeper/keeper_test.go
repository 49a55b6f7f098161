package keeper

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/release"
)

const kernelRelease = "6.12.57-amd64"

func signer(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

// build is an extension of modules: its manifest, and the file of it, signed by the key of a seed.
func build(t testing.TB, key byte, change func(*extension.Manifest)) (extension.Manifest, []byte) {
	t.Helper()
	m := extension.Manifest{
		Description:  extension.Description{Name: "nlmon", Version: "1.0.0", Modules: []string{"nlmon"}},
		Architecture: "amd64", Kernel: kernelRelease,
	}
	change(&m)
	content := map[string][]byte{extension.SBOM: []byte("{}")}
	content[extension.Image] = bytes.Repeat(fmt.Appendf(nil, "%-64s", m.String()), 64)
	content[extension.Verity] = make([]byte, 4096)
	sum := sha256.Sum256(content[extension.Image])
	if m.RootHash == "" {
		m.RootHash = hex.EncodeToString(sum[:])
	}
	for _, name := range []string{extension.Image, extension.Verity, extension.SBOM} {
		sum := sha256.Sum256(content[name])
		m.Files = append(m.Files, release.File{Name: name, Bytes: int64(len(content[name])), SHA256: hex.EncodeToString(sum[:])})
	}
	e, err := extension.Sign(m, signer(key))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = extension.Write(&b, e, m, func(name string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content[name])), nil })
	if err != nil {
		t.Fatal(err)
	}
	return m, b.Bytes()
}

// withService makes it an extension of a service alone.
func withService(name string, user uint32) func(*extension.Manifest) {
	return func(m *extension.Manifest) {
		m.Name, m.Modules, m.Kernel = name, nil, ""
		m.OS.From, m.Service = "0.1.0", &extension.Service{Program: "/x", User: user}
	}
}

// fakeKernel remembers what it was asked for.
type fakeKernel struct {
	mounted  map[string][32]byte
	open     []string
	closed   bool
	admitted []uint32
	loaded   []string
	// broken is what keeps an extension from being mounted, or a module from being loaded, by name.
	broken map[string]error
	err    error
}

func (k *fakeKernel) Mount(name string, i Image) (Mounted, error) {
	if err := k.broken[name]; err != nil {
		return Mounted{}, err
	}
	for _, file := range []string{i.Data, i.Tree} {
		if _, err := os.Stat(file); err != nil {
			return Mounted{}, err
		}
	}
	if hash, there := k.mounted[name]; there && hash != i.RootHash {
		return Mounted{}, errors.New("another build of it is in use")
	}
	if _, there := k.mounted[name]; !there {
		k.open = append(k.open, i.Data, i.Tree)
	}
	k.mounted[name] = i.RootHash
	return Mounted{Dir: "/run/extensions/" + name, Device: uint32(i.RootHash[0])}, nil
}

func (k *fakeKernel) Admit(devices []uint32) ([]uint32, error) {
	if k.err != nil {
		return nil, k.err
	}
	if !k.closed {
		k.admitted, k.closed = slices.Clone(devices), true
	}
	return k.admitted, nil
}

func (k *fakeKernel) Load(dir, module string) error {
	if err := k.broken[module]; err != nil {
		return fmt.Errorf("load %s: %w", module, err)
	}
	k.loaded = append(k.loaded, dir+"/"+module)
	return nil
}

func (k *fakeKernel) Open() ([]string, error) { return k.open, k.err }

type node struct {
	*Keeper
	t      *testing.T
	dir    string
	kernel *fakeKernel
	free   int64
}

func newNode(t *testing.T) *node {
	n := &node{t: t, dir: filepath.Join(t.TempDir(), "extensions"), free: 1 << 30}
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	n.boot()
	return n
}

// boot is another boot of the machine: the running system has nothing of extensions in it.
func (n *node) boot() {
	n.kernel = &fakeKernel{mounted: map[string][32]byte{}, broken: map[string]error{}}
	n.restart()
}

// restart is another agent in the same boot.
func (n *node) restart() {
	n.Keeper = New(Config{
		Log: slog.New(slog.DiscardHandler), Dir: n.dir, Keys: []ed25519.PublicKey{signer(1).Public().(ed25519.PublicKey)},
		Node:      extension.Node{Architecture: "amd64", Kernel: kernelRelease, OS: "0.2.0"},
		FreeBytes: func(string) (int64, error) { return n.free - n.used(), nil }, Kernel: n.kernel,
	})
}

func (n *node) push(change func(*extension.Manifest)) extension.Manifest {
	n.t.Helper()
	m, data := build(n.t, 1, change)
	got, err := n.Push(n.t.Context(), bytes.NewReader(data))
	if d := cmp.Diff(m, got); d != "" || err != nil {
		n.t.Fatalf("push %s: %v\n%s", m, err, d)
	}
	return m
}

func (n *node) activate(wanted ...extension.Name) []State {
	n.t.Helper()
	states, err := n.Activate(n.t.Context(), wanted)
	if err != nil {
		n.t.Fatal(err)
	}
	return states
}

// files lists what lies on the disk.
func (n *node) files() string {
	n.t.Helper()
	var out []string
	err := filepath.WalkDir(n.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(n.dir, path)
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.Join(out, " ")
}

// used is how much of the disk what was pushed takes.
func (n *node) used() (sum int64) {
	n.t.Helper()
	for _, name := range strings.Fields(n.files()) {
		info, err := os.Stat(filepath.Join(n.dir, name))
		if err != nil {
			n.t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}

func same(*extension.Manifest) {}

var nlmon = extension.Name{Name: "nlmon", Version: "1.0.0"}

const nlmonFiles = "nlmon,1.0.0,6.12.57-amd64/extension.dsse.json nlmon,1.0.0,6.12.57-amd64/image.erofs " +
	"nlmon,1.0.0,6.12.57-amd64/image.verity nlmon,1.0.0,6.12.57-amd64/sbom.spdx.json"

func TestPushListRemove(t *testing.T) {
	n := newNode(t)
	m := n.push(same)
	n.push(same) // the same again is no error
	if got := n.files(); got != nlmonFiles {
		t.Errorf("files: %s", got)
	}
	next := n.push(func(m *extension.Manifest) { m.Kernel = "6.12.58-amd64" })
	list, err := n.List()
	if err != nil || len(list) != 2 || list[0].Manifest.RootHash != m.RootHash || list[0].Fits != nil || list[1].Manifest.Kernel != next.Kernel {
		t.Fatalf("list: %+v, %v", list, err)
	}
	if err := list[1].Fits; !errors.Is(err, extension.ErrUnfit) {
		t.Errorf("one for the next kernel fits: %v", err)
	}
	sbom, err := n.SBOM(m)
	if err != nil {
		t.Fatal(err)
	}
	defer sbom.Close()
	if text, err := io.ReadAll(sbom); string(text) != "{}" || err != nil {
		t.Errorf("bill of materials: %q, %v", text, err)
	}
	if err := n.Remove(nlmon, "6.12.59-amd64"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "nlmon,1.0.0,6.12.57-amd64") {
		t.Errorf("remove what is not there: %v", err)
	}
	if err := n.Remove(nlmon, next.Kernel); err != nil {
		t.Error(err)
	}
	if got := n.files(); got != nlmonFiles {
		t.Errorf("files after one was removed: %s", got)
	}
}

// TestRefused: what is refused leaves nothing behind, and what was there stays.
func TestRefused(t *testing.T) {
	n := newNode(t)
	n.push(same)
	_, good := build(t, 1, same)
	_, foreign := build(t, 2, same)
	_, arm := build(t, 1, func(m *extension.Manifest) { m.Architecture = "arm64" })
	_, other := build(t, 1, func(m *extension.Manifest) { m.RootHash = strings.Repeat("ab", 32) })
	_, second := build(t, 1, func(m *extension.Manifest) { m.Version = "2.0.0" })
	altered := bytes.Replace(good, []byte("nlmon 1.0.0 for"), []byte("nlmon 1.0.0 foR"), 1)
	for name, test := range map[string]struct {
		data []byte
		free int64
		want error
		says string
	}{
		"nothing":              {nil, 1 << 30, extension.ErrMalformed, ""},
		"cut":                  {good[:len(good)/2], 1 << 30, extension.ErrMalformed, ""},
		"altered":              {altered, 1 << 30, release.ErrAltered, extension.Image},
		"another's key":        {foreign, 1 << 30, release.ErrUntrusted, "trusted are"},
		"another architecture": {arm, 1 << 30, extension.ErrUnfit, "arm64"},
		"another of its name":  {other, 1 << 30, ErrThere, "remove that first"},
		"too large":            {second, 1 << 20, ErrNoRoom, "stay free"},
	} {
		n.free = test.free
		if _, err := n.Push(t.Context(), bytes.NewReader(test.data)); !errors.Is(err, test.want) || !strings.Contains(fmt.Sprint(err), test.says) {
			t.Errorf("%s: got %v, want %v with %q", name, err, test.want, test.says)
		}
		if got := n.files(); got != nlmonFiles {
			t.Errorf("%s: files are %s", name, got)
		}
	}
	if err := os.RemoveAll(n.dir); err != nil {
		t.Fatal(err)
	}
	n.free = 1 << 30
	if _, err := n.Push(t.Context(), bytes.NewReader(good)); !errors.Is(err, ErrNoRoom) {
		t.Errorf("without the data volume: %v", err)
	}
	if list, err := n.List(); len(list) != 0 || err != nil {
		t.Errorf("without the data volume there are %v, %v", list, err)
	}
}

// TestPushAfterCut: what a push has left that was cut off is not in the way of the next one.
func TestPushAfterCut(t *testing.T) {
	n := newNode(t)
	if err := os.Mkdir(filepath.Join(n.dir, pushDir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.dir, pushDir, extension.Image), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	n.free = keptFreeBytes + 1<<20
	n.push(same)
	if got := n.files(); got != nlmonFiles {
		t.Errorf("files: %s", got)
	}
}

// TestRemoveCut: a removal that is cut off, also that of a build whose place another takes, leaves no manifest without its image.
func TestRemoveCut(t *testing.T) {
	n := newNode(t)
	m := n.push(same)
	n.removeAll = func(path string) error {
		if err := os.Remove(filepath.Join(path, extension.Image)); err != nil {
			return os.RemoveAll(path) // there is none
		}
		return errors.New("the power was cut")
	}
	n.push(same)
	if list, err := n.List(); err != nil || len(list) != 1 || list[0].Problem != "" || !strings.HasPrefix(n.files(), ".gone/") {
		t.Errorf("after a push: %+v, %v; files: %s", list, err, n.files())
	}
	if err := n.Remove(nlmon, m.Kernel); err != nil {
		t.Error(err)
	}
	n.restart()
	if err := n.Suits([]extension.Name{nlmon}, n.cfg.Node); !errors.Is(err, ErrMissing) {
		t.Errorf("it is said to be there: %v; files: %s", err, n.files())
	}
	if n.push(same); n.files() != nlmonFiles {
		t.Errorf("pushed again: %s", n.files())
	}
}

// TestMostStored: when as many are there as may be, no other is taken, and the same are.
func TestMostStored(t *testing.T) {
	n := newNode(t)
	for i := range maxStored {
		n.push(func(m *extension.Manifest) { m.Version = fmt.Sprintf("1.0.%d", i) })
	}
	n.push(same)
	_, another := build(t, 1, func(m *extension.Manifest) { m.Version = "2.0.0" })
	if _, err := n.Push(t.Context(), bytes.NewReader(another)); !errors.Is(err, ErrNoRoom) || !strings.Contains(err.Error(), "64 are there already") {
		t.Errorf("one more: %v", err)
	}
}

// TestSlowPush: who sends slowly keeps other pushes away, and nothing else.
func TestSlowPush(t *testing.T) {
	n := newNode(t)
	n.push(same)
	_, second := build(t, 1, func(m *extension.Manifest) { m.Version = "2.0.0" })
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := n.Push(t.Context(), r)
		ended <- err
	}()
	if _, err := w.Write(second[:2048]); err != nil { // it has begun
		t.Fatal(err)
	}
	if _, err := n.Push(t.Context(), bytes.NewReader(second)); !errors.Is(err, ErrBusy) {
		t.Errorf("another push: %v", err)
	}
	if got := n.activate(nlmon); got[0].Reason != "" {
		t.Errorf("put to use meanwhile: %+v", got)
	}
	go func() { // the end of the archive may not be read
		_, err := w.Write(second[2048:])
		w.CloseWithError(err)
	}()
	if err := errors.Join(<-ended, r.Close()); err != nil {
		t.Error(err)
	}
	if list, err := n.List(); len(list) != 2 || err != nil {
		t.Errorf("list: %+v, %v", list, err)
	}
}

// TestActivate: modules and services come in the order of the configuration, from the builds that fit, and each reason is said.
func TestActivate(t *testing.T) {
	n := newNode(t)
	m := n.push(same)
	n.push(func(m *extension.Manifest) { m.Kernel = "6.12.58-amd64" })
	n.push(func(m *extension.Manifest) { m.Name, m.Modules, m.Kernel = "old", []string{"old"}, "6.12.1-amd64" })
	n.push(func(m *extension.Manifest) { m.Name, m.Modules = "bad", []string{"bad", "worse"} })
	n.push(withService("agent", 2001))
	n.push(withService("twin", 2001))
	n.kernel.broken["worse"] = errors.New("key was rejected")
	want := []State{
		{Name: nlmon, RootHash: m.RootHash, Dir: "/run/extensions/nlmon"},
		{Name: extension.Name{Name: "old", Version: "1.0.0"}, Reason: "old 1.0.0: it does not fit: its modules are for kernel 6.12.1-amd64, not for 6.12.57-amd64"},
		{Name: extension.Name{Name: "none", Version: "3.0.0"}, Reason: "none 3.0.0 is not on the node; push it"},
		{Name: extension.Name{Name: "bad", Version: "1.0.0"}, Dir: "/run/extensions/bad", Reason: "load worse: key was rejected"},
		{Name: extension.Name{Name: "agent", Version: "1.0.0"}, Dir: "/run/extensions/agent", Service: &extension.Service{Program: "/x", User: 2001}},
		{
			Name: extension.Name{Name: "twin", Version: "1.0.0"}, Dir: "/run/extensions/twin",
			Reason: "its service is to run as user 2001, which is that of the extension agent",
		},
	}
	var names []extension.Name
	for _, s := range want {
		names = append(names, s.Name)
	}
	for _, who := range []string{"first agent", "next agent"} {
		got := n.activate(names...)
		for i := range got {
			if want[i].RootHash == "" {
				got[i].RootHash = ""
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", who, d)
		}
		n.restart()
	}
	if got := strings.Join(n.kernel.loaded[:2], " "); got != "/run/extensions/nlmon/modules/nlmon /run/extensions/bad/modules/bad" {
		t.Errorf("loaded %s", got)
	}
	if !n.kernel.closed || len(n.kernel.admitted) != 2 {
		t.Errorf("admitted %v, closed %t", n.kernel.admitted, n.kernel.closed)
	}
}

// TestLate: what is pushed after the list of modules was closed waits for the next boot, but for services.
func TestLate(t *testing.T) {
	n := newNode(t)
	agent := extension.Name{Name: "agent", Version: "1.0.0"}
	if got := n.activate(); len(got) != 0 || !n.kernel.closed {
		t.Errorf("without extensions: %v, closed %t", got, n.kernel.closed)
	}
	m := n.push(same)
	n.push(withService("agent", 2001))
	got := n.activate(nlmon, agent)
	if !strings.Contains(got[0].Reason, "next boot") || got[1].Reason != "" || got[1].Service == nil || len(n.kernel.loaded) != 0 {
		t.Errorf("late: %+v, loaded %v", got, n.kernel.loaded)
	}
	if err := n.Remove(nlmon, m.Kernel); !errors.Is(err, ErrInUse) {
		t.Errorf("remove what is mounted: %v", err)
	}
	n.push(same) // again, while its files are open
	n.boot()
	if got := n.activate(nlmon, agent); got[0].Reason != "" || len(n.kernel.loaded) != 1 {
		t.Errorf("after the next boot: %+v", got)
	}
	n.boot()
	if got := n.activate(agent); len(got) != 1 || len(n.kernel.mounted) != 1 {
		t.Errorf("when it is not wanted any more: %+v, mounted %v", got, n.kernel.mounted)
	}
	if err := n.Remove(nlmon, m.Kernel); err != nil {
		t.Errorf("remove what is not in use: %v", err)
	}
}

// TestSameImage: two versions may have the same file system, as what else they say of themselves is in the manifest. One is not taken for the other.
func TestSameImage(t *testing.T) {
	n := newNode(t)
	hash := strings.Repeat("ab", 32)
	agent := extension.Name{Name: "agent", Version: "1.0.0"}
	as := func(version, before string) func(*extension.Manifest) {
		return func(m *extension.Manifest) {
			withService("agent", 2001)(m)
			m.Version, m.OS.Before, m.RootHash = version, before, hash
		}
	}
	n.push(as("1.0.0", "1.0.0"))
	if got := n.activate(agent); got[0].Reason != "" {
		t.Fatal(got)
	}
	n.push(as("1.0.1", "2.0.0"))
	if err := n.Suits([]extension.Name{{Name: "agent", Version: "1.0.1"}}, extension.Node{Architecture: "amd64", Kernel: kernelRelease, OS: "1.5.0"}); err != nil {
		t.Errorf("the next version was pushed: %v", err)
	}
	_, wider := build(t, 1, as("1.0.0", "2.0.0"))
	if _, err := n.Push(t.Context(), bytes.NewReader(wider)); !errors.Is(err, ErrThere) {
		t.Errorf("another manifest of the version that is there: %v", err)
	}
	if err := n.Remove(extension.Name{Name: "agent", Version: "1.0.1"}, ""); err != nil {
		t.Errorf("remove the one that is not in use: %v", err)
	}
}

// TestNextKey: one that is in use, and is pushed again under the key of the next release, is there for that.
func TestNextKey(t *testing.T) {
	n := newNode(t)
	next := signer(3).Public().(ed25519.PublicKey)
	n.cfg.Keys = append(n.cfg.Keys, next)
	n.push(same)
	n.activate(nlmon)
	_, data := build(t, 3, same)
	if _, err := n.Push(t.Context(), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if got := n.files(); got != nlmonFiles {
		t.Errorf("files: %s", got)
	}
	n.boot()
	n.cfg.Keys = []ed25519.PublicKey{next}
	if got := n.activate(nlmon); got[0].Reason != "" {
		t.Errorf("under the next key alone: %+v", got)
	}
}

// TestNextAgent: what an agent put to use stays in use when the next one is told of other extensions.
func TestNextAgent(t *testing.T) {
	n := newNode(t)
	m := n.push(same)
	n.activate(nlmon)
	n.restart()
	if err := n.Remove(nlmon, m.Kernel); !errors.Is(err, ErrInUse) {
		t.Errorf("before it looked: %v", err)
	}
	n.activate()
	if err := n.Remove(nlmon, m.Kernel); !errors.Is(err, ErrInUse) {
		t.Errorf("when it does not want it: %v", err)
	}
	if got := n.files(); got != nlmonFiles {
		t.Errorf("files: %s", got)
	}
}

// TestDisk: what lies on the disk is trusted no more than what comes over the network.
func TestDisk(t *testing.T) {
	n := newNode(t)
	n.push(same)
	dir := filepath.Join(n.dir, "nlmon,1.0.0,6.12.57-amd64")
	envelope, err := os.ReadFile(filepath.Join(dir, extension.Envelope))
	if err != nil {
		t.Fatal(err)
	}
	_, foreign := build(t, 2, same)
	other, _ := build(t, 1, func(m *extension.Manifest) { m.Version = "2.0.0" })
	signed, err := extension.Sign(other, signer(1))
	if err != nil {
		t.Fatal(err)
	}
	start := bytes.IndexByte(foreign, '{')
	for name, test := range map[string]struct {
		envelope []byte
		says     string
	}{
		"none":              {nil, "not pushed whole"},
		"too large":         {append(bytes.Clone(envelope), bytes.Repeat([]byte(" "), maxEnvelopeBytes)...), "more than 131072 bytes"},
		"cut":               {envelope[:len(envelope)/2], "not a whole extension"},
		"another's":         {foreign[start : start+len(envelope)], "not signed by a key"},
		"another extension": {signed, "lies where another belongs"},
	} {
		path := filepath.Join(dir, extension.Envelope)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if test.envelope != nil {
			if err := os.WriteFile(path, test.envelope, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := n.activate(nlmon); !strings.Contains(got[0].Reason, test.says) || got[0].Dir != "" {
			t.Errorf("%s: %+v, want %q", name, got[0], test.says)
		}
	}
	// What cannot be used can be removed, and pushed again.
	m := n.push(same)
	if err := os.WriteFile(filepath.Join(dir, extension.SBOM), []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := n.SBOM(m); !errors.Is(err, release.ErrAltered) {
		t.Errorf("a bill of materials that was changed: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, extension.Envelope)); err != nil {
		t.Fatal(err)
	}
	if err := n.Remove(nlmon, kernelRelease); err != nil || n.files() != "" {
		t.Errorf("%v, files are %s", err, n.files())
	}
}

// TestSuits: a release suits a node if each extension has a build for it.
func TestSuits(t *testing.T) {
	n := newNode(t)
	n.push(same)
	next := extension.Node{Architecture: "amd64", Kernel: "6.12.58-amd64", OS: "0.3.0"}
	if err := n.Suits(nil, next); err != nil {
		t.Errorf("without extensions: %v", err)
	}
	agent := extension.Name{Name: "agent", Version: "1.0.0"}
	err := n.Suits([]extension.Name{nlmon, agent}, next)
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "for kernel 6.12.57-amd64, not for 6.12.58-amd64") ||
		!strings.Contains(err.Error(), "agent 1.0.0 is not on the node") {
		t.Errorf("with neither: %v", err)
	}
	n.push(func(m *extension.Manifest) { m.Kernel = next.Kernel })
	n.push(withService("agent", 2001))
	if err := n.Suits([]extension.Name{nlmon, agent}, next); err != nil {
		t.Errorf("with both: %v", err)
	}
}

// TestNoAdmission: when the kernel's list cannot be closed, nothing is used, and that is said.
func TestNoAdmission(t *testing.T) {
	n := newNode(t)
	n.push(same)
	n.kernel.err = errors.New("not in force")
	if states, err := n.Activate(t.Context(), []extension.Name{nlmon}); err == nil || states != nil || len(n.kernel.loaded) > 0 {
		t.Errorf("%v, %v, loaded %v", states, err, n.kernel.loaded)
	}
}
