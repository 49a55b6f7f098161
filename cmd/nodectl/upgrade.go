package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
)

// upgradeFlags are the flags of what starts another release.
type upgradeFlags struct {
	image, from, sum string
	// pushed takes the release that a node has already.
	pushed          bool
	downgrade, stay bool
	// withoutExtensions takes a release for which extensions of the configuration are missing.
	withoutExtensions bool
	wait              waitFlags
	drain             drainFlags
}

func (f *upgradeFlags) register(c *cobra.Command) {
	c.Flags().BoolVar(&f.stay, "stage", false, "leave the reboot to others")
	c.Flags().BoolVar(&f.wait.wait, "wait", true, "wait until the release has proven itself or the node is back on the one before; --wait=false does not")
	c.Flags().DurationVar(&f.wait.limit, "wait-timeout", 30*time.Minute, "give up waiting after so long")
	f.drain.register(c, drainAuto)
}

// stages says that the node does not reboot by itself: others do that, or nodectl once the pods are away.
func (f *upgradeFlags) stages() bool { return f.stay || f.drain.mode != drainNever }

func (a *app) upgradeCommand() *cobra.Command {
	var f upgradeFlags
	c := &cobra.Command{
		Use:   "upgrade {--image FILE | --from SOURCE | --pushed}",
		Short: "Upgrade nodes, one after the other (needs node:admin)",
		Long: "Upgrade nodes, one after the other (needs node:admin). The release is pushed to the node, or fetched by it, written into the slot that does not run, " +
			"and started. It stays when it proves itself in time; else the node goes back by itself, which counts as a failure. After a failure no further node is begun. " +
			"What was pushed or fetched and could not be written is still on the node: --pushed goes on with it.\n\n" +
			"A source is https://host/path or http://host/path for a file, and oci://host/repository:tag or :tag@sha256:digest for an artifact of a registry; " +
			"oci+http:// is a registry without TLS. What a node takes is decided by the signature of the release, wherever it comes from.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ways := 0
			for _, given := range []bool{f.image != "", f.from != "", f.pushed} {
				if given {
					ways++
				}
			}
			switch {
			case ways != 1:
				return usagef("expected either --image with the file of a release, or --from with where nodes fetch it, or --pushed for the one that they have already")
			case f.pushed && (f.downgrade || f.withoutExtensions):
				return usagef("--allow-downgrade and --without-extensions are said when a release is brought: they hold for what is there")
			case f.sum != "" && f.from == "":
				return usagef("--sha256 is for --from: the file of --image is the one that you have")
			}
			if err := f.drain.check(); err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, t *target, node string, conn *connection) error {
				return a.upgradeNode(ctx, t, node, conn, f)
			})
		},
	}
	c.Flags().StringVar(&f.image, "image", "", "file of the release, *.cyvive")
	c.Flags().StringVar(&f.from, "from", "", "where each node fetches the release itself: https://, http://, oci:// or oci+http://")
	c.Flags().BoolVar(&f.pushed, "pushed", false, "the release that each node has already, since it was pushed or fetched and could not be written")
	c.Flags().StringVar(&f.sum, "sha256", "", "take only this file from a web server: its SHA-256, in hexadecimal digits")
	c.Flags().BoolVar(&f.downgrade, "allow-downgrade", false, "take an older release too")
	c.Flags().BoolVar(&f.withoutExtensions, "without-extensions", false, "take a release too for which an extension of the node's configuration is not there")
	f.register(c)
	_ = c.MarkFlagFilename("image", "cyvive") // fails for unknown flags only
	c.AddCommand(a.upgradeStatusCommand(), a.upgradeCancelCommand())
	return c
}

func (a *app) rollbackCommand() *cobra.Command {
	var f upgradeFlags
	c := &cobra.Command{
		Use:   "rollback",
		Short: "Start the release in the other slot of nodes, one after the other (needs node:admin)",
		Long: "Start the release in the other slot of nodes, one after the other (needs node:admin). It has to prove itself like any other, " +
			"and if it does not, the node comes back to the one that runs now.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.drain.check(); err != nil {
				return err
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, t *target, node string, conn *connection) error {
				call, cancel := context.WithTimeout(ctx, max(a.timeout, bootEntryTimeout))
				defer cancel()
				resp, err := upgradev1.NewUpgradeServiceClient(conn).Rollback(call, &upgradev1.RollbackRequest{Staged: f.stages()})
				if err != nil {
					return err
				}
				return a.started(ctx, t, node, conn, f, resp.GetTarget(), resp.GetBootId())
			})
		},
	}
	f.register(c)
	return c
}

func (a *app) upgradeCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel",
		Short: "Give up an upgrade that waits for the reboot (needs node:admin)",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				ctx, cancel := context.WithTimeout(ctx, max(a.timeout, bootEntryTimeout))
				defer cancel()
				if _, err := upgradev1.NewUpgradeServiceClient(conn).Cancel(ctx, &upgradev1.CancelRequest{}); err != nil {
					return err
				}
				fmt.Fprintf(a.stderr, "%s: cancelled\n", node)
				return nil
			})
		},
	}
}

