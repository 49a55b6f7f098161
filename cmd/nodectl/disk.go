package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	diskv1 "github.com/cyvive/cyvive/api/proto/disk/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

func (a *app) diskCommand() *cobra.Command {
	return group("disk", "Look after nodes' own volumes and the encrypted disks of pools, and what opens them",
		a.diskListCommand(), a.diskRecoveryKeyCommand(), a.diskRecoverCommand(), a.diskResealCommand(), a.diskRotateCommand())
}

func listVolumes(ctx context.Context, conn *connection) (*diskv1.ListVolumesResponse, error) {
	return diskv1.NewDiskServiceClient(conn).ListVolumes(ctx, &diskv1.ListVolumesRequest{})
}

func (a *app) diskListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List nodes' own volumes, and the encrypted disks of pools", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, listVolumes, columns[*diskv1.ListVolumesResponse]{[]string{"VOLUME", "DEVICE", "SIZE", "MOUNTED", "ENCRYPTED", "RECOVERY-KEY", "REASON"}, volumeRows}, nil)
		},
	}
}

func volumeRows(l *diskv1.ListVolumesResponse) [][]string {
	var rows [][]string
	for _, v := range l.GetVolumes() {
		rows = append(rows, []string{
			v.GetName(), v.GetDevice(), bytesText(v.GetSizeBytes()), yes(v.GetMounted()), yes(v.GetEncrypted()), yes(v.GetRecoverable()), v.GetReason(),
		})
	}
	return rows
}

// yes is a cell of a table.
func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (a *app) diskRecoveryKeyCommand() *cobra.Command {
	var forget bool
	c := &cobra.Command{
		Use:   "recovery-key",
		Short: "Show a node's recovery key, to be written down (needs node:admin)",
		Long: "Show a node's recovery key, to be written down (needs node:admin): it opens the node's volumes, and the encrypted disks of its pools, when nothing else\n" +
			"does. Each group has a character that checks the others, so a mistake is named later. The node gives the key out until it is told to forget\n" +
			"it: --forget reads the key, as it was written down, from standard input, and removes it from the node if it is right.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if forget {
				return a.forgetRecoveryKey(cmd.Context())
			}
			return a.showRecoveryKey(cmd.Context())
		},
	}
	c.Flags().BoolVar(&forget, "forget", false, "remove the key from the node, which is proven to be written down")
	return c
}

func (a *app) showRecoveryKey(ctx context.Context) error {
	resp, err := onOne(ctx, a, func(ctx context.Context, client diskv1.DiskServiceClient) (*diskv1.GetRecoveryKeyResponse, error) {
		return client.GetRecoveryKey(ctx, &diskv1.GetRecoveryKeyRequest{})
	})
	if err != nil {
		return err
	}
	if a.format != output.FormatTable {
		return output.WriteAll(a.stdout, a.format, []output.Answer{{Message: resp}}, false)
	}
	if _, err := fmt.Fprintln(a.stdout, resp.GetRecoveryKey()); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	fmt.Fprintln(a.stderr, "Write it down, keep it apart from the machine, and then: nodectl disk recovery-key --forget")
	return nil
}

func (a *app) forgetRecoveryKey(ctx context.Context) error {
	key, err := a.readRecoveryKey()
	if err != nil {
		return err
	}
	_, err = onOne(ctx, a, func(ctx context.Context, client diskv1.DiskServiceClient) (*diskv1.ForgetRecoveryKeyResponse, error) {
		return client.ForgetRecoveryKey(ctx, &diskv1.ForgetRecoveryKeyRequest{RecoveryKey: key})
	})
	if err == nil {
		fmt.Fprintln(a.stderr, "The key is right, and the node has forgotten it.")
	}
	return err
}

func (a *app) diskRecoverCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "recover VOLUME",
		Short: "Open a node's volume with its recovery key, which is read from standard input (needs node:admin)",
		Long: "Open a node's volume, as a rule state, with its recovery key, which is read from standard input (needs node:admin). The node goes on from there by\n" +
			"itself. Until its disk is sealed anew (`nodectl disk reseal`), it needs the key again with each boot. A node whose only configuration is on that\n" +
			"volume is in maintenance mode until then: its owner reaches it by --maintenance, with the --fingerprint that its console shows.\n" +
			"An encrypted disk of a pool is named as by `nodectl disk list`; pools stands for all of them that the key opens.",
		Args:              oneArg("the volume"),
		ValidArgsFunction: cobra.FixedCompletions([]string{"state", "data", "pools"}, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := a.readRecoveryKey()
			if err != nil {
				return err
			}
			_, err = onOne(cmd.Context(), a, func(ctx context.Context, client diskv1.DiskServiceClient) (*diskv1.RecoverResponse, error) {
				return client.Recover(ctx, &diskv1.RecoverRequest{Volume: args[0], RecoveryKey: key})
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stderr, "volume %s is open\n", args[0])
			if a.maintenance {
				fmt.Fprintln(a.stderr, "The node goes on with the configuration that is on it: reach it from now on by a context of that, as before.")
			}
			return nil
		},
	}
}

