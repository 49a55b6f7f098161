package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/confine"
	"github.com/cyvive/cyvive/internal/container"
	"github.com/cyvive/cyvive/internal/containertest"
	"github.com/cyvive/cyvive/internal/extension"
	"github.com/cyvive/cyvive/internal/machined/reconcile"
)

var _ reconcile.Domain[Spec, Observed, Op, Status] = (*Reconciler)(nil)

func testService(name string, user uint32) Service {
	return Service{
		Extension: name, Version: "1.0.0", Dir: "/run/cyvive/extensions/" + name, RootHash: strings.Repeat("ab", 32),
		Service: extension.Service{Program: "/usr/bin/" + name, User: user},
	}
}

// TestContainer: a service gets what its manifest says, and nothing of the node's beyond it.
func TestContainer(t *testing.T) {
	s := testService("agent", 2001)
	s.Args, s.Env, s.Capabilities = []string{"-v"}, []string{"A=b"}, []string{"CAP_NET_RAW"}
	s.Paths, s.Data = []string{"/etc/resolv.conf"}, true
	got := NodeLayout().container(s)
	want := container.Spec{
		Name: "ext-agent", Rootfs: "/run/cyvive/extensions/agent/rootfs", Args: []string{"/usr/bin/agent", "-v"}, Env: []string{"A=b"},
		UID: 2001, GID: 2001, Capabilities: []string{"CAP_NET_RAW"}, Cgroup: "/extensions/agent", OOMScoreAdj: -500, Revision: s.RootHash,
		Mounts: []container.Mount{
			container.Tmpfs("/tmp", 16<<20, "1777"), container.Tmpfs("/run", 16<<20, "1777"),
			container.Bind("/run/cyvive/resolv.conf", "/etc/resolv.conf", "ro", "nosuid", "nodev", "noexec"),
			container.Bind("/var/extensions/data/agent", "/data", "nosuid", "nodev", "noexec"),
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("container (-want +got):\n%s", d)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	other := s
	other.RootHash = strings.Repeat("cd", 32)
	if NodeLayout().container(other).Hash() == got.Hash() {
		t.Error("another build of it would not replace the container")
	}
}

// failing does not start one container.
type failing struct {
	*containertest.Fake
	name string
	err  error
}

func (f *failing) Ensure(ctx context.Context, spec container.Spec) error {
	if f.err != nil && spec.Name == f.name {
		return f.err
	}
	return f.Fake.Ensure(ctx, spec)
}

func (f *failing) Stop(ctx context.Context, name string, timeout time.Duration) error {
	if f.err != nil && name == f.name {
		return f.err
	}
	return f.Fake.Stop(ctx, name, timeout)
}

// clock is moved by tests.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func names(t *testing.T, r container.Runtime) string {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range list {
		out = append(out, i.Name+" "+i.State.String())
	}
	return strings.Join(out, ", ")
}

