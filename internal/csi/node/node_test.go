package node_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/csi/csitest"
	"github.com/cyvive/cyvive/internal/csi/mounter"
	"github.com/cyvive/cyvive/internal/csi/node"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

const (
	nodeSocket     = "plugins/zfs.csi.cyvive.dev/csi.sock"
	registrySocket = "plugins_registry/zfs.csi.cyvive.dev-reg.sock"
)

// bench is a runner on a model of OpenZFS, in directories of the test's.
type bench struct {
	t *testing.T
	// kubelet is kubelet's directory, and controllers the socket for csi-controllers.
	kubelet, controllers string
	pools                *csitest.Pools
	// end ends the runner and waits for it.
	end func()

	mu       sync.Mutex
	statuses []node.Status
	broken   error
}

// run runs a driver with two parents, of which the pool of the second is not imported yet.
func run(t *testing.T, change func(*node.Config, *node.Spec)) *bench {
	t.Helper()
	b := &bench{t: t, kubelet: t.TempDir(), controllers: filepath.Join(t.TempDir(), "zfs.sock"), pools: &csitest.Pools{}}
	model := zfstest.New("n1", "node", "tank")
	for _, name := range []string{"node/plane", "node/plane/volumes", "tank/volumes"} {
		if err := model.Create(t.Context(), name, zfs.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b.pools.Put("node", csi.Pool{GUID: 11, State: "ONLINE"})
	c := node.Config{
		Driver:  csi.Config{Version: "1.0.0", FileSystems: []string{"ext4"}, System: model, Mounts: csitest.NewMounts(model), Pools: b.pools},
		Kubelet: mounter.New(b.kubelet, mounter.Tools{}, mounter.Devices{}), Guard: func(l net.Listener) net.Listener { return l }, Controllers: b.listen,
		Look: 5 * time.Millisecond, Pause: 5 * time.Millisecond,
	}
	s := node.Spec{NodeName: "n1", Parents: []string{"node/plane/volumes", "tank/volumes"}}
	if change != nil {
		change(&c, &s)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		node.New(c).Run(ctx, s, nil, b.publish)
	}()
	b.end = func() { stop(); <-ended }
	t.Cleanup(b.end)
	return b
}

func (b *bench) listen() (net.Listener, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken != nil {
		return nil, b.broken
	}
	return net.Listen("unix", b.controllers)
}

func (b *bench) breaks(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = err
}

func (b *bench) publish(s node.Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.statuses); n > 0 && b.statuses[n-1] == s {
		b.t.Errorf("the same status twice: %+v", s)
	}
	b.statuses = append(b.statuses, s)
}

func (b *bench) status() node.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.statuses) == 0 {
		return node.Status{}
	}
	return b.statuses[len(b.statuses)-1]
}

// until waits for something that has to happen.
func (b *bench) until(what string, is func() bool) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("waited 20 s for: %s; the status is %+v", what, b.status())
		}
	}
}

func (b *bench) says(reason string) {
	b.t.Helper()
	b.until("the reason "+reason, func() bool { s := b.status(); return !s.Ready && strings.Contains(s.Reason, reason) })
}

// dial connects to a socket; calls wait until somebody listens.
func (b *bench) dial(path string) *grpc.ClientConn {
	b.t.Helper()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return conn
}

// register is kubelet, which says no if it is given a reason to. What came of it is in the status.
func (b *bench) register(no string) *registration.PluginInfo {
	b.t.Helper()
	var info *registration.PluginInfo
	b.until("kubelet to reach the driver", func() bool {
		ctx, stop := context.WithTimeout(b.t.Context(), time.Second)
		defer stop()
		c := registration.NewRegistrationClient(b.dial(filepath.Join(b.kubelet, registrySocket)))
		got, err := c.GetInfo(ctx, &registration.InfoRequest{})
		if err != nil {
			return false // the socket is made anew just now
		}
		_, err = c.NotifyRegistrationStatus(ctx, &registration.RegistrationStatus{PluginRegistered: no == "", Error: no})
		info = got
		return err == nil
	})
	return info
}