func (a *app) diskResealCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reseal",
		Short: "Seal a node's disk anew, by what opens it (needs node:admin)",
		Long: "Seal a node's disk anew, by what opens it (needs node:admin). To its TPM as it is now: after the board was replaced, or the keys of Secure Boot. Whether the\n" +
			"TPM opens it shows at the next boot; keep the recovery key at hand. Where it is known that a boot as this one would not open it, as with a command line\n" +
			"that was added to, nothing is changed, and it is said what differs. At the key server that the configuration has now, which has to show that it unseals.\n" +
			"By the passphrase that the node's sources give now.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := onOne(cmd.Context(), a, func(ctx context.Context, client diskv1.DiskServiceClient) (*diskv1.ResealResponse, error) {
				return client.Reseal(ctx, &diskv1.ResealRequest{})
			})
			if err == nil {
				fmt.Fprintln(a.stderr, "sealed; the next boot shows whether the disk opens")
			}
			return err
		},
	}
}

func (a *app) diskRotateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "Change the keys by which a node opens its volumes and encrypted disks of pools (needs node:admin)",
		Long: "Change the keys by which a node opens its encrypted volumes (needs node:admin): that which its TPM, key server or passphrase opens, and those on the\n" +
			"state volume; each encrypted disk of pools gets another key too. The recovery key stays. What is on the disk is not encrypted anew, so this is of no\n" +
			"help against somebody who has copied the disk's headers and had a key. Interrupted, the node opens its disk as before, and the same command goes on.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			resp, err := onOne(cmd.Context(), a, func(ctx context.Context, client diskv1.DiskServiceClient) (*diskv1.RotateKeysResponse, error) {
				return client.RotateKeys(ctx, &diskv1.RotateKeysRequest{})
			})
			if err == nil {
				fmt.Fprintf(a.stderr, "other keys open now: %s; the next boot shows it for state\n", output.Clean(strings.Join(resp.GetVolumes(), ", ")))
			}
			return err
		},
	}
}

// headerTimeout is how long a change of the keys in the headers of a node's volumes is waited for: each is many runs of cryptsetup, one after the other,
// which take some seconds each on a slow or emulated processor.
const headerTimeout = 2 * time.Minute

// onOne makes a call on the one node that is meant: a recovery key is that of one node, and what is sealed anew is better tried on one first.
func onOne[T any](ctx context.Context, a *app, call func(context.Context, diskv1.DiskServiceClient) (T, error)) (T, error) {
	var none T
	t, err := a.target()
	if err != nil {
		return none, err
	}
	if len(t.nodes) != 1 {
		return none, usagef("a disk is that of one node, and these are %d: choose one with --nodes", len(t.nodes))
	}
	r := each(ctx, t, func(ctx context.Context, _ string, conn *connection) (T, error) {
		ctx, cancel := context.WithTimeout(ctx, max(a.timeout, headerTimeout))
		defer cancel()
		return call(ctx, diskv1.NewDiskServiceClient(conn))
	})
	return r[0].resp, a.report(errorsOf(r))
}

// maxTypedBytes is more than any way to write a recovery key takes.
const maxTypedBytes = 1024

// readRecoveryKey reads a key from standard input: a line of a terminal, or all that a file has.
func (a *app) readRecoveryKey() (string, error) {
	in := io.LimitReader(os.Stdin, maxTypedBytes)
	var text string
	var err error
	if term.IsTerminal(int(os.Stdin.Fd())) {
		fmt.Fprint(a.stderr, "Recovery key: ")
		text, err = bufio.NewReader(in).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
	} else {
		var data []byte
		data, err = io.ReadAll(in)
		text = string(data)
	}
	if err != nil {
		return "", fmt.Errorf("read recovery key: %w", err)
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", usagef("no recovery key came on standard input")
	}
	return text, nil
}
