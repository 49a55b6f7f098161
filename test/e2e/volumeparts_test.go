package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
)

// testVolumeDriver: Kubernetes knows the driver, and the node says that it is in order.
func testVolumeDriver(t *testing.T, ctx context.Context, s *suite) {
	var health machinev1.GetHealthResponse
	ask(t, ctx, s, &health, "health")
	if !slices.ContainsFunc(health.GetChecks(), func(c *machinev1.HealthCheck) bool { return c.GetName() == "volumes" && c.GetHealthy() }) {
		t.Errorf("health: %v, want a check volumes", health.GetChecks())
	}
	var services servicev1.ListServicesResponse
	ask(t, ctx, s, &services, "service", "list")
	if !slices.ContainsFunc(services.GetServices(), func(v *servicev1.Service) bool {
		return v.GetName() == "csi-controllers" && v.GetState() == servicev1.ServiceState_SERVICE_STATE_RUNNING
	}) {
		t.Errorf("services: %v, want csi-controllers to run", services.GetServices())
	}
	if got := s.kubectl(t, ctx, "get", "csinode", s.node.Name, "--output", "jsonpath={.spec.drivers[*].name}"); got != "zfs.csi.cyvive.dev" {
		t.Errorf("drivers of the node: %q", got)
	}
	if got := s.kubectl(t, ctx, "get", "node", s.node.Name, "--output", `jsonpath={.metadata.labels}`); !strings.Contains(got, `"zfs.csi.cyvive.dev/node":"`+s.node.Name+`"`) {
		t.Errorf("labels of the node: %s", got)
	}
	// They come with the node, and may be some moments later than its first health.
	for _, kind := range []string{"storageclass", "volumesnapshotclass", "volumegroupsnapshotclass"} {
		eventually(t, ctx, kind, func(ctx context.Context) error {
			_, err := s.Tools().Kubectl(ctx, "get", kind, "zfs")
			return err
		})
	}
}

// testVolumeWrite: the pod of a StatefulSet gets its volumes, and sees no others.
func testVolumeWrite(t *testing.T, ctx context.Context, s *suite) {
	if err := s.RunPod(ctx, "db-0", []byte(volumeTunedClass+"---"+volumeStatefulSet)); err != nil {
		t.Fatal(err)
	}
	s.put(t, ctx, "db-0", "first")
	s.has(t, ctx, "db-0", "first")
	var mounted []string
	for line := range strings.Lines(s.page(t, ctx, "db-0", "/mounts")) {
		// The fifth field is where it is mounted (proc_pid_mountinfo(5)).
		if fields := strings.Fields(line); strings.Contains(line, volumesParent) && len(fields) > 4 {
			mounted = append(mounted, fields[4])
		}
	}
	slices.Sort(mounted)
	// That the node has mounted them without devices does not show here: runc takes such options off what it binds, unless they are asked for (rw clears all).
	if !slices.Equal(mounted, []string{"/data", "/more"}) {
		t.Errorf("the pod has volumes on %q, want its own on /data and /more", mounted)
	}
	s.tuned(t, ctx)
	if got := s.fill(t, ctx, "db-0"); got != "EDQUOT" && got != "ENOSPC" {
		t.Errorf("more than the volume has: %s", got)
	}
	s.has(t, ctx, "db-0", "first")
}

// tuned wants the second volume of db-0 to have the properties of its class.
func (s *suite) tuned(t *testing.T, ctx context.Context) {
	t.Helper()
	const size, record = 16 << 20, 16384
	d := s.volumeDataset(t, ctx, "more-db-0")
	if d.GetCompression() != "zstd" || d.GetRefquotaBytes() != size || d.GetRefreservationBytes() != size {
		t.Errorf("the dataset of the class tuned is %v, want compression zstd, and a quota and reservation of %d", d, size)
	}
	if room, err := s.room(ctx, "db-0", "/more"); err != nil || room.BlockBytes != record {
		t.Errorf("the pod sees records of %d bytes, %v, want %d", room.BlockBytes, err, record)
	}
}

