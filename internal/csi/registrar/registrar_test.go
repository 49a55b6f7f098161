package registrar_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/cyvive/cyvive/internal/csi/registrar"
)

// socket is one in a directory of the test's.
type socket struct {
	path string
	made atomic.Int32
}

func (s *socket) Listen() (net.Listener, error) {
	if err := s.Remove(); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", s.path)
	if err == nil {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		s.made.Add(1)
	}
	return l, err
}

func (s *socket) Present() bool {
	_, err := os.Lstat(s.path)
	return err == nil
}

func (s *socket) Remove() error {
	err := os.Remove(s.path)
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// run runs a registrar until the test ends.
func run(t *testing.T, topology func(context.Context) (map[string]string, error)) (*registrar.Registrar, *socket) {
	t.Helper()
	s := &socket{path: filepath.Join(t.TempDir(), "reg.sock")}
	r := registrar.New(registrar.Config{
		Driver: "zfs.csi.cyvive.dev", Endpoint: "/var/lib/kubelet/plugins/x/csi.sock", Socket: s, Topology: topology,
		Look: 5 * time.Millisecond, Pause: 5 * time.Millisecond,
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if s.Present() {
			t.Error("the socket is there after the end")
		}
	})
	return r, s
}

func fixed(context.Context) (map[string]string, error) { return map[string]string{"node": "n1"}, nil }

// until waits for something that has to happen.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 20 s for: %s", what)
		}
	}
}

// kubelet calls the socket as kubelet does.
func kubelet(t *testing.T, s *socket, taken bool) *registration.PluginInfo {
	t.Helper()
	until(t, "a socket", s.Present)
	conn, err := grpc.NewClient("unix://"+s.path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := registration.NewRegistrationClient(conn)
	info, err := c.GetInfo(t.Context(), &registration.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.NotifyRegistrationStatus(t.Context(), &registration.RegistrationStatus{PluginRegistered: taken, Error: "no"}); err != nil {
		t.Fatal(err)
	}
	return info
}

func TestRegister(t *testing.T) {
	r, s := run(t, fixed)
	info := kubelet(t, s, true)
	got := []string{info.GetType(), info.GetName(), info.GetEndpoint()}
	if diff := cmp.Diff([]string{"CSIPlugin", "zfs.csi.cyvive.dev", "/var/lib/kubelet/plugins/x/csi.sock"}, got); diff != "" {
		t.Errorf("info (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"1.0.0"}, info.GetSupportedVersions()); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	until(t, "being registered", r.Registered)
	time.Sleep(50 * time.Millisecond)
	if made := s.made.Load(); made != 1 {
		t.Errorf("%d sockets were made, want 1: kubelet would register the driver again for each", made)
	}
}

// TestRefused: kubelet gets another chance, as it does not come back by itself.
func TestRefused(t *testing.T) {
	r, s := run(t, fixed)
	kubelet(t, s, false)
	until(t, "a second socket", func() bool { return s.made.Load() >= 2 })
	if r.Registered() {
		t.Error("it says that it is registered")
	}
	kubelet(t, s, true)
	until(t, "being registered", r.Registered)
}

// TestSocketGone: the plane's directories were made anew.
func TestSocketGone(t *testing.T) {
	r, s := run(t, fixed)
	kubelet(t, s, true)
	until(t, "being registered", r.Registered)
	if err := s.Remove(); err != nil {
		t.Fatal(err)
	}
	until(t, "a second socket", func() bool { return s.made.Load() >= 2 })
	kubelet(t, s, true)
	until(t, "being registered", r.Registered)
}

// TestTopologyChanged: a pool was imported.
func TestTopologyChanged(t *testing.T) {
	var pools atomic.Int32
	r, s := run(t, func(context.Context) (map[string]string, error) {
		if pools.Load() > 0 {
			return map[string]string{"node": "n1", "pool-1": "imported"}, nil
		}
		return fixed(t.Context())
	})
	kubelet(t, s, true)
	until(t, "being registered", r.Registered)
	pools.Store(1)
	until(t, "a second socket", func() bool { return s.made.Load() >= 2 })
	kubelet(t, s, true)
	until(t, "being registered", r.Registered)
}
