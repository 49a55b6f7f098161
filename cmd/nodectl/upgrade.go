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
	image           string
	downgrade, stay bool
	// withoutExtensions takes a release for which extensions of the configuration are missing.
	withoutExtensions bool
	wait              waitFlags
}

func (f *upgradeFlags) register(c *cobra.Command) {
	c.Flags().BoolVar(&f.stay, "stage", false, "leave the reboot to others")
	c.Flags().BoolVar(&f.wait.wait, "wait", true, "wait until the release has proven itself or the node is back on the one before; --wait=false does not")
	c.Flags().DurationVar(&f.wait.limit, "wait-timeout", 30*time.Minute, "give up waiting after so long")
}

func (a *app) upgradeCommand() *cobra.Command {
	var f upgradeFlags
	c := &cobra.Command{
		Use:   "upgrade --image FILE",
		Short: "Upgrade nodes, one after the other (needs node:admin)",
		Long: "Upgrade nodes, one after the other (needs node:admin). The release is pushed to the node, written into the slot that does not run, " +
			"and started. It stays when it proves itself in time; else the node goes back by itself, which counts as a failure. After a failure no further node is begun.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.image == "" {
				return usagef("expected --image with the file of a release")
			}
			return a.oneByOne(cmd.Context(), func(ctx context.Context, t *target, node string, conn *connection) error {
				return a.upgradeNode(ctx, t, node, conn, f)
			})
		},
	}
	c.Flags().StringVar(&f.image, "image", "", "file of the release, *.cyvive")
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
			return a.oneByOne(cmd.Context(), func(ctx context.Context, t *target, node string, conn *connection) error {
				call, cancel := context.WithTimeout(ctx, max(a.timeout, bootEntryTimeout))
				defer cancel()
				resp, err := upgradev1.NewUpgradeServiceClient(conn).Rollback(call, &upgradev1.RollbackRequest{Staged: f.stay})
				if err != nil {
					return err
				}
				return a.started(ctx, t, node, f, resp.GetTarget(), resp.GetBootId())
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
	file, err := os.Open(f.image)
	if err != nil {
		return fmt.Errorf("open release: %w", err)
	}
	defer file.Close()
	client := upgradev1.NewUpgradeServiceClient(conn)
	if err := a.push(ctx, client, node, file, f); err != nil {
		return err
	}
	last, err := a.install(ctx, client, node, f.stay)
	if err != nil {
		return err
	}
	return a.started(ctx, t, node, f, last.GetTarget(), last.GetBootId())
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

// started says what is to be started and, if so asked, waits for what becomes of it.
func (a *app) started(ctx context.Context, t *target, node string, f upgradeFlags, target *upgradev1.System, bootID string) error {
	if f.stay {
		fmt.Fprintf(a.stderr, "%s: version %s starts with the next boot\n", node, systemText(target))
		return nil
	}
	fmt.Fprintf(a.stderr, "%s: rebooting into version %s\n", node, systemText(target))
	if !f.wait.wait {
		return nil
	}
	var outcome error
	err := a.poll(ctx, f.wait.limit, node, func(ctx context.Context) error {
		s, err := askUpgrade(ctx, t, node)
		if err != nil {
			return err
		}
		var waiting error
		waiting, outcome = becomes(s, target, bootID)
		return waiting
	})
	if err != nil || outcome != nil {
		return errors.Join(err, outcome)
	}
	fmt.Fprintf(a.stderr, "%s: version %s has proven itself and stays\n", node, systemText(target))
	return nil
}

// becomes says what has become of an upgrade: either it is waited for still, or it has ended, with an error unless the target stays.
func becomes(s *upgradev1.StatusResponse, target *upgradev1.System, bootID string) (waiting, outcome error) {
	switch s.GetStage() {
	case upgradev1.Stage_STAGE_TRIAL:
		if s.GetReason() == "" {
			return fmt.Errorf("version %s is on trial: all has to be in order for a while", s.GetRunning().GetVersion()), nil
		}
		return fmt.Errorf("version %s is on trial: %s", s.GetRunning().GetVersion(), s.GetReason()), nil
	case upgradev1.Stage_STAGE_REVERTING:
		return fmt.Errorf("going back: %s", s.GetReason()), nil
	case upgradev1.Stage_STAGE_IDLE:
	default:
		if s.GetBootId() == bootID {
			return errors.New("going down"), nil
		}
		return fmt.Errorf("the node is %s", enumName(s.GetStage().String(), "STAGE_")), nil
	}
	switch last := s.GetLast(); {
	case last.GetTarget().GetRootHash() != target.GetRootHash():
		return nil, fmt.Errorf("the node runs version %s and knows nothing of an upgrade to %s", systemText(s.GetRunning()), systemText(target))
	case !last.GetSucceeded() && s.GetBootId() == bootID:
		return nil, fmt.Errorf("given up: %s", last.GetReason())
	case !last.GetSucceeded():
		return nil, fmt.Errorf("rolled back to version %s: %s", systemText(s.GetRunning()), last.GetReason())
	}
	return nil, nil
}

// askUpgrade dials anew, since a connection to a node that went down may take long to notice.
func askUpgrade(ctx context.Context, t *target, node string) (*upgradev1.StatusResponse, error) {
	conn, err := t.dial(node)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	s, err := getUpgrade(ctx, conn)
	if err != nil {
		return nil, t.explain(err, conn.lastCause())
	}
	return s, nil
}

// systemText is a release with its slot, for a person.
func systemText(s *upgradev1.System) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("%s (slot %s)", s.GetVersion(), enumName(s.GetSlot().String(), "SLOT_"))
}