// ready has kubelet take the driver. It may have to again, where the socket was one that was just being given up.
func (b *bench) ready() {
	b.t.Helper()
	b.until("the driver to be ready", func() bool {
		b.register("")
		return b.status() == node.Status{Ready: true}
	})
}

func (b *bench) create(conn *grpc.ClientConn, name string, block bool) error {
	c := &spec.VolumeCapability{AccessMode: &spec.VolumeCapability_AccessMode{Mode: spec.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER}}
	c.AccessType = &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{}}
	if block {
		c.AccessType = &spec.VolumeCapability_Block{Block: &spec.VolumeCapability_BlockVolume{}}
	}
	_, err := spec.NewControllerClient(conn).CreateVolume(b.t.Context(), &spec.CreateVolumeRequest{Name: name, VolumeCapabilities: []*spec.VolumeCapability{c}})
	return err
}

// TestReady: kubelet finds the driver and takes it; each caller has what is for it; and at the end no socket is left.
func TestReady(t *testing.T) {
	b := run(t, nil)
	b.says("waiting for kubelet to take the CSI driver")
	info := b.register("")
	if info.GetName() != csi.Name || info.GetEndpoint() != "/var/lib/kubelet/"+nodeSocket {
		t.Errorf("kubelet is told %v", info)
	}
	b.ready()

	toNode, toControllers := b.dial(filepath.Join(b.kubelet, nodeSocket)), b.dial(b.controllers)
	is, err := spec.NewNodeClient(toNode).NodeGetInfo(t.Context(), &spec.NodeGetInfoRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{csi.Name + "/node": "n1", csi.Name + "/pool-11": "imported"}
	if diff := cmp.Diff(want, is.GetAccessibleTopology().GetSegments()); diff != "" {
		t.Errorf("topology (-want +got):\n%s", diff)
	}
	if err := b.create(toNode, "a", false); status.Code(err) != codes.Unimplemented {
		t.Errorf("a volume by kubelet's socket: %v", err)
	}
	if err := b.create(toControllers, "a", false); err != nil {
		t.Error(err)
	}
	if err := b.create(toControllers, "d", true); err != nil {
		t.Errorf("a device: %v", err)
	}
	if _, err := spec.NewNodeClient(toControllers).NodeStageVolume(t.Context(), &spec.NodeStageVolumeRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a mount by the socket of csi-controllers: %v", err)
	}
	b.end()
	for _, socket := range []string{filepath.Join(b.kubelet, nodeSocket), filepath.Join(b.kubelet, registrySocket), b.controllers} {
		if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", socket, err)
		}
	}
}

// TestTopology: a pool that is imported later is told to both.
func TestTopology(t *testing.T) {
	b := run(t, nil)
	conn := b.dial(b.controllers)
	c := spec.NewNodeClient(conn)
	if _, err := c.NodeGetInfo(t.Context(), &spec.NodeGetInfoRequest{}); err != nil {
		t.Fatal(err)
	}
	b.ready()
	b.pools.Put("tank", csi.Pool{GUID: 12, State: "ONLINE"})
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	if !conn.WaitForStateChange(ctx, connectivity.Ready) {
		t.Fatal("the connection of csi-controllers goes on")
	}
	b.until("csi-controllers to be told", func() bool {
		is, err := c.NodeGetInfo(ctx, &spec.NodeGetInfoRequest{})
		return err == nil && is.GetAccessibleTopology().GetSegments()[csi.Name+"/pool-12"] == "imported"
	})
	b.until("another registration", func() bool { return !b.status().Ready })
	b.ready()
}

// TestFails: what fails is said, and tried again.
func TestFails(t *testing.T) {
	b := run(t, nil)
	b.ready()
	b.breaks(errors.New("no such group"))
	b.pools.Put("tank", csi.Pool{GUID: 12, State: "ONLINE"}) // which makes another socket for csi-controllers
	b.says("serve csi-controllers: no such group")
	b.breaks(nil)
	b.says("waiting for kubelet to take the CSI driver")
	b.ready()
}

