package containerd

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cyvive/cyvive/internal/container"
)

var update = flag.Bool("update", false, "write the golden files again")

func TestOCISpecsAreAsRecorded(t *testing.T) {
	base := container.Spec{
		Name: "etcd", Rootfs: "/usr/lib/cyvive/rootfs/etcd", Args: []string{"/usr/bin/etcd", "--name=node1"},
		Env: []string{"PATH=/usr/bin"}, UID: 900, GID: 900, Cgroup: "/system/etcd",
		Mounts:         []container.Mount{container.Tmpfs("/tmp", 1<<20, "1777"), container.Bind("/run/secrets", "/secrets", "ro")},
		MemoryMinBytes: 1 << 20, CPUWeight: 500, OOMScoreAdj: -999, Hostname: "node1",
	}
	plane := base
	plane.Name, plane.Plane, plane.UID, plane.GID = "plane", true, 0, 0
	for _, spec := range []container.Spec{base, plane} {
		t.Run(spec.Name, func(t *testing.T) {
			got := ociSpec(spec, "system")
			if got.Linux.Seccomp == nil {
				t.Error("there is no seccomp filter")
			}
			if !spec.Plane { // the list is containerd's; that there is one, is ours
				got.Linux.Seccomp = nil
			}
			text, err := json.MarshalIndent(got, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", spec.Name+".json")
			if *update {
				if err := os.WriteFile(golden, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(text)); diff != "" {
				t.Errorf("%s (-want +got); -update writes it again:\n%s", golden, diff)
			}
		})
	}
}

// No path leads from the plane to a disk: neither a node nor a rule of its
// cgroup names a block device, save the rule for volumes of ZFS, of which package lsm lets those be opened that are a pod's.
func TestPlaneHasNoDisk(t *testing.T) {
	spec := ociSpec(container.Spec{Plane: true}, "kubelet")
	rules := spec.Linux.Resources.Devices
	if len(rules) == 0 || rules[0].Allow || rules[0].Type != "" || rules[0].Access != "rwm" {
		t.Fatalf("first rule: got %+v, want everything denied", rules)
	}
	last := rules[len(rules)-1]
	if last.Type != "b" || last.Major == nil || *last.Major != 230 || last.Minor != nil {
		t.Errorf("last rule: got %+v, want the volumes of ZFS", last)
	}
	for _, r := range rules[1 : len(rules)-1] {
		if r.Type != "c" || r.Major == nil || r.Minor == nil {
			t.Errorf("rule %+v: want one character device", r)
		}
	}
	for _, d := range spec.Linux.Devices {
		if d.Type != "c" {
			t.Errorf("device %s: got type %q", d.Path, d.Type)
		}
	}
}

func TestSystemContainersShareTheNetworkOnly(t *testing.T) {
	spec := ociSpec(container.Spec{}, "system")
	var got []specs.LinuxNamespaceType
	for _, n := range spec.Linux.Namespaces {
		got = append(got, n.Type)
	}
	for _, want := range []specs.LinuxNamespaceType{specs.PIDNamespace, specs.MountNamespace, specs.IPCNamespace, specs.CgroupNamespace} {
		if !slices.Contains(got, want) {
			t.Errorf("namespaces %v: no %s", got, want)
		}
	}
	if slices.Contains(got, specs.NetworkNamespace) || slices.Contains(got, specs.UTSNamespace) {
		t.Errorf("namespaces %v: want the node's network and name", got)
	}
	if !spec.Process.NoNewPrivileges || !spec.Root.Readonly || len(spec.Process.Capabilities.Bounding) != 0 {
		t.Errorf("got %+v on %+v", spec.Process, spec.Root)
	}
}

// TestCapabilities: a user who is not root keeps what a container has over execve, which takes the ambient set; root has no use for that.
func TestCapabilities(t *testing.T) {
	want := []string{"CAP_NET_RAW"}
	for uid, ambient := range map[uint32]int{2001: 1, 0: 0} {
		c := ociSpec(container.Spec{UID: uid, Capabilities: want}, "system").Process.Capabilities
		if !slices.Equal(c.Bounding, want) || !slices.Equal(c.Effective, want) || !slices.Equal(c.Permitted, want) ||
			len(c.Ambient) != ambient || len(c.Inheritable) != ambient {
			t.Errorf("user %d: %+v", uid, c)
		}
	}
	if c := ociSpec(container.Spec{UID: 900}, "system").Process.Capabilities; len(c.Bounding)+len(c.Ambient)+len(c.Inheritable) > 0 {
		t.Errorf("without any: %+v", c)
	}
}

func TestInfo(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	own := map[string]string{labelHash: "h", labelStarted: start.Format(time.RFC3339Nano), labelRestarts: "2", labelFailures: "1"}
	for _, test := range []struct {
		name    string
		record  containers.Container
		process *task.Process
		want    container.Info
	}{
		{
			"runs", containers.Container{ID: "etcd", Labels: own},
			&task.Process{Pid: 7, Status: task.Status_RUNNING},
			container.Info{Name: "etcd", ID: "etcd", PID: 7, State: container.Running, StartedAt: start, Hash: "h", Restarts: 2},
		},
		{
			"failed twice in a row", containers.Container{ID: "etcd", Labels: own},
			&task.Process{Status: task.Status_STOPPED, ExitStatus: 1, ExitedAt: timestamppb.New(start.Add(time.Second))},
			container.Info{
				Name: "etcd", ID: "etcd", State: container.Exited, StartedAt: start, Hash: "h", Restarts: 2, ExitCode: 1,
				ExitedAt: start.Add(time.Second), NextStart: start.Add(3 * time.Second),
			},
		},
		{
			"had settled", containers.Container{ID: "etcd", Labels: own},
			&task.Process{Status: task.Status_STOPPED, ExitedAt: timestamppb.New(start.Add(time.Hour))},
			container.Info{
				Name: "etcd", ID: "etcd", State: container.Exited, StartedAt: start, Hash: "h", Restarts: 2,
				ExitedAt: start.Add(time.Hour), NextStart: start.Add(time.Hour),
			},
		},
		{
			"the shim does not answer", containers.Container{ID: "etcd", Labels: own},
			&task.Process{Pid: 7, Status: task.Status_UNKNOWN},
			container.Info{Name: "etcd", ID: "etcd", PID: 7, State: container.Unknown, StartedAt: start, Hash: "h", Restarts: 2},
		},
		{
			"made, not started", containers.Container{ID: "etcd", Labels: own}, nil,
			container.Info{Name: "etcd", ID: "etcd", State: container.Created, StartedAt: start, Hash: "h", Restarts: 2},
		},
		{
			"sandbox of a pod, from an earlier boot",
			containers.Container{ID: "0a", Image: "pause", CreatedAt: start, Labels: map[string]string{
				labelPod: "web", labelPodNamespace: "default", labelCRIKind: "sandbox",
			}},
			nil,
			container.Info{
				Name: "pause", ID: "0a", Image: "pause", Pod: "web", PodNamespace: "default",
				State: container.Exited, StartedAt: start,
			},
		},
		{
			"container of a pod that exited",
			containers.Container{ID: "0b", CreatedAt: start, Labels: map[string]string{
				labelPod: "web", labelPodNamespace: "default", labelPodContainer: "main",
			}},
			&task.Process{Status: task.Status_STOPPED, ExitedAt: timestamppb.New(start)},
			container.Info{
				Name: "main", ID: "0b", Pod: "web", PodNamespace: "default", State: container.Exited, StartedAt: start, ExitedAt: start,
			},
		},
	} {
		test.want.Namespace = "n"
		if diff := cmp.Diff(test.want, info("n", test.record, test.process)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestHistorySurvivesItsLabels(t *testing.T) {
	want := history{started: time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC), restarts: 3, failures: 2}
	if got := parseHistory(want.labels()); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := parseHistory(map[string]string{labelStarted: "x", labelRestarts: "y"}); got != (history{}) {
		t.Errorf("malformed: got %+v, want nothing", got)
	}
}

// archive returns a tar of the given files.
func archive(files ...[2]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		_ = w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1]))})
		_, _ = w.Write([]byte(f[1]))
	}
	_ = w.Close()
	return b.Bytes()
}

