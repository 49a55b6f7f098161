package csi_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"

	"github.com/cyvive/cyvive/internal/csi"
	"github.com/cyvive/cyvive/internal/csi/csitest"
	"github.com/cyvive/cyvive/internal/csi/csitest/sanitytest"
)

// TestSanity runs the whole of csi-sanity, for each kind of volume: a dataset, a device, and a device with a file system.
func TestSanity(t *testing.T) {
	b := newBench(t)
	socket := serve(t, b.Driver)
	sanitytest.Run(t, time.Hour, func() sanity.TestConfig { return sanityConfig(socket, b.mounts) })
	if left := b.names(); len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, ", "))
	}
}

// serve serves a driver to all callers on a socket until the test ends.
func serve(t *testing.T, d *csi.Driver) string { return serveTo(t, d, csi.Kubelet|csi.Controllers) }

func serveTo(t *testing.T, d *csi.Driver, callers csi.Callers) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "csi.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- d.Serve(ctx, listener, callers) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-served:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server does not stop")
		}
	})
	return socket
}

// sanityConfig is that of csi-sanity for a kernel in memory.
func sanityConfig(socket string, mounts *csitest.Mounts) sanity.TestConfig {
	relative := func(p string) string { return strings.TrimPrefix(p, csi.KubeletDir+"/") }
	c := sanity.NewTestConfig()
	c.Address = "unix://" + socket
	c.TargetPath, c.StagingPath = csi.KubeletDir+"/csi-mount", csi.KubeletDir+"/csi-staging"
	make := func(p string) (string, error) {
		mounts.MakeDirectory(relative(p))
		return p, nil
	}
	remove := func(p string) error { return mounts.RemoveDirectory(relative(p)) }
	c.CreateTargetDir, c.CreateStagingDir, c.RemoveTargetPath, c.RemoveStagingPath = make, make, remove, remove
	c.CheckPath = func(p string) (sanity.PathKind, error) {
		switch mounts.KindOf(relative(p)) {
		case csitest.Directory:
			return sanity.PathIsDir, nil
		case csitest.File:
			return sanity.PathIsFile, nil
		}
		return sanity.PathIsNotFound, nil
	}
	return c
}
