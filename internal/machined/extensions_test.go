package machined

import (
	"bytes"
	"context"
	"debug/pe"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/etcd"
	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/extension/keeper"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/upgrade"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// fakeExtensions are a node's, without files and a kernel.
type fakeExtensions struct {
	mu     sync.Mutex
	stored []keeper.Stored
	err    error
	// calls are those of Activate, by what was wanted.
	calls []string
	// asked is the node that Suits was asked about last.
	asked extension.Node
}

func withService(name, version string) extension.Manifest {
	return extension.Manifest{
		Description: extension.Description{Name: name, Version: version, Service: &extension.Service{Program: "/" + name, User: 2001}},
		RootHash:    name + version,
	}
}

func (f *fakeExtensions) Push(_ context.Context, r io.Reader) (extension.Manifest, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return extension.Manifest{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name, version, ok := strings.Cut(string(data), " ")
	if !ok {
		return extension.Manifest{}, fmt.Errorf("push: %w", extension.ErrMalformed)
	}
	m := withService(name, version)
	f.stored = append(f.stored, keeper.Stored{Dir: name + "," + version + ",", Manifest: m})
	return m, nil
}

func (f *fakeExtensions) List() ([]keeper.Stored, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.stored), nil
}

func (f *fakeExtensions) Remove(name extension.Name, _ string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.stored)
	f.stored = slices.DeleteFunc(f.stored, func(s keeper.Stored) bool { return s.Dir == name.Name+","+name.Version+"," })
	if len(f.stored) == before {
		return keeper.ErrNotFound
	}
	return nil
}

func (f *fakeExtensions) SBOM(m extension.Manifest) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(m.Name)), nil
}

func (f *fakeExtensions) Activate(_ context.Context, wanted []extension.Name) ([]keeper.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprint(wanted))
	if f.err != nil {
		return nil, f.err
	}
	var out []keeper.State
	for _, name := range wanted {
		s := keeper.State{Name: name, Reason: name.String() + " is not on the node; push it"}
		for _, e := range f.stored {
			if e.Problem == "" && e.Manifest.ID() == name {
				s = keeper.State{Name: name, RootHash: e.Manifest.RootHash, Dir: "/extensions/" + name.Name, Service: e.Manifest.Service}
			}
		}
		out = append(out, s)
	}
	return out, nil
}

func (f *fakeExtensions) Suits(wanted []extension.Name, node extension.Node) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = node
	if node.Kernel != "6.12" {
		return fmt.Errorf("%w: %s is for kernel 6.12", keeper.ErrMissing, wanted)
	}
	return nil
}

func (f *fakeExtensions) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeExtensions) activated() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// extended starts a node that keeps extensions.
func extended(t *testing.T, state string, f *fakeExtensions) *node {
	t.Helper()
	return startNodeWith(t, state, storagetest.New(1<<30), func(c *Config) { c.Extensions = f })
}

// naming is a configuration that names extensions, as NAME VERSION.
func naming(document []byte, extensions ...string) []byte {
	var list []string
	for _, e := range extensions {
		name, version, _ := strings.Cut(e, " ")
		list = append(list, fmt.Sprintf("{name: %s, version: %s}", name, version))
	}
	return bytes.Replace(document, []byte("kind: Machine\n"), []byte("kind: Machine\nextensions: ["+strings.Join(list, ", ")+"]\n"), 1)
}

func hasCheck(s snapshot, name string) bool {
	return slices.ContainsFunc(s.checks, func(c server.Check) bool { return c.Name == name })
}

func running(t *testing.T, r container.Runtime) []string {
	t.Helper()
	infos, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range infos {
		if i.State == container.Running {
			out = append(out, i.Name)
		}
	}
	return out
}