// testVolumeGrow grows the volume under the pod.
func testVolumeGrow(t *testing.T, ctx context.Context, s *suite) {
	s.grow(t, ctx, "data-db-0", "db-0", s.totalBytes)
	if got := s.fill(t, ctx, "db-0"); got != "ok" {
		t.Errorf("what did not fit before: %s", got)
	}
}

// testVolumeSnapshot: a volume made of a snapshot has what was there then, and one made of the volume what is there now. Both are of their own.
func testVolumeSnapshot(t *testing.T, ctx context.Context, s *suite) {
	s.put(t, ctx, "db-0", "before")
	if err := s.Tools().Apply(ctx, []byte(volumeSnapshot)); err != nil {
		t.Fatal(err)
	}
	s.kubectl(t, ctx, "wait", "volumesnapshot", "before", "--for=jsonpath={.status.readyToUse}=true", "--timeout=3m")
	s.put(t, ctx, "db-0", "after")
	for name, source := range map[string]string{
		"restored": "dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: before}",
		"cloned":   "dataSource: {kind: PersistentVolumeClaim, name: data-db-0}",
	} {
		// What it is made of has 512 MiB.
		manifest := strings.Replace(string(volumeManifest(name, source, volumeMounted)), "256Mi", "512Mi", 1)
		if err := s.RunPod(ctx, name, []byte(manifest)); err != nil {
			t.Fatal(err)
		}
	}
	s.has(t, ctx, "restored", "before")
	s.has(t, ctx, "cloned", "after")
	s.put(t, ctx, "restored", "other")
	s.put(t, ctx, "cloned", "another")
	s.has(t, ctx, "db-0", "after")
}

// testVolumeGroup takes snapshots of two volumes at once, while a pod counts in them, and makes volumes of both. They have what was there in one moment: snapshots
// that are taken one after the other are many numbers apart. The pod with these volumes stays until the power is cut.
func testVolumeGroup(t *testing.T, ctx context.Context, s *suite) {
	s.kubectl(t, ctx, "label", "pvc", "data-db-0", "more-db-0", "grouped=yes")
	if got := s.page(t, ctx, "db-0", "/count?path=/data/count&path=/more/count"); got != "ok" {
		t.Fatalf("db-0 counts: %s", got)
	}
	var before uint64
	eventually(t, ctx, "wait for the first number", func(ctx context.Context) error {
		text, err := s.fetchPage(ctx, "db-0", "/get?path=/more/count")
		if err == nil {
			before, err = strconv.ParseUint(text, 10, 64) // a file that was made just now is empty
		}
		return err
	})
	if err := s.Tools().Apply(ctx, []byte(volumeGroup)); err != nil {
		t.Fatal(err)
	}
	s.kubectl(t, ctx, "wait", "volumegroupsnapshot", "both", "--for=jsonpath={.status.readyToUse}=true", "--timeout=3m")
	last := s.number(t, ctx, "db-0", "/counted")
	members := s.members(t, ctx)
	manifest := strings.NewReplacer("DATA", members["data-db-0"], "MORE", members["more-db-0"]).Replace(volumeMoment)
	if err := s.RunPod(ctx, "moment", []byte(manifest)); err != nil {
		t.Fatal(err)
	}
	data, more := s.number(t, ctx, "moment", "/get?path=/data/count"), s.number(t, ctx, "moment", "/get?path=/more/count")
	t.Logf("counted from %d to %d, and taken at %d and %d", before, last, data, more)
	if data <= before || data >= last || data != more && data != more+1 {
		t.Errorf("the volumes of the group have %d and %d, want two that are one moment's, between %d and %d", data, more, before, last)
	}
}

// number is a page of a pod that is a number.
func (s *suite) number(t *testing.T, ctx context.Context, pod, page string) uint64 {
	t.Helper()
	text := s.page(t, ctx, pod, page)
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s of %s: %v", page, pod, err)
	}
	return n
}