const (
	// bootEntryTimeout is for a call that changes what the node boots.
	bootEntryTimeout = time.Minute
	// stallTimeout is for a node to take the next piece of a release, or to say how far it is.
	stallTimeout = 2 * time.Minute
	// pieceBytes is how much of a release goes into one message.
	pieceBytes = 32 << 10
)

// oneByOne runs a call on the nodes one after the other, and on none after one that failed.
func (a *app) oneByOne(ctx context.Context, do func(ctx context.Context, t *target, node string, conn *connection) error) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	ends := make([]failure, len(t.nodes))
	failed := ""
	for i, node := range t.nodes {
		ends[i].node = node
		if failed != "" {
			ends[i].err = fmt.Errorf("not begun, since %s failed", failed)
			continue
		}
		conn, err := t.dial(node)
		if err == nil {
			if err = do(ctx, t, node, conn); err != nil {
				err = t.explain(err, conn.lastCause())
			}
			conn.Close()
		}
		if ends[i].err = err; err != nil {
			failed = node
		}
	}
	return a.report(ends)
}

// upgradeNode takes one node to a release.
func (a *app) upgradeNode(ctx context.Context, t *target, node string, conn *connection, f upgradeFlags) error {
	client := upgradev1.NewUpgradeServiceClient(conn)
	if !f.pushed {
		if err := a.bring(ctx, client, node, f); err != nil {
			return err
		}
	}
	last, err := a.install(ctx, client, node, f.stages())
	if err != nil {
		return err
	}
	return a.started(ctx, t, node, conn, f, last.GetTarget(), last.GetBootId())
}

// bring sends a release, or has the node fetch it.
func (a *app) bring(ctx context.Context, client upgradev1.UpgradeServiceClient, node string, f upgradeFlags) error {
	if f.from != "" {
		return a.pull(ctx, client, node, f)
	}
	file, err := os.Open(f.image)
	if err != nil {
		return fmt.Errorf("open release: %w", err)
	}
	defer file.Close()
	return a.push(ctx, client, node, file, f)
}

// push sends a release.
func (a *app) push(ctx context.Context, client upgradev1.UpgradeServiceClient, node string, file *os.File, f upgradeFlags) error {
	ctx, stall := withStall(ctx)
	defer stall.stop()
	stream, err := client.Push(ctx)
	if err != nil {
		return stall.cause(err)
	}
	header := &upgradev1.PushHeader{AllowDowngrade: f.downgrade, WithoutExtensions: f.withoutExtensions}
	err = stream.Send(&upgradev1.PushRequest{Part: &upgradev1.PushRequest_Header{Header: header}})
	if err == nil {
		err = a.sendFile(file, node, stall, func(data []byte) error {
			return stream.Send(&upgradev1.PushRequest{Part: &upgradev1.PushRequest_Data{Data: data}})
		})
	}
	// What made the node end the stream comes with its answer.
	if err != nil && !errors.Is(err, io.EOF) {
		return stall.cause(err)
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return stall.cause(err)
	}
	fmt.Fprintf(a.stderr, "%s: the node takes version %s\n", node, resp.GetTarget().GetVersion())
	return nil
}

// sendFile sends a file in pieces, and shows how far it is. It returns send's error as it is: io.EOF where the node has ended the stream.
func (a *app) sendFile(file *os.File, node string, stall *stall, send func([]byte) error) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read %s: %w", file.Name(), err)
	}
	show := a.progress(node, "pushed")
	defer show.end()
	buffer := make([]byte, pieceBytes)
	for sent := uint64(0); ; {
		n, readErr := file.Read(buffer)
		if n > 0 {
			if err := send(buffer[:n]); err != nil {
				return err
			}
			sent += uint64(n)
			stall.reset()
			show.at(sent, uint64(info.Size()))
		}
		if errors.Is(readErr, io.EOF) {
			return nil
		}
		if readErr != nil {
			return fmt.Errorf("read %s: %w", file.Name(), readErr)
		}
	}
}

// install has a node write what was pushed, and returns the last it says about that.
func (a *app) install(ctx context.Context, client upgradev1.UpgradeServiceClient, node string, staged bool) (*upgradev1.InstallResponse, error) {
	ctx, stall := withStall(ctx)
	defer stall.stop()
	stream, err := client.Install(ctx, &upgradev1.InstallRequest{Staged: staged})
	if err != nil {
		return nil, stall.cause(err)
	}
	show := a.progress(node, "written")
	defer show.end()
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil, errors.New("the node did not say what it has installed")
		case err != nil:
			return nil, stall.cause(err)
		case m.GetTarget() != nil:
			return m, nil
		}
		stall.reset()
		show.at(m.GetWrittenBytes(), m.GetTotalBytes())
	}
}
