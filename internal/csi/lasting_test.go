package csi_test

import (
	"context"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"

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