// members are the snapshots of the group, by the claims of which they are, once they can be used. Kubernetes makes an object of each, which the group owns.
func (s *suite) members(t *testing.T, ctx context.Context) map[string]string {
	t.Helper()
	var found map[string]string
	eventually(t, ctx, "wait for the snapshots of the group", func(ctx context.Context) error {
		out, err := s.Tools().Kubectl(ctx, "get", "volumesnapshots", "--output", "json")
		if err != nil {
			return err
		}
		found, err = membersOf([]byte(out), "both")
		if err == nil && (found["data-db-0"] == "" || found["more-db-0"] == "" || len(found) != 2) {
			err = fmt.Errorf("there are %v", found)
		}
		return err
	})
	return found
}

// membersOf reads a list of VolumeSnapshots (snapshot.storage.k8s.io/v1), and returns those of a group that can be used, by their claims.
func membersOf(list []byte, group string) (map[string]string, error) {
	var snapshots struct {
		Items []struct {
			Metadata struct {
				Name            string
				OwnerReferences []struct{ Kind, Name string }
			}
			Spec struct {
				Source struct{ PersistentVolumeClaimName string }
			}
			Status struct{ ReadyToUse bool }
		}
	}
	if err := json.Unmarshal(list, &snapshots); err != nil {
		return nil, fmt.Errorf("read list of snapshots: %w", err)
	}
	found := map[string]string{}
	for _, one := range snapshots.Items {
		for _, owner := range one.Metadata.OwnerReferences {
			if owner.Kind == "VolumeGroupSnapshot" && owner.Name == group && one.Status.ReadyToUse {
				found[one.Spec.Source.PersistentVolumeClaimName] = one.Metadata.Name
			}
		}
	}
	return found, nil
}

// TestMembers reads a list as the API server sends it, with a snapshot of no group, and one of a group that cannot be used yet.
func TestMembers(t *testing.T) {
	const list = `{"apiVersion":"v1","kind":"List","items":[
		{"metadata":{"name":"before"},"spec":{"source":{"persistentVolumeClaimName":"data-db-0"}},"status":{"readyToUse":true}},
		{"metadata":{"name":"snapshot-1","ownerReferences":[{"apiVersion":"groupsnapshot.storage.k8s.io/v1","kind":"VolumeGroupSnapshot","name":"both","uid":"u"}]},
			"spec":{"source":{"persistentVolumeClaimName":"data-db-0"}},"status":{"readyToUse":true}},
		{"metadata":{"name":"snapshot-2","ownerReferences":[{"apiVersion":"groupsnapshot.storage.k8s.io/v1","kind":"VolumeGroupSnapshot","name":"both","uid":"u"}]},
			"spec":{"source":{"persistentVolumeClaimName":"more-db-0"}}}]}`
	got, err := membersOf([]byte(list), "both")
	if err != nil || len(got) != 1 || got["data-db-0"] != "snapshot-1" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := membersOf([]byte("no list"), "both"); err == nil {
		t.Error("what is no list was read")
	}
}

// testVolumeExt4: a device with a file system on it is one more kind of volume, and grows with its file system.
func testVolumeExt4(t *testing.T, ctx context.Context, s *suite) {
	if err := s.Tools().Apply(ctx, []byte(volumeDiskClass)); err != nil {
		t.Fatal(err)
	}
	if err := s.RunPod(ctx, "disk", volumeManifest("disk", "storageClassName: disk", volumeMounted)); err != nil {
		t.Fatal(err)
	}
	s.put(t, ctx, "disk", "ext4")
	if mounts := s.page(t, ctx, "disk", "/mounts"); !strings.Contains(mounts, " - ext4 /dev/zd") {
		t.Errorf("mounts of the pod: %s", mounts)
	}
	if d := s.volumeDataset(t, ctx, "disk"); d.GetKind() != datasetv1.Kind_KIND_VOLUME || d.GetCompression() != "lzjb" || d.GetRefreservationBytes() != 0 {
		t.Errorf("the dataset of the class disk is %v, want a volume with compression lzjb and no reservation", d)
	}
	s.grow(t, ctx, "disk", "disk", s.totalBytes)
	s.has(t, ctx, "disk", "ext4")
}

