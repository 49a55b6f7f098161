// Command mkimage builds the node image from the pinned inputs.
//
//	mkimage build --arch amd64 --out ../out --keys FILE
//	mkimage baseline --arch amd64 --out ../out
//	mkimage extension --arch amd64 --dir FOLDER --out FOLDER
//	mkimage lock
//
// It runs in the images directory, needs no root, and keeps everything it
// fetched or built in the user's cache directory.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

const lockFile = "lock.json"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		stop()
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "mkimage",
		Short:         "Build the node image from the pinned inputs",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(buildCommand(), baselineCommand(), extensionCommand(), lockCommand())
	return root
}

func lockCommand() *cobra.Command {
	var arches []string
	c := &cobra.Command{
		Use:   "lock",
		Short: "Move the pins to what the mirror has now",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return moveLock(c.Context(), lockFile, arches, c.OutOrStdout())
		},
	}
	c.Flags().StringSliceVar(&arches, "arch", []string{"amd64"}, "architectures to pin")
	return c
}