// TestNoExtensions: a node without any still has the kernel's list closed before Kubernetes may start, and waits for that.
func TestNoExtensions(t *testing.T) {
	t.Parallel()
	f := &fakeExtensions{err: errors.New("the list cannot be closed")}
	n := extended(t, t.TempDir(), f)
	n.source.set(documents(t))
	n.etcd.set(etcd.Status{Ready: true, Running: true, Healthy: true})
	n.await("the reason", func(s snapshot) bool { return reasonOf(s, "extensions") == "the list cannot be closed" })
	n.await("Kubernetes to wait", func(s snapshot) bool {
		return s.desired.Kube == nil && s.desired.Waits[plan.Kubernetes] == "waiting for the extensions to be put to use"
	})
	f.fail(nil)
	n.await("Kubernetes wanted", func(s snapshot) bool { return s.desired.Kube != nil })
	if s := n.snapshot(); hasCheck(s, "extensions") || f.activated()[0] != "[]" {
		t.Errorf("a check without extensions: %+v; activated %v", s.checks, f.activated())
	}
}

// TestExtensionsComeUp: the node comes up without an extension that is missing and says so; its service starts when it is pushed, also on a node without
// a cluster, and stopping it shows.
func TestExtensionsComeUp(t *testing.T) {
	f := &fakeExtensions{stored: []keeper.Stored{{Dir: "one,1.0.0,", Manifest: withService("one", "1.0.0")}}}
	n := extended(t, t.TempDir(), f)
	n.source.set(naming(standalone(t), "one 1.0.0", "two 2.0.0"))
	n.await("one of them", func(s snapshot) bool {
		return reasonOf(s, "extensions") == "extension two 2.0.0: two 2.0.0 is not on the node; push it"
	})
	n.await("containerd", func(s snapshot) bool { return s.runtime })
	if got := f.activated(); len(got) != 1 || got[0] != "[one 1.0.0 two 2.0.0]" {
		t.Errorf("activated %q", got)
	}
	n.awaitOther("its service", func() bool { return slices.Equal(running(t, n.containers), []string{"ext-one"}) })
	api := extensionsAPI{n.Agent}
	list, err := api.Extensions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []server.Extension{
		{ExtensionName: server.ExtensionName{Name: "one", Version: "1.0.0"}, Service: "ext-one", RootHash: "one1.0.0", State: server.ExtensionActive},
		{ExtensionName: server.ExtensionName{Name: "two", Version: "2.0.0"}, State: server.ExtensionFailed, Reason: "two 2.0.0 is not on the node; push it"},
	}
	if d := cmp.Diff(want, list); d != "" {
		t.Errorf("list (-want +got):\n%s", d)
	}
	if _, err := api.Push(t.Context(), strings.NewReader("garbage")); !errors.Is(err, server.ErrInvalid) {
		t.Errorf("push garbage: %v", err)
	}
	if e, err := api.Push(t.Context(), strings.NewReader("two 2.0.0")); err != nil || e.Name != "two" {
		t.Errorf("push: %+v, %v", e, err)
	}
	n.await("all of them", func(s snapshot) bool { return healthy(s, "extensions") })
	n.awaitOther("both services", func() bool { return slices.Equal(running(t, n.containers), []string{"ext-one", "ext-two"}) })
	services := servicesAPI{n.Agent}
	if err := services.StopService(t.Context(), "ext-one"); err != nil {
		t.Fatal(err)
	}
	n.await("that it was stopped", func(s snapshot) bool {
		return strings.Contains(reasonOf(s, "extensions"), "ext-one was stopped on request")
	})
	if !hasCheck(n.snapshot(), "extensions") || healthy(n.snapshot(), "extensions") {
		t.Errorf("checks %+v", n.snapshot().checks)
	}
	if err := services.StartService(t.Context(), "ext-one"); err != nil {
		t.Fatal(err)
	}
	n.await("all of them again", func(s snapshot) bool {
		return healthy(s, "extensions") && slices.Equal(running(t, n.containers), []string{"ext-one", "ext-two"})
	})
}