// TestSocketGone: the socket that kubelet calls is made again when somebody has removed it, with or without its directory, and csi-controllers does not notice.
func TestSocketGone(t *testing.T) {
	b := run(t, nil)
	b.ready()
	toControllers := b.dial(b.controllers)
	if _, err := spec.NewNodeClient(toControllers).NodeGetInfo(t.Context(), &spec.NodeGetInfoRequest{}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(b.kubelet, nodeSocket)
	answers := func() bool {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		_, err := spec.NewNodeClient(b.dial(socket)).NodeGetInfo(ctx, &spec.NodeGetInfoRequest{})
		return err == nil
	}
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	b.until("another socket", answers)

	dir := filepath.Dir(socket)
	if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	b.says("make the CSI driver's socket for kubelet again: ")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	b.until("a socket in another directory", answers)
	b.until("the driver to be ready as it was", func() bool { return b.status() == node.Status{Ready: true} })
	if state := toControllers.GetState(); state != connectivity.Ready {
		t.Errorf("the connection of csi-controllers is %s", state)
	}
}

// TestRefused: what kubelet says against the driver is the reason.
func TestRefused(t *testing.T) {
	b := run(t, nil)
	b.register("the API server is away")
	b.until("kubelet's words", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, s := range b.statuses {
			if !s.Ready && strings.Contains(s.Reason, "kubelet does not take the driver: the API server is away") {
				return true
			}
		}
		return false
	})
	b.ready()
}

// TestGuard: both sockets in kubelet's directory are guarded, the other is not.
func TestGuard(t *testing.T) {
	b := run(t, func(c *node.Config, _ *node.Spec) {
		c.Guard = func(l net.Listener) net.Listener { return mounter.Of(l, "/nobody", func(error) {}) }
	})
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if _, err := spec.NewNodeClient(b.dial(b.controllers)).NodeGetInfo(t.Context(), &spec.NodeGetInfoRequest{}); err != nil {
		t.Errorf("csi-controllers: %v", err)
	}
	if is, err := spec.NewNodeClient(b.dial(filepath.Join(b.kubelet, nodeSocket))).NodeGetInfo(ctx, &spec.NodeGetInfoRequest{}); err == nil {
		t.Errorf("who is not kubelet is told of the node: %v", is)
	}
	registry := registration.NewRegistrationClient(b.dial(filepath.Join(b.kubelet, registrySocket)))
	if _, err := registry.NotifyRegistrationStatus(ctx, &registration.RegistrationStatus{PluginRegistered: true}); err == nil || b.status().Ready {
		t.Errorf("who is not kubelet registers the driver: %v", err)
	}
}

// TestDevices: before a driver answers, what the one before has left held is released; as long as that fails, it says so.
func TestDevices(t *testing.T) {
	var mounts *csitest.Mounts
	var broken atomic.Bool
	broken.Store(true)
	b := run(t, func(c *node.Config, _ *node.Spec) {
		mounts = c.Driver.Mounts.(*csitest.Mounts)
		mounts.Hold("plugins/left", "node/plane/volumes/left")
		mounts.Hook = func(method string, done bool) error {
			if method == "RestoreDevices" && !done && broken.Load() {
				return errors.New("the list is not there yet")
			}
			return nil
		}
	})
	b.says("the list is not there yet")
	if _, err := os.Lstat(filepath.Join(b.kubelet, nodeSocket)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the driver has a socket meanwhile: %v", err)
	}
	broken.Store(false)
	b.ready()
	if held := mounts.Held(); len(held) > 0 {
		t.Errorf("held is %v", held)
	}
}

// TestSpec: a driver that cannot be made says why.
func TestSpec(t *testing.T) {
	b := run(t, func(_ *node.Config, s *node.Spec) { s.Parents = nil })
	b.says("configure CSI driver: there is no parent for volumes")
}