// pass is one pass of the loop.
func pass(t *testing.T, r *Reconciler, spec Spec) Status {
	t.Helper()
	for range 4 {
		obs, err := r.Observe(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		ops := r.Diff(spec, obs)
		if len(ops) == 0 {
			return r.Status(spec, obs)
		}
		for _, op := range ops {
			if err := r.Apply(t.Context(), spec, op); err != nil {
				t.Fatalf("%s: %v", op, err)
			}
		}
	}
	t.Fatal("it does not converge")
	return Status{}
}

// TestServices: what is wanted runs, what is not wanted any more ends, other containers are left alone, and one service that fails keeps no other from
// running and is tried again.
func TestServices(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	runtime := &failing{Fake: containertest.NewFake("system", c.Now), name: "ext-bad", err: errors.New("no such program")}
	if err := runtime.Ensure(t.Context(), container.Spec{Name: "etcd", Rootfs: "/r", Args: []string{"/x"}, Cgroup: "/system/etcd"}); err != nil {
		t.Fatal(err)
	}
	var held []string
	layout := Layout{Data: t.TempDir(), Paths: confine.ExtensionPaths(), Cgroup: "/extensions"}
	r := New(Config{Containers: runtime, Layout: layout, Now: c.Now, Held: func() []string { return held }})
	good := testService("good", 2001)
	good.Data = true
	spec := Spec{Services: []Service{testService("bad", 2000), good}}

	s := pass(t, r, spec)
	if s.Ready || s.Reason != "ext-bad: no such program" || names(t, runtime) != "etcd running, ext-good running" {
		t.Errorf("with one that fails: %+v, %s", s, names(t, runtime))
	}
	if info, err := os.Stat(filepath.Join(layout.Data, "good")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its data directory: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(layout.Data, "bad")); err == nil {
		t.Error("a service without data has a directory")
	}
	runtime.err = nil
	if s := pass(t, r, spec); s.Ready {
		t.Error("it was tried again at once")
	}
	c.now = c.now.Add(retry)
	if s := pass(t, r, spec); !s.Ready || s.Reason != "" || names(t, runtime) != "etcd running, ext-bad running, ext-good running" {
		t.Errorf("when it does not fail any more: %+v, %s", s, names(t, runtime))
	}
	held = []string{"ext-bad"}
	if err := runtime.Stop(t.Context(), "ext-bad", 0); err != nil {
		t.Fatal(err)
	}
	if s := pass(t, r, spec); s.Ready || !strings.Contains(s.Reason, "stopped on request") || strings.Contains(names(t, runtime), "ext-bad") {
		t.Errorf("stopped on request: %+v, %s", s, names(t, runtime))
	}
	if s := pass(t, r, Spec{}); !s.Ready || names(t, runtime) != "etcd running" {
		t.Errorf("when none is wanted: %+v, %s", s, names(t, runtime))
	}
}

// TestDoesNotEnd: one that is not wanted any more and does not end keeps no other from running, and is tried again.
func TestDoesNotEnd(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	runtime := &failing{Fake: containertest.NewFake("system", c.Now), name: "ext-old"}
	r := New(Config{Containers: runtime, Layout: Layout{Cgroup: "/extensions"}, Now: c.Now})
	pass(t, r, Spec{Services: []Service{testService("old", 2000)}})
	runtime.err = errors.New("it hangs in the kernel")
	spec := Spec{Services: []Service{testService("good", 2001)}}
	if s := pass(t, r, spec); s.Ready || !strings.Contains(s.Reason, "ext-old: it is not to run any more") || names(t, runtime) != "ext-good running, ext-old running" {
		t.Errorf("%+v, %s", s, names(t, runtime))
	}
	runtime.err, c.now = nil, c.now.Add(retry)
	if s := pass(t, r, spec); !s.Ready || names(t, runtime) != "ext-good running" {
		t.Errorf("when it ends: %+v, %s", s, names(t, runtime))
	}
}

// TestReasons: what keeps a service from running is said.
func TestReasons(t *testing.T) {
	now := time.Unix(1000, 0)
	r := New(Config{Containers: containertest.NewFake("system", time.Now), Layout: NodeLayout()})
	spec := Spec{Services: []Service{testService("agent", 2001)}}
	hash := NodeLayout().container(spec.Services[0]).Hash()
	for _, test := range []struct {
		obs  Observed
		want string
		ops  int
	}{
		{Observed{Unavailable: true}, "waiting for the system container runtime to answer", 0},
		{Observed{}, "ext-agent: it is about to be started", 1},
		{Observed{Containers: []container.Info{{Name: "ext-agent", State: container.Running, Hash: "x"}}}, "ext-agent: it is about to be replaced", 1},
		{Observed{Containers: []container.Info{{Name: "ext-agent", State: container.Unknown, Hash: hash}}}, "ext-agent: it is unknown", 0},
		{
			Observed{Containers: []container.Info{{Name: "ext-agent", State: container.Exited, ExitCode: 7, NextStart: now.Add(4 * time.Second), Hash: hash}}},
			"ext-agent: it exited with code 7, next start in 4s", 0,
		},
		{Observed{Containers: []container.Info{{Name: "ext-agent", State: container.Running, Hash: hash}}}, "", 0},
	} {
		test.obs.Now = now
		s := r.Status(spec, test.obs)
		if ops := r.Diff(spec, test.obs); s.Reason != test.want || s.Ready != (test.want == "") || len(ops) != test.ops {
			t.Errorf("%+v: %+v, operations %v; want %q and %d", test.obs, s, ops, test.want, test.ops)
		}
	}
	if s := r.Status(Spec{}, Observed{Unavailable: true}); !s.Ready {
		t.Errorf("without services, the runtime is waited for: %+v", s)
	}
	if got := fmt.Sprint([]Op{{"ext-a", true}, {"ext-b", false}}); !slices.Equal(strings.Fields(got), strings.Fields("[run container ext-a stop container ext-b]")) {
		t.Errorf("operations are called %s", got)
	}
}