// testVolumeBlock: a pod has a device for its volume, as the user that it runs as, and it grows under the pod. One that has all rights opens what pods have, and no
// other block device of the machine, and mounts none.
func testVolumeBlock(t *testing.T, ctx context.Context, s *suite) {
	if err := s.RunPod(ctx, "raw", volumeManifest("raw", "volumeMode: Block", volumeDevice)); err != nil {
		t.Fatal(err)
	}
	if got := s.page(t, ctx, "raw", "/put?path=/dev/data&text=raw"); got != "ok" {
		t.Fatalf("the pod writes to its device: %s", got)
	}
	s.hasRaw(t, ctx)
	s.grow(t, ctx, "raw", "raw", s.deviceBytes)
	s.hasRaw(t, ctx)
	if err := s.RunPod(ctx, "privileged", volumeManifest("privileged", "volumeMode: Block", volumePrivileged)); err != nil {
		t.Fatal(err)
	}
	s.opensVolumes(t, ctx, 2)
	s.restartAgent(t, ctx)
	s.opensVolumes(t, ctx, 2)
	s.hasRaw(t, ctx)
	// Of the two, the one that nobody has any more is not on the list.
	s.kubectl(t, ctx, "delete", "pod/privileged", "pvc/privileged", "--grace-period=1", "--timeout=3m")
	if err := s.RunPod(ctx, "privileged", volumeManifest("privileged", "", volumeMounted+strings.TrimPrefix(volumePrivileged, volumeDevice))); err != nil {
		t.Fatal(err)
	}
	s.opensVolumes(t, ctx, 1)
	s.kubectl(t, ctx, "delete", "pod/privileged", "pvc/privileged", "--grace-period=1", "--timeout=3m")
}

// hasRaw wants pod raw to find on its device what it has written.
func (s *suite) hasRaw(t *testing.T, ctx context.Context) {
	t.Helper()
	if got := s.page(t, ctx, "raw", "/get?path=/dev/data&bytes=3"); got != "raw" {
		t.Errorf("raw reads %q from its device, want %q", got, "raw")
	}
}

// opensVolumes wants pod privileged to open as many volumes, no other block device, and to mount none.
func (s *suite) opensVolumes(t *testing.T, ctx context.Context, want int) {
	t.Helper()
	var all []struct{ Name, Number, Open, Mount string }
	if text := s.page(t, ctx, "privileged", "/blocks"); json.Unmarshal([]byte(text), &all) != nil {
		t.Fatalf("block devices: %s", text)
	}
	opened, volumes := 0, 0
	for _, b := range all {
		if strings.HasPrefix(b.Name, "zd") {
			volumes++
		}
		switch {
		case b.Open == "ok" && strings.HasPrefix(b.Name, "zd"):
			opened++
		case b.Open != "EPERM":
			t.Errorf("open %s (%s): %s, want EPERM", b.Name, b.Number, b.Open)
		}
		if b.Mount != "EPERM" {
			t.Errorf("mount %s (%s): %s, want EPERM", b.Name, b.Number, b.Mount)
		}
	}
	// That of the pod disk has a file system, and is no pod's.
	if opened != want || volumes <= want || len(all) <= volumes {
		t.Errorf("the pod opens %d volumes of %d among %d block devices, want %d: %+v", opened, volumes, len(all), want, all)
	}
}

