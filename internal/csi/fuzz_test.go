package csi_test

import (
	"strings"
	"testing"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cyvive/cyvive/internal/csi"
)

func codeOf(err error) codes.Code { return status.Code(err) }

// FuzzNames: whatever name a volume and a snapshot are asked for by, they are made below the parent, are found again, and go again; and no id reaches
// anything else.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"pvc-1", "../etcd", "a@b", "_deleted", "x-1", "\t", strings.Repeat("a", 128)} {
		f.Add(name, name)
	}
	f.Fuzz(func(t *testing.T, name, id string) {
		b := newBench(t)
		before := b.names()
		for _, id := range []string{id, name + "@" + id} {
			b.remove2(id)
		}
		answer, err := b.CreateVolume(b.ctx, request(name, ""))
		if csi.CheckName(name) != nil {
			b.code("create", err, codes.InvalidArgument)
			return
		}
		b.must(err)
		volume := answer.GetVolume().GetVolumeId()
		snapshot := b.take(volume, name)
		if names := b.names(); len(names) != 2 || names[0] != "node/plane/volumes/"+volume || names[1] != "node/plane/volumes/"+snapshot || len(snapshot) > 128 {
			t.Fatalf("made %q", names)
		}
		b.remove(snapshot, volume)
		if left := b.names(); len(left) != len(before) {
			t.Fatalf("left %q", left)
		}
		if got := b.property("node/etcd", "type"); got != "filesystem" {
			t.Fatalf("node/etcd is a %q", got)
		}
	})
}

// remove2 deletes by an id that may be anything; only an empty one is refused.
func (b *bench) remove2(id string) {
	b.t.Helper()
	_, err := b.DeleteVolume(b.ctx, &spec.DeleteVolumeRequest{VolumeId: id})
	if id != "" {
		b.must(err)
	}
	_, err = b.DeleteSnapshot(b.ctx, &spec.DeleteSnapshotRequest{SnapshotId: id})
	if id != "" {
		b.must(err)
	}
}

// FuzzParameters: a property that gets through has a value that its table lists, and a path that does lies below kubelet's directory.
func FuzzParameters(f *testing.F) {
	for _, one := range []string{"compression=zstd-3", "recordsize=4096", "mountpoint=/", "parent=node/plane/volumes", "sparse=true"} {
		name, value, _ := strings.Cut(one, "=")
		f.Add(name, value)
	}
	f.Add("compression", "/var/lib/kubelet/a/../..")
	f.Fuzz(func(t *testing.T, name, value string) {
		b := newBench(t)
		if b.CheckParameter(name, value) == nil && !strings.HasPrefix(name, "csi.storage.k8s.io/") {
			if strings.ContainsAny(value, "= \t\n,'\"\\@#%") || value == "" || value[0] == '-' || strings.HasPrefix(value, "/") {
				t.Fatalf("%q = %q is taken", name, value)
			}
		}
		if target, err := b.Target(value); err == nil {
			if strings.HasPrefix(target, "/") || target == "" || target == ".." || strings.HasPrefix(target, "../") || csi.KubeletDir+"/"+target != value {
				t.Fatalf("path %q is %q", value, target)
			}
		}
	})
}
