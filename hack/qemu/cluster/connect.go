package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Merge adds the cluster to the user's nodectl contexts. What it adds is
// recorded first, so that Down takes it back even after a crash in between.
func (c *Cluster) Merge(ctx context.Context) error {
	c.record.Nodectl = newAddition(c.tools.Contexts)
	if err := c.save(); err != nil {
		return fmt.Errorf("add nodectl context: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(c.tools.Contexts), 0o700); err != nil {
		return fmt.Errorf("add nodectl context: %w", err)
	}
	_, err := c.tools.Nodectl(ctx, "context", "merge", c.ContextPath())
	return err
}

// MergeKubeconfig asks the node for a kubeconfig and adds it to the user's.
func (c *Cluster) MergeKubeconfig(ctx context.Context) error {
	c.record.Kubeconfig = newAddition(c.tools.Kubeconfig)
	if err := c.save(); err != nil {
		return fmt.Errorf("add kubeconfig: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(c.tools.Kubeconfig), 0o700); err != nil {
		return fmt.Errorf("add kubeconfig: %w", err)
	}
	return c.retry(ctx, "kubeconfig", func(ctx context.Context) error {
		_, err := c.tools.Nodectl(ctx, "--context", c.record.Name, "kubeconfig", "--merge")
		return err
	})
}

func newAddition(path string) addition {
	_, err := os.Stat(path)
	_, dirErr := os.Stat(filepath.Dir(path))
	return addition{
		Path: path, Merged: true,
		Created: errors.Is(err, fs.ErrNotExist), CreatedDir: errors.Is(dirErr, fs.ErrNotExist),
	}
}

// retryInterval is the pause between two attempts at something that the cluster
// is not ready for yet. Each costs the node a TLS handshake, which without KVM is
// felt.
const retryInterval = 2 * time.Second

// retry repeats an attempt until it succeeds or the context ends, and reports
// what stands in the way whenever that changes.
func (c *Cluster) retry(ctx context.Context, what string, attempt func(context.Context) error) error {
	var last error
	for {
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := attempt(limited)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil && last != nil {
			err = last // this attempt was cut off, and has nothing to say
		}
		last = err
		c.report.printf("wait for %s: %s", what, lastLine(err))
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, context.Cause(ctx), err)
		// A slow machine needs the time for what is waited for.
		case <-time.After(min(max(retryInterval, 2*time.Since(began)), 5*time.Second)):
		}
	}
}