// testVolumeAgent: while the agent starts again, pods have their volumes; and afterwards others are made.
func testVolumeAgent(t *testing.T, ctx context.Context, s *suite) {
	container, agent := s.containerOf(t, ctx, "db-0"), service(t, ctx, s, "machined").GetPid()
	s.nodectl(t, ctx, "service", "restart", "machined")
	s.put(t, ctx, "db-0", "meanwhile")
	if err := s.RunPod(ctx, "later", volumeManifest("later", "", volumeMounted)); err != nil {
		t.Fatal(err)
	}
	s.put(t, ctx, "later", "later")
	if err := s.AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	if now := service(t, ctx, s, "machined").GetPid(); now == agent || now == 0 {
		t.Errorf("the agent is process %d, and was process %d before", now, agent)
	}
	if now := s.containerOf(t, ctx, "db-0"); now != container {
		t.Errorf("the pod was started again: %s, then %s", container, now)
	}
	s.kubectl(t, ctx, "delete", "pod/later", "pvc/later", "--timeout=3m")
}

// testVolumePod: the next pod of the StatefulSet has what the one before has written.
func testVolumePod(t *testing.T, ctx context.Context, s *suite) {
	s.put(t, ctx, "db-0", "kept")
	container := s.containerOf(t, ctx, "db-0")
	s.kubectl(t, ctx, "delete", "pod", "db-0", "--wait=true", "--timeout=3m")
	if err := s.AwaitPod(ctx, "db-0"); err != nil {
		t.Fatal(err)
	}
	if s.containerOf(t, ctx, "db-0") == container {
		t.Error("the pod is the one before")
	}
	s.has(t, ctx, "db-0", "kept")
}

// testVolumePlane ends all pods and what they run in. The volumes stay mounted on the node, and the pods find them again.
func testVolumePlane(t *testing.T, ctx context.Context, s *suite) {
	s.put(t, ctx, "db-0", "plane")
	s.put(t, ctx, "disk", "plane")
	containers := s.volumeContainers(t, ctx)
	s.nodectl(t, ctx, "service", "restart", "plane")
	s.foundAgain(t, ctx, containers, "plane")
}

// testVolumePowerCut pulls the plug right after a write, and after a pod and its claims were deleted, which nobody has had the time to take away: they are gone when
// the node is back.
func testVolumePowerCut(t *testing.T, ctx context.Context, s *suite) {
	before := currentBoot(t, ctx, s)
	containers := s.volumeContainers(t, ctx)
	s.put(t, ctx, "disk", "synced")
	s.put(t, ctx, "db-0", "synced")
	gone := s.deleteMoment(t, ctx)
	if err := machine(t, s.Cluster, s.node).PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	checkEnd(t, awaitBoot(t, ctx, s, before), before, machinev1.BootEnd_BOOT_END_UNCLEAN)
	s.foundAgain(t, ctx, containers, "synced")
	s.awaitGone(t, ctx, gone)
}

// deleteMoment deletes the pod with the volumes of the group's snapshots, and their claims, and returns their datasets.
func (s *suite) deleteMoment(t *testing.T, ctx context.Context) []string {
	t.Helper()
	const data, more = "moment-data", "moment-more"
	if out := s.kubectl(t, ctx, "get", "pvc", "--output", "name"); !strings.Contains(out, data) || !strings.Contains(out, more) {
		t.Errorf("the part that makes the pod moment has failed: there are %s", strings.Fields(out))
		return nil
	}
	datasets := s.datasetsOf(t, ctx, data, more)
	// The claims stay as long as a pod has them. By force, that is deleted at once, while it runs.
	s.kubectl(t, ctx, "delete", "pvc", data, more, "--wait=false")
	s.kubectl(t, ctx, "delete", "pod", "moment", "--ignore-not-found", "--grace-period=0", "--force", "--wait=false")
	return datasets
}