// TestWhenExtensionsAreUsed: once, and again only for what was pushed, or for a configuration that came late.
func TestWhenExtensionsAreUsed(t *testing.T) {
	wants := func(names ...string) *config.Config {
		c := &config.Config{}
		for _, n := range names {
			c.Machine.Extensions = append(c.Machine.Extensions, config.Extension{Name: n, Version: "1.0.0"})
		}
		return c
	}
	data := storage.Status{Volumes: []storage.VolumeStatus{{Name: storage.Data, Mounted: true}}}
	for name, test := range map[string]struct {
		change func(*snapshot)
		want   bool
	}{
		"not yet":                {func(s *snapshot) { s.extensions = nil }, true},
		"done":                   {func(*snapshot) {}, false},
		"pushed":                 {func(s *snapshot) { s.pushes++ }, true},
		"another configuration":  {func(s *snapshot) { s.input.Config = wants("one", "two") }, true},
		"none wanted any more":   {func(s *snapshot) { s.input.Config = wants() }, true},
		"no configuration":       {func(s *snapshot) { s.extensions, s.input.Config = nil, nil }, false},
		"no walls":               {func(s *snapshot) { s.extensions, s.confined = nil, "" }, false},
		"no data volume":         {func(s *snapshot) { s.extensions, s.storage.Status.Volumes = nil, nil }, false},
		"no data volume, no use": {func(s *snapshot) { s.extensions, s.storage.Status.Volumes, s.input.Config = nil, nil, wants() }, true},
		"keeps none":             {func(s *snapshot) { s.extensions, s.extensible = nil, false }, false},
		"for the time being": {func(s *snapshot) {
			s.extensions, s.input.Config, s.came = nil, wants(), missed
			s.storage.Status.Volumes = []storage.VolumeStatus{{Name: storage.State, Encrypted: true, Shut: true}}
		}, false},
		"before the volumes are looked at": {func(s *snapshot) {
			s.extensions, s.input.Config, s.came, s.storage.Status.Volumes = nil, wants(), missed, nil
		}, false},
		"without a plain state": {func(s *snapshot) {
			s.extensions, s.input.Config, s.came = nil, wants(), missed
			s.storage.Status.Volumes = []storage.VolumeStatus{{Name: storage.State}}
		}, true},
	} {
		s := snapshot{extensible: true, confined: config.ProfileStandard, extensions: &extensionsInUse{wanted: wantedExtensions(wants("one"))}}
		s.input.Config, s.storage.Status = wants("one"), data
		test.change(&s)
		if got := s.canUseExtensions(); got != test.want {
			t.Errorf("%s: got %t, want %t", name, got, test.want)
		}
	}
}

// TestRemoveExtension: what a configuration names stays, and what is not there is told.
func TestRemoveExtension(t *testing.T) {
	f := &fakeExtensions{stored: []keeper.Stored{
		{Dir: "one,1.0.0,", Manifest: withService("one", "1.0.0")}, {Dir: "one,2.0.0,", Manifest: withService("one", "2.0.0")},
		{Dir: "three,3.0.0,", Problem: "it was not pushed whole"},
	}}
	n := extended(t, t.TempDir(), f)
	api := extensionsAPI{n.Agent}
	n.source.set(naming(standalone(t), "one 1.0.0"))
	n.await("extensions", func(s snapshot) bool { return healthy(s, "extensions") })
	for _, test := range []struct {
		name server.ExtensionName
		want error
	}{
		{server.ExtensionName{Name: "one", Version: "1.0.0"}, server.ErrPrecondition},
		{server.ExtensionName{Name: "one", Version: "3.0.0"}, server.ErrNotFound},
		{server.ExtensionName{Name: "one", Version: "2.0.0"}, nil},
		{server.ExtensionName{Name: "three", Version: "3.0.0"}, nil},
	} {
		if _, err := api.Remove(t.Context(), test.name); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("remove %+v: got %v, want %v", test.name, err, test.want)
		}
	}
	for name, want := range map[string]error{"one": nil, "two": server.ErrNotFound} {
		sbom, err := api.SBOM(t.Context(), server.ExtensionName{Name: name})
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("bill of materials of %s: %v", name, err)
			continue
		}
		if err == nil {
			if text, err := io.ReadAll(sbom); string(text) != name || err != nil {
				t.Errorf("bill of materials of %s: %q, %v", name, text, err)
			}
		}
	}
}

