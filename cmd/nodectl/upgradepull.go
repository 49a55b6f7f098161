package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
)

// pull has a node fetch a release.
func (a *app) pull(ctx context.Context, client upgradev1.UpgradeServiceClient, node string, f upgradeFlags) error {
	ctx, stall := withStall(ctx)
	defer stall.stop()
	stream, err := client.Pull(ctx, &upgradev1.PullRequest{
		Source: f.from, Sha256: f.sum, AllowDowngrade: f.downgrade, WithoutExtensions: f.withoutExtensions,
	})
	if err != nil {
		return stall.cause(err)
	}
	show := a.progress(node, "fetched")
	defer show.end()
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("the node did not say what it has fetched")
		case err != nil:
			return stall.cause(err)
		case m.GetTarget() != nil:
			show.end()
			fmt.Fprintf(a.stderr, "%s: the node takes version %s\n", node, m.GetTarget().GetVersion())
			return nil
		}
		stall.reset()
		if m.GetWaiting() != "" {
			show.end()
			fmt.Fprintf(a.stderr, "%s: waiting: %s\n", node, m.GetWaiting())
			continue
		}
		show.at(m.GetReceivedBytes(), m.GetTotalBytes())
	}
}