const testIndex = `{"schemaVersion":2,"manifests":[
	{"digest":"sha256:01","annotations":{"io.containerd.image.name":"cyvive.dev/pause:1","org.opencontainers.image.ref.name":"1"}},
	{"digest":"sha256:02","annotations":{"org.opencontainers.image.ref.name":"cyvive.dev/demo:1"}},
	{"digest":"sha256:03"}]}`

func TestArchiveImages(t *testing.T) {
	for what, data := range map[string][]byte{
		"index last":     archive([2]string{"blobs/sha256/01", "x"}, [2]string{"index.json", testIndex}),
		"with a dot":     archive([2]string{"./index.json", testIndex}),
		"with a tail":    append(archive([2]string{"index.json", testIndex}), "tail"...),
		"index repeated": archive([2]string{"index.json", testIndex}, [2]string{"index.json", "{"}),
	} {
		got, err := archiveImages(bytes.NewReader(data))
		want := map[string]string{"cyvive.dev/pause:1": "sha256:01", "cyvive.dev/demo:1": "sha256:02"}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
	for what, data := range map[string][]byte{
		"empty":       nil,
		"no tar":      []byte("no tar at all, but longer than nothing"),
		"no index":    archive([2]string{"oci-layout", "{}"}),
		"no images":   archive([2]string{"index.json", `{"manifests":[]}`}),
		"bad index":   archive([2]string{"index.json", `{`}),
		"cut off":     archive([2]string{"index.json", testIndex})[:600],
		"no name":     archive([2]string{"index.json", `{"manifests":[{"digest":"sha256:01"}]}`}),
		"large index": archive([2]string{"index.json", `{"x":"` + string(bytes.Repeat([]byte("y"), maxIndexBytes)) + `"}`}),
	} {
		if got, err := archiveImages(bytes.NewReader(data)); err == nil {
			t.Errorf("%s: got %v, want an error", what, got)
		}
	}
}

func FuzzArchiveImages(f *testing.F) {
	f.Add(archive([2]string{"index.json", testIndex}))
	f.Add(archive([2]string{"oci-layout", "{}"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := archiveImages(bytes.NewReader(data))
		if err == nil && len(got) == 0 {
			t.Error("accepted an archive without images")
		}
	})
}
