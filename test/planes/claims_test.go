package planes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/csi/csitest"
	"github.com/cyvive/cyvive/internal/kube"
	"github.com/cyvive/cyvive/internal/storage/zfs"
	"github.com/cyvive/cyvive/internal/storage/zfs/zfstest"
)

const (
	claimsPath    = "/api/v1/namespaces/default/persistentvolumeclaims"
	snapshotsPath = "/apis/snapshot.storage.k8s.io/v1/namespaces/default/volumesnapshots"
	groupsPath    = "/apis/groupsnapshot.storage.k8s.io/v1/namespaces/default/volumegroupsnapshots"
)

// claims is the node's CSI driver on a model of OpenZFS, with a real Kubernetes in front of it: what csi-controllers asks, in what order and with what rights, is
// what it asks on a node.
type claims struct {
	t     *testing.T
	ctx   context.Context
	api   *http.Client
	model *zfstest.Model
}

// serveDriver has the driver listen where csi-controllers waits for it.
func serveDriver(ctx context.Context, t *testing.T, api *http.Client, spec kube.Spec, dir string) *claims {
	t.Helper()
	c := &claims{t, ctx, api, zfstest.New(spec.NodeName, "node")}
	for _, name := range []string{path.Dir(csi.DefaultParent), csi.DefaultParent} {
		if err := c.model.Create(ctx, name, zfs.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	pools := &csitest.Pools{}
	pools.Put("node", csi.Pool{GUID: 11, State: "ONLINE"})
	driver, err := csi.New(csi.Config{
		NodeName: spec.NodeName, Version: "1.0.0", Parents: []string{csi.DefaultParent}, FileSystems: []string{"ext4"},
		System: c.model, Mounts: csitest.NewMounts(c.model), Pools: pools,
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, kube.VolumeSocket))
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- driver.Serve(serving, listener, csi.Controllers) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

// socketDir is short enough for the path of a socket, which the folders of a subtest are not.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "csi")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// claim makes a claim of 64 MiB, which is bound at once; more is further fields of its specification.
func (c *claims) claim(name, size, more string) {
	c.t.Helper()
	body := fmt.Sprintf(`{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":%q,"labels":{"app":%q}},
		"spec":{"storageClassName":"now","accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":%q}}%s}}`, name, name, size, more)
	if err := post(c.ctx, c.api, claimsPath, body); err != nil {
		c.t.Fatal(err)
	}
}

// bound waits until a claim has a volume of a size, and returns its dataset.
func (c *claims) bound(name, size string) string {
	c.t.Helper()
	var claim struct {
		Spec   struct{ VolumeName string }
		Status struct {
			Phase    string
			Capacity struct{ Storage string }
		}
	}
	waitFor(c.ctx, c.t, "volume of "+size+" for "+name, func() error {
		body, err := get(c.ctx, c.api, claimsPath+"/"+name)
		if err == nil {
			err = json.Unmarshal(body, &claim)
		}
		if err == nil && (claim.Status.Phase != "Bound" || claim.Status.Capacity.Storage != size) {
			err = fmt.Errorf("it is %s, with %s", claim.Status.Phase, claim.Status.Capacity.Storage)
		}
		return err
	})
	return csi.DefaultParent + "/" + claim.Spec.VolumeName
}

// ready waits until a snapshot, or a group of them, can be used.
func (c *claims) ready(path string) {
	c.t.Helper()
	waitFor(c.ctx, c.t, path, func() error {
		var snapshot struct{ Status struct{ ReadyToUse bool } }
		body, err := get(c.ctx, c.api, path)
		if err == nil {
			err = json.Unmarshal(body, &snapshot)
		}
		if err == nil && !snapshot.Status.ReadyToUse {
			err = fmt.Errorf("it is not ready: %s", body)
		}
		return err
	})
}

// property is one of a dataset in the model.
func (c *claims) property(dataset, name string) string {
	c.t.Helper()
	found, err := c.model.List(c.ctx, zfs.Query{Roots: []string{dataset}, Kinds: []zfs.Kind{zfs.Filesystem, zfs.Volume}, Properties: []string{name}})
	if err != nil || len(found) != 1 {
		c.t.Fatalf("%s: %v, %v", dataset, found, err)
	}
	return found[0].Properties[name].Value
}

// request sends a body, which may be empty.
func (c *claims) request(method, path, body string) error {
	request, err := http.NewRequestWithContext(c.ctx, method, "https://127.0.0.1:6443"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	_, err = do(c.api, request)
	return err
}

// follow takes claims through their life.
func (c *claims) follow() {
	c.t.Helper()
	class := `{"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":"now"},"provisioner":"zfs.csi.cyvive.dev","allowVolumeExpansion":true,
		"volumeBindingMode":"Immediate","parameters":{"compression":"zstd"}}`
	if err := post(c.ctx, c.api, "/apis/storage.k8s.io/v1/storageclasses", class); err != nil {
		c.t.Fatal(err)
	}
	c.claim("first", "64Mi", "")
	first := c.bound("first", "64Mi")
	if quota, compression := c.property(first, "refquota"), c.property(first, "compression"); quota != "67108864" || compression != "zstd" {
		c.t.Errorf("%s has the quota %s and compression %s", first, quota, compression)
	}
	if err := c.request(http.MethodPatch, claimsPath+"/first", `{"spec":{"resources":{"requests":{"storage":"128Mi"}}}}`); err != nil {
		c.t.Fatal(err)
	}
	if c.bound("first", "128Mi"); c.property(first, "refquota") != "134217728" {
		c.t.Errorf("%s has grown to %s", first, c.property(first, "refquota"))
	}
	c.snapshots(first)
	c.device()
	c.refusal()
	c.removed()
}

// snapshots makes a snapshot, a group of them, and volumes of the snapshot and of the volume.
func (c *claims) snapshots(first string) {
	c.t.Helper()
	const snapshot = `{"apiVersion":"snapshot.storage.k8s.io/v1","kind":"VolumeSnapshot","metadata":{"name":"s"},"spec":{"source":{"persistentVolumeClaimName":"first"}}}`
	const group = `{"apiVersion":"groupsnapshot.storage.k8s.io/v1","kind":"VolumeGroupSnapshot","metadata":{"name":"g"},
		"spec":{"volumeGroupSnapshotClassName":"zfs","source":{"selector":{"matchLabels":{"app":"first"}}}}}`
	for path, body := range map[string]string{snapshotsPath: snapshot, groupsPath: group} {
		if err := post(c.ctx, c.api, path, body); err != nil {
			c.t.Fatal(err)
		}
	}
	c.ready(snapshotsPath + "/s")
	c.ready(groupsPath + "/g")
	for name, source := range map[string]string{
		"restored": `{"apiGroup":"snapshot.storage.k8s.io","kind":"VolumeSnapshot","name":"s"}`, "cloned": `{"kind":"PersistentVolumeClaim","name":"first"}`,
	} {
		c.claim(name, "128Mi", `,"dataSource":`+source)
		if origin := c.property(c.bound(name, "128Mi"), "origin"); !strings.HasPrefix(origin, first+"@") {
			c.t.Errorf("%s was made of %s, not of %s", name, origin, first)
		}
	}
}

// device: a claim for a device gets one.
func (c *claims) device() {
	c.t.Helper()
	c.claim("raw", "64Mi", `,"volumeMode":"Block"`)
	if size := c.property(c.bound("raw", "64Mi"), "volsize"); size != "67108864" {
		c.t.Errorf("the device has %s bytes", size)
	}
}

// refusal: what the driver says against a claim is an event of the claim.
func (c *claims) refusal() {
	c.t.Helper()
	const body = `{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"shared"},
		"spec":{"storageClassName":"now","accessModes":["ReadWriteMany"],"resources":{"requests":{"storage":"64Mi"}}}}`
	if err := post(c.ctx, c.api, claimsPath, body); err != nil {
		c.t.Fatal(err)
	}
	waitFor(c.ctx, c.t, "the reason why a volume for many nodes is refused", func() error {
		body, err := get(c.ctx, c.api, "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dshared")
		if err == nil && !bytes.Contains(body, []byte("a volume is on the disks of one node and cannot be used on others")) {
			err = fmt.Errorf("events: %s", body)
		}
		return err
	})
}

// removed deletes all, the source before what was made of it, and waits until nothing is left on either side.
func (c *claims) removed() {
	c.t.Helper()
	for _, path := range []string{claimsPath + "/first", claimsPath + "/raw", claimsPath + "/shared", groupsPath + "/g", snapshotsPath + "/s", claimsPath + "/restored", claimsPath + "/cloned"} {
		if err := c.request(http.MethodDelete, path, ""); err != nil {
			c.t.Error(err)
		}
	}
	waitFor(c.ctx, c.t, "the end of all volumes", func() error {
		body, err := get(c.ctx, c.api, "/api/v1/persistentvolumes")
		if err != nil {
			return err
		}
		var volumes struct {
			Items []struct{ Metadata struct{ Name string } }
		}
		if err := json.Unmarshal(body, &volumes); err != nil {
			return err
		}
		if len(volumes.Items) > 0 {
			return fmt.Errorf("there are %v", volumes.Items)
		}
		found, err := c.model.List(c.ctx, zfs.Query{Roots: []string{csi.DefaultParent}, Depth: -1})
		found = slices.DeleteFunc(found, func(d zfs.Dataset) bool {
			return d.Name == csi.DefaultParent || d.Name == csi.DefaultParent+"/_deleted"
		})
		if err == nil && len(found) > 0 {
			err = errors.New(found[0].Name + " is still there")
		}
		return err
	})
}
