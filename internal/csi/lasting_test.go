package csi_test

import (
	"context"
	"strings"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/csi/csitest"
)

// stageWithin is stage with another context.
func (b *bench) stageWithin(ctx context.Context, v *spec.Volume, c *spec.VolumeCapability) error {
	dir := "plugins/" + v.GetVolumeId()
	b.mounts.MakeDirectory(dir)
	_, err := b.NodeStageVolume(ctx, &spec.NodeStageVolumeRequest{
		VolumeId: v.GetVolumeId(), StagingTargetPath: csi.KubeletDir + "/" + dir, VolumeCapability: c, VolumeContext: v.GetVolumeContext(),
	})
	return err
}

// TestLongerThanCall: a file system that takes longer to be made, or checked, than kubelet waits is made and checked to the end.
func TestLongerThanCall(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "ext4")
	formatted := 0
	for _, slow := range []string{"Format", "Repair"} {
		done := map[string]int{}
		ctx, cancel := context.WithCancel(b.ctx)
		b.mounts.Hook = func(method string, after bool) error {
			switch {
			case method == slow && !after:
				cancel() // as kubelet does
			case after:
				done[method]++
			}
			return nil
		}
		if err := b.stageWithin(ctx, v, capability("ext4")); err == nil {
			t.Errorf("%s: the call succeeded, of which nobody waits for the answer", slow)
		}
		cancel()
		if done[slow] != 1 {
			t.Errorf("%s came %d times to its end", slow, done[slow])
		}
		b.must(b.stage(v, capability("ext4")))
		b.must(b.unstage(v))
		formatted += done["Format"]
	}
	if formatted != 1 {
		t.Errorf("the file system was made %d times", formatted)
	}
}

// endless is a kernel in which it takes for ever to make a file system.
type endless struct {
	*csitest.Mounts
	began chan struct{}
}

func (e endless) Format(ctx context.Context, _, _ string) error {
	close(e.began)
	<-ctx.Done()
	return ctx.Err()
}

// TestEnd: what goes on without its call ends with the driver.
func TestEnd(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "ext4")
	mounts := endless{b.mounts, make(chan struct{})}
	c := b.Config
	c.Mounts = mounts
	var err error
	b.Driver, err = csi.New(c)
	b.must(err)
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	staged := make(chan error, 1)
	go func() { staged <- b.stageWithin(ctx, v, capability("ext4")) }()
	<-mounts.began
	cancel()
	select {
	case err := <-staged:
		t.Errorf("it ended with its call: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	b.End()
	b.End() // again, as may be
	select {
	case err := <-staged:
		if err == nil {
			t.Error("a file system that was not made is staged")
		}
	case <-time.After(20 * time.Second):
		t.Error("it goes on after the driver's end")
	}
}

// slowly has a file system be checked until goOn is closed, and began be closed when that begins.
func (b *bench) slowly() (began, goOn chan struct{}) {
	began, goOn = make(chan struct{}), make(chan struct{})
	b.mounts.Hook = func(method string, after bool) error {
		if method == "Repair" && !after {
			close(began)
			<-goOn
		}
		return nil
	}
	return began, goOn
}

// TestTidyDoesNotWait: what is left of a volume whose file system is checked keeps no other from being deleted, and goes later.
func TestTidyDoesNotWait(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "ext4")
	b.must(b.stage(v, capability("ext4")))
	b.must(b.unstage(v))
	b.create("clone", "ext4", of("a"))
	b.create("other", "")
	b.start() // so that it looks everywhere
	began, goOn := b.slowly()
	staged := make(chan error, 1)
	go func() { staged <- b.stageWithin(b.ctx, v, capability("ext4")) }()
	<-began
	short, stop := context.WithTimeout(b.ctx, 10*time.Second)
	defer stop()
	_, err := b.DeleteVolume(short, &spec.DeleteVolumeRequest{VolumeId: "other"})
	close(goOn)
	b.must(err)
	if short.Err() != nil {
		t.Error("it has waited for the check of another volume")
	}
	b.must(<-staged)
	b.must(b.unstage(v))
	b.remove("clone", "a")
	if left := b.names(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestCallsHearOfWork: while the file system of a volume is checked, calls for it are told so, and do not wait.
func TestCallsHearOfWork(t *testing.T) {
	b := newBench(t)
	v := b.create("a", "ext4")
	b.must(b.stage(v, capability("ext4")))
	b.must(b.unstage(v))
	began, goOn := b.slowly()
	staged := make(chan error, 1)
	go func() { staged <- b.stageWithin(b.ctx, v, capability("ext4")) }()
	<-began
	short, stop := context.WithTimeout(b.ctx, 10*time.Second)
	defer stop()
	for name, call := range map[string]func() error{
		"stage": func() error { return b.stageWithin(short, v, capability("ext4")) },
		"unstage": func() error {
			_, err := b.NodeUnstageVolume(short, &spec.NodeUnstageVolumeRequest{VolumeId: "a", StagingTargetPath: csi.KubeletDir + "/plugins/a"})
			return err
		},
		"delete": func() error {
			_, err := b.DeleteVolume(short, &spec.DeleteVolumeRequest{VolumeId: "a"})
			return err
		},
		"snapshot": func() error {
			_, err := b.CreateSnapshot(short, &spec.CreateSnapshotRequest{SourceVolumeId: "a", Name: "s"})
			return err
		},
		"clone": func() error {
			_, err := b.CreateVolume(short, request("b", "ext4", of("a")))
			return err
		},
	} {
		err := call()
		b.code(name, err, codes.Aborted)
		if err != nil && !strings.Contains(err.Error(), "is being checked since") {
			t.Errorf("%s: no word of what it waits for: %v", name, err)
		}
	}
	close(goOn)
	b.must(<-staged)
	b.must(b.unstage(v))
	b.remove("a")
}