// awaitGone waits until datasets are gone, and with them the claims. One that is mounted anywhere is not destroyed: ZFS says that it is busy.
func (s *suite) awaitGone(t *testing.T, ctx context.Context, gone []string) {
	t.Helper()
	eventually(t, ctx, "wait for "+strings.Join(gone, " and ")+" to go", func(ctx context.Context) error {
		all, err := s.listVolumes(ctx)
		if err != nil {
			return err
		}
		for _, d := range all {
			if slices.Contains(gone, d.GetName()) {
				return errors.New(d.GetName() + " is still there")
			}
		}
		return nil
	})
	for _, claim := range []string{"moment-data", "moment-more"} {
		if out := s.kubectl(t, ctx, "get", "pvc", claim, "--ignore-not-found", "--output", "name"); strings.TrimSpace(out) != "" {
			t.Errorf("%s is there without its volume", claim)
		}
	}
}

// testVolumeReboot: with volumes of all kinds in use the node goes down in order, its pool exported.
func testVolumeReboot(t *testing.T, ctx context.Context, s *suite) {
	before := currentBoot(t, ctx, s)
	s.put(t, ctx, "disk", "clean")
	s.put(t, ctx, "db-0", "clean")
	containers := s.volumeContainers(t, ctx)
	s.nodectl(t, ctx, "reboot")
	checkEnd(t, awaitBoot(t, ctx, s, before), before, machinev1.BootEnd_BOOT_END_CLEAN)
	s.foundAgain(t, ctx, containers, "clean")
}

// volumeContainers are the containers of all pods with volumes.
func (s *suite) volumeContainers(t *testing.T, ctx context.Context) map[string]string {
	t.Helper()
	containers := map[string]string{}
	for _, pod := range volumePods {
		containers[pod] = s.containerOf(t, ctx, pod)
	}
	return containers
}

// foundAgain waits for the node, and for other containers than those before: until kubelet has told of them, the pods count as ready, with addresses that others
// may have by now. Then it looks for what they have written.
func (s *suite) foundAgain(t *testing.T, ctx context.Context, before map[string]string, text string) {
	t.Helper()
	if err := s.AwaitHealthy(ctx); err != nil {
		t.Fatal(err)
	}
	for _, pod := range volumePods {
		eventually(t, ctx, "wait for "+pod+" to be started again", func(ctx context.Context) error {
			out, err := s.Tools().Kubectl(ctx, "get", "pod", pod, "--output", "jsonpath={.status.containerStatuses[*].ready} {.status.containerStatuses[*].containerID}")
			if ready, container, _ := strings.Cut(out, " "); err == nil && (ready != "true" || container == before[pod]) {
				err = fmt.Errorf("ready: %s, in container %s, and it had %s", ready, container, before[pod])
			}
			return err
		})
	}
	for pod, want := range map[string]string{"db-0": text, "disk": text, "restored": "other", "cloned": "another"} {
		s.has(t, ctx, pod, want)
	}
	s.hasRaw(t, ctx)
}

// testVolumeDelete: what Kubernetes deletes is gone from the pool, in whatever order.
func testVolumeDelete(t *testing.T, ctx context.Context, s *suite) {
	// The last one goes in an earlier part, unless that failed.
	s.kubectl(t, ctx, "delete", "statefulset/db", "pod/disk", "pod/restored", "pod/cloned", "pod/raw", "pod/moment", "--ignore-not-found", "--timeout=3m")
	s.kubectl(t, ctx, "delete", "pvc", "--all", "--timeout=3m")
	s.kubectl(t, ctx, "delete", "volumegroupsnapshot/both", "volumesnapshot/before", "--timeout=3m")
	eventually(t, ctx, "wait for the volumes to go", func(ctx context.Context) error {
		out, err := s.Tools().Kubectl(ctx, "get", "persistentvolumes", "--output", "name")
		if err == nil && strings.TrimSpace(out) != "" {
			err = fmt.Errorf("there are %s", strings.Fields(out))
		}
		if err != nil {
			return err
		}
		all, err := s.listVolumes(ctx)
		if err != nil {
			return err
		}
		for _, d := range all {
			if name, below := strings.CutPrefix(d.GetName(), volumesParent+"/"); below && name != "_deleted" {
				return errors.New(d.GetName() + " is still there")
			}
		}
		return nil
	})
}