// TestDescribed: of two versions with the same image, the one that the configuration names is in use.
func TestDescribed(t *testing.T) {
	used, other := withService("one", "1.0.0"), withService("one", "1.0.1")
	other.RootHash = used.RootHash
	s := snapshot{extensions: &extensionsInUse{states: []keeper.State{{Name: used.ID(), RootHash: used.RootHash, Dir: "/extensions/one"}}}}
	if u, o := described(used, s), described(other, s); u.State != server.ExtensionActive || o.State != server.ExtensionStored {
		t.Errorf("states %v and %v", u.State, o.State)
	}
}

// TestNoExtensionsKept: a node that keeps none says so.
func TestNoExtensionsKept(t *testing.T) {
	n := startNode(t, t.TempDir(), storagetest.New(1<<30))
	n.source.set(naming(standalone(t), "one 1.0.0"))
	n.await("the reason", func(s snapshot) bool { return reasonOf(s, "extensions") == "this node keeps no extensions" })
	if _, err := (extensionsAPI{n.Agent}).Extensions(t.Context()); !errors.Is(err, server.ErrPrecondition) {
		t.Errorf("list: %v", err)
	}
}

// kernelImage is a PE file with a section .uname, as a unified kernel image has one (PE format, "PE File Headers"); with an empty text it has another.
func kernelImage(uname string) []byte {
	name := ".uname"
	if uname == "" {
		name, uname = ".linux", "kernel"
	}
	const fileHeader, headers = 0x44, 0x200
	out := make([]byte, headers+0x200)
	copy(out, "MZ")
	out[0x3c] = 0x40
	copy(out[0x40:], "PE\x00\x00")
	le := binary.LittleEndian
	le.PutUint16(out[fileHeader:], pe.IMAGE_FILE_MACHINE_AMD64)
	le.PutUint16(out[fileHeader+2:], 1) // sections
	section := out[fileHeader+20:]
	copy(section, name)
	le.PutUint32(section[8:], uint32(len(uname)))
	le.PutUint32(section[16:], 0x200)
	le.PutUint32(section[20:], headers)
	copy(out[headers:], uname)
	return out
}

// TestUpgradeWantsExtensions: a release for which an extension of the next boot's configuration is missing is refused by the API, with the reason, and
// taken where that is asked for.
func TestUpgradeWantsExtensions(t *testing.T) {
	t.Parallel()
	f := &fakeExtensions{stored: []keeper.Stored{{Dir: "one,1.0.0,", Manifest: withService("one", "1.0.0")}}}
	u := startUpgrading(t, oldRelease, upgrade.Record{Stage: upgrade.Idle}, func(c *Config) { c.Extensions = f })
	u.source.set(naming(standalone(t), "one 1.0.0"))
	u.await("idle, in order", func(s snapshot) bool { return stage(upgrade.Idle)(s) && healthy(s, "extensions") })
	api := upgradesAPI{u.Agent}
	for uname, says := range map[string]string{"6.13": "for kernel 6.12", "": "no section .uname"} {
		_, err := api.Push(t.Context(), server.UpgradeAllow{}, bytes.NewReader(bundleOf(t, releaseKey(), "1.1.0", kernelImage(uname))))
		if !errors.Is(err, server.ErrPrecondition) || !strings.Contains(err.Error(), says) {
			t.Errorf("a release with kernel %q: %v", uname, err)
		}
	}
	if f.asked != (extension.Node{Architecture: "amd64", Kernel: "6.13", OS: "1.1.0"}) {
		t.Errorf("it was held against %+v", f.asked)
	}
	for uname, allow := range map[string]server.UpgradeAllow{"6.12": {}, "6.13": {WithoutExtensions: true}} {
		if _, err := api.Push(t.Context(), allow, bytes.NewReader(bundleOf(t, releaseKey(), "1.1.0", kernelImage(uname)))); err != nil {
			t.Errorf("a release with kernel %q: %v", uname, err)
		}
	}
}
