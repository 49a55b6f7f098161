package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
)

// starter stands for containerd's manager.
type starter struct {
	shim.Shim
	started int
}

var errStarted = errors.New("a new shim is started")

func (s *starter) Start(context.Context, *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	s.started++
	return nil, errStarted
}

// TestStart is one container of a group after another: the first starts a shim,
// and the others join it for as long as it listens.
func TestStart(t *testing.T) {
	t.Chdir(t.TempDir())
	// A path of a socket has 107 bytes at most.
	sockets, err := os.MkdirTemp("", "shim")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	ctx := namespaces.WithNamespace(t.Context(), "system")
	opts := &bootapi.BootstrapParams{InstanceID: "etcd", ContainerdGrpcAddress: "/run/containerd.sock", SocketDir: &sockets}
	address, err := shim.CreateSocketAddress(ctx, sockets, opts.GetContainerdGrpcAddress(), "plane", false)
	if err != nil {
		t.Fatal(err)
	}
	inner := &starter{Shim: manager.NewShimManager("test")}
	start := func(what string, join bool) {
		t.Helper()
		before := inner.started
		result, err := joining{inner}.Start(ctx, opts)
		switch {
		case join && (err != nil || result.GetAddress() != address || result.GetProtocol() != "ttrpc" || inner.started != before):
			t.Errorf("%s: got %v, %v; want to join %s", what, result, err, address)
		case !join && (!errors.Is(err, errStarted) || inner.started != before+1):
			t.Errorf("%s: got %v, %v; want a new shim", what, result, err)
		}
	}
	start("no specification", false)
	write(t, `{"annotations": {"other": "x"}}`)
	start("no group", false)
	write(t, `{"annotations": {"io.containerd.runc.v2.group": "plane"}}`)
	start("nobody there", false)
	listener, err := net.Listen("unix", strings.TrimPrefix(address, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	start("a shim that accepts nothing yet", true)
	start("and again", true)
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()
	start("a socket that nobody listens at", false)
	// What is neither there nor gone starts no second shim.
	path := strings.TrimPrefix(address, "unix://")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, path); err != nil {
		t.Fatal(err)
	}
	if _, err := (joining{inner}).Start(ctx, opts); err == nil || errors.Is(err, errStarted) {
		t.Errorf("an address that cannot be looked at: %v", err)
	}
}

func write(t *testing.T, specification string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(".", "config.json"), []byte(specification), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestGroupOf(t *testing.T) {
	t.Chdir(t.TempDir())
	for text, want := range map[string]string{
		`{}`: "", `{"annotations": {"io.kubernetes.cri.sandbox-id": "pod"}}`: "pod",
		`{"annotations": {"io.kubernetes.cri.sandbox-id": "pod", "io.containerd.runc.v2.group": "g"}}`: "g",
	} {
		write(t, text)
		if got, err := groupOf("config.json"); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	write(t, "{")
	if _, err := groupOf("config.json"); err == nil {
		t.Error("half a specification was read")
	}
}

// FuzzGroupOf reads any bytes for a specification.
func FuzzGroupOf(f *testing.F) {
	f.Add([]byte(`{"annotations": {"io.containerd.runc.v2.group": "plane"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if group, err := groupOf(file); err != nil && group != "" {
			t.Errorf("got %q together with %v", group, err)
		}
	})
}
