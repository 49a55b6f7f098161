package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// volumeStatefulSet is a StatefulSet of one, whose pod is nobody in particular: that it can write is kubelet's doing (fsGroup). It has two volumes, of two classes.
const volumeStatefulSet = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: default}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 5
      securityContext: {runAsNonRoot: true, runAsUser: 65534, runAsGroup: 65534, fsGroup: 65534}
      containers:
        - name: demo
          image: cyvive.dev/demo:1
          imagePullPolicy: Never
          args: [--diagnose]
          readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, timeoutSeconds: 10}
          volumeMounts: [{name: data, mountPath: /data}, {name: more, mountPath: /more}]
  volumeClaimTemplates:
    - metadata: {name: data}
      spec:
        accessModes: [ReadWriteOnce]
        resources: {requests: {storage: 16Mi}}
    - metadata: {name: more}
      spec:
        storageClassName: tuned
        accessModes: [ReadWriteOnce]
        resources: {requests: {storage: 16Mi}}
`

// volumeTunedClass makes volumes with other properties than the pool has (lz4, and records of 128 KiB), and keeps their room free.
const volumeTunedClass = `
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: tuned}
provisioner: zfs.csi.cyvive.dev
volumeBindingMode: WaitForFirstConsumer
parameters: {compression: zstd, recordsize: "16384", sparse: "false"}
`

// volumeDiskClass makes volumes that are devices with ext4 on them.
const volumeDiskClass = `
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: disk}
provisioner: zfs.csi.cyvive.dev
volumeBindingMode: WaitForFirstConsumer
allowVolumeExpansion: true
parameters: {fsType: ext4, sparse: "true", compression: lzjb}
`

// volumeClaim is a claim and a pod that has it. SPEC is more of the claim, and USE how the container has it.
const volumeClaim = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: NAME, namespace: default}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 256Mi}}
  SPEC
---
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: default}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 5
  securityContext: {runAsNonRoot: true, runAsUser: 65534, runAsGroup: 65534, fsGroup: 65534}
  containers:
    - name: demo
      image: cyvive.dev/demo:1
      imagePullPolicy: Never
      args: [--diagnose]
      readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, timeoutSeconds: 10}
      USE
  volumes: [{name: data, persistentVolumeClaim: {claimName: NAME}}]
`

const (
	// volumesParent is what volumes are made below where nothing else is said.
	volumesParent = "node/plane/volumes"

	volumeMounted = "volumeMounts: [{name: data, mountPath: /data}]"
	volumeDevice  = "volumeDevices: [{name: data, devicePath: /dev/data}]"
	// volumePrivileged is a pod that has all that Kubernetes can give to one.
	volumePrivileged = volumeDevice + "\n      securityContext: {privileged: true, runAsUser: 0, runAsGroup: 0, runAsNonRoot: false}"

	volumeSnapshot = `
apiVersion: snapshot.storage.k8s.io/v1
kind: VolumeSnapshot
metadata: {name: before, namespace: default}
spec: {source: {persistentVolumeClaimName: data-db-0}}
`
	volumeGroup = `
apiVersion: groupsnapshot.storage.k8s.io/v1
kind: VolumeGroupSnapshot
metadata: {name: both, namespace: default}
spec:
  volumeGroupSnapshotClassName: zfs
  source: {selector: {matchLabels: {grouped: "yes"}}}
`
)

// volumeMoment is a pod with volumes of the two snapshots of a group.
const volumeMoment = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: moment-data, namespace: default}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 512Mi}}
  dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: DATA}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: moment-more, namespace: default}
spec:
  storageClassName: tuned
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 16Mi}}
  dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: MORE}
---
apiVersion: v1
kind: Pod
metadata: {name: moment, namespace: default}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 5
  securityContext: {runAsNonRoot: true, runAsUser: 65534, runAsGroup: 65534, fsGroup: 65534}
  containers:
    - name: demo
      image: cyvive.dev/demo:1
      imagePullPolicy: Never
      args: [--diagnose]
      readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, timeoutSeconds: 10}
      volumeMounts: [{name: data, mountPath: /data}, {name: more, mountPath: /more}]
  volumes:
    - {name: data, persistentVolumeClaim: {claimName: moment-data}}
    - {name: more, persistentVolumeClaim: {claimName: moment-more}}
`

// volumePods are the pods that have volumes until the end of the test: of datasets, of a device with a file system, of a snapshot, of another volume, and a device.
var volumePods = []string{"db-0", "disk", "restored", "cloned", "raw"}

func volumeManifest(name, spec, use string) []byte {
	return []byte(strings.NewReplacer("NAME", name, "SPEC", spec, "USE", use).Replace(volumeClaim))
}

// TestVolumes has Kubernetes make volumes on the node's pool: they are written to, grow, are snapshotted, alone and at once, cloned and restored, and hold what was
// written over the end of the pod, of the agent, of the workload plane, and of the power. What is deleted is gone, also where the power was cut meanwhile.
func TestVolumes(t *testing.T) {
	longOnly(t, "boots a cluster three times")
	e := requireImage(t)
	ctx := testContext(t, 80*time.Minute)
	s := &suite{Cluster: create(t, ctx, e.options(t)), env: e}
	s.node = s.Nodes()[0]
	if err := s.Reconfigure(s.node, func(c *config.Config) { c.Cluster.Volumes = config.VolumesZFS }); err != nil {
		t.Fatal(err)
	}
	bringUp(t, ctx, s)
	for _, part := range []struct {
		name string
		run  func(*testing.T, context.Context, *suite)
	}{
		{"driver", testVolumeDriver}, {"memory", testVolumeMemory}, {"write", testVolumeWrite}, {"grow", testVolumeGrow}, {"snapshot", testVolumeSnapshot}, {"group", testVolumeGroup},
		{"ext4", testVolumeExt4}, {"block", testVolumeBlock}, {"agent", testVolumeAgent}, {"pod", testVolumePod}, {"plane", testVolumePlane},
		{"power-cut", testVolumePowerCut}, {"reboot", testVolumeReboot}, {"delete", testVolumeDelete},
	} {
		// In some of them the node boots, and then starts five pods.
		if !t.Run(part.name, func(t *testing.T) { part.run(t, testContext(t, 2*bootTimeout), s) }) {
			if _, err := s.Machine(s.node); err != nil {
				t.Fatalf("the parts behind %s are left out: %v", part.name, err)
			}
		}
	}
}

// kubectl runs kubectl and fails the test when that fails.
func (s *suite) kubectl(t *testing.T, ctx context.Context, args ...string) string {
	t.Helper()
	out, err := s.Tools().Kubectl(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// pagePath is where the API server passes requests on for a page of a pod with --diagnose.
func pagePath(pod, page string) string {
	return "/api/v1/namespaces/default/pods/" + pod + ":8080/proxy" + page
}

// fetchPage asks a pod with --diagnose for a page.
func (s *suite) fetchPage(ctx context.Context, pod, page string) (string, error) {
	body, err := s.Fetch(ctx, pagePath(pod, page))
	return strings.TrimSpace(body), err
}

// page is fetchPage, and fails the test when that fails.
func (s *suite) page(t *testing.T, ctx context.Context, pod, page string) string {
	t.Helper()
	body, err := s.fetchPage(ctx, pod, page)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// put has a pod write a text into its file, which is then on the disk.
func (s *suite) put(t *testing.T, ctx context.Context, pod, text string) {
	t.Helper()
	if got := s.page(t, ctx, pod, "/put?path=/data/file&text="+text); got != "ok" {
		t.Fatalf("%s writes: %s", pod, got)
	}
}

// fill has a pod write 20 MB into a file, and returns what came of it. It asks once, and waits for as long as ctx lets it: whoever asks again empties the file under
// the request before, which goes on writing. What is being written counts 24 times against the quota of its volume until its transaction group is on the disk, and the
// blocks that lead to it count some 15 MiB more (dmu_objset_willuse_space and dsl_dataset_check_quota of OpenZFS 2.3.9). So in the last 18 MiB of a volume there is one
// write in a group, and the pod writes 32 KiB at a time: these are five hundred groups.
func (s *suite) fill(t *testing.T, ctx context.Context, pod string) string {
	t.Helper()
	return strings.TrimSpace(s.kubectl(t, ctx, "get", "--raw", pagePath(pod, "/fill?path=/data/large&bytes=20000000")))
}

// has wants a pod to find a text in its file.
func (s *suite) has(t *testing.T, ctx context.Context, pod, want string) {
	t.Helper()
	if got := s.page(t, ctx, pod, "/get?path=/data/file"); got != want {
		t.Errorf("%s reads %q, want %q", pod, got, want)
	}
}

// volumeRoom is what a pod sees of a volume with a file system.
type volumeRoom struct{ TotalBytes, BlockBytes int64 }

func (s *suite) room(ctx context.Context, pod, path string) (room volumeRoom, err error) {
	text, err := s.fetchPage(ctx, pod, "/room?path="+path)
	if err != nil {
		return room, err
	}
	if err := json.Unmarshal([]byte(text), &room); err != nil {
		return room, fmt.Errorf("%s has the room %s on %s: %w", pod, text, path, err)
	}
	return room, nil
}

// totalBytes is how large a pod sees its volume.
func (s *suite) totalBytes(ctx context.Context, pod string) (int64, error) {
	room, err := s.room(ctx, pod, "/data")
	return room.TotalBytes, err
}

// deviceBytes is how large a pod sees its device.
func (s *suite) deviceBytes(ctx context.Context, pod string) (int64, error) {
	text, err := s.fetchPage(ctx, pod, "/size?path=/dev/data")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// datasetsOf are those of the volumes of claims.
func (s *suite) datasetsOf(t *testing.T, ctx context.Context, claims ...string) (names []string) {
	t.Helper()
	for _, claim := range claims {
		volume := s.kubectl(t, ctx, "get", "pvc", claim, "--output", "jsonpath={.spec.volumeName}")
		if volume == "" {
			t.Fatalf("claim %s has no volume", claim)
		}
		names = append(names, volumesParent+"/"+volume)
	}
	return names
}

// listVolumes returns the datasets of volumes.
func (s *suite) listVolumes(ctx context.Context) ([]*datasetv1.Dataset, error) {
	out, err := s.Tools().Nodectl(ctx, "dataset", "list", volumesParent, "--output", "json")
	if err != nil {
		return nil, err
	}
	var list datasetv1.ListResponse
	if err := protojson.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("read list of datasets: %w", err)
	}
	return list.GetDatasets(), nil
}

// volumeDataset is that of the volume of a claim, as the node has it.
func (s *suite) volumeDataset(t *testing.T, ctx context.Context, claim string) *datasetv1.Dataset {
	t.Helper()
	name := s.datasetsOf(t, ctx, claim)[0]
	all, err := s.listVolumes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if d.GetName() == name {
			return d
		}
	}
	t.Fatalf("the volume of %s is no dataset %s", claim, name)
	return nil
}

// containerOf tells a pod's container from the next.
func (s *suite) containerOf(t *testing.T, ctx context.Context, pod string) string {
	t.Helper()
	return s.kubectl(t, ctx, "get", "pod", pod, "--output", "jsonpath={.status.containerStatuses[*].containerID}")
}

// grow asks for more, and waits until the pod has it, as it sees it itself, in the container that it had.
func (s *suite) grow(t *testing.T, ctx context.Context, claim, pod string, bytes func(ctx context.Context, pod string) (int64, error)) {
	t.Helper()
	const size, least = "512Mi", 400 << 20 // what ext4 needs itself is not the pod's
	container := s.containerOf(t, ctx, pod)
	before, err := bytes(ctx, pod)
	if err != nil {
		t.Fatal(err)
	}
	s.kubectl(t, ctx, "patch", "pvc", claim, "--type=merge", `--patch={"spec":{"resources":{"requests":{"storage":"`+size+`"}}}}`)
	eventually(t, ctx, "wait for "+claim+" to grow", func(ctx context.Context) error {
		if now, err := bytes(ctx, pod); err != nil || now < least {
			return fmt.Errorf("it had %d bytes, and has %d, %v", before, now, err)
		}
		out, err := s.Tools().Kubectl(ctx, "get", "pvc", claim, "--output", "jsonpath={.status.capacity.storage}")
		if err == nil && out != size {
			err = fmt.Errorf("its claim has %s", out)
		}
		return err
	})
	if now := s.containerOf(t, ctx, pod); now != container {
		t.Errorf("%s was started again: %s, then %s", pod, container, now)
	}
}
