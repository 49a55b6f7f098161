// Command qemu makes, starts again and removes local clusters of virtual machines, and runs Go
// test binaries in a virtual machine on the project's kernel. It needs neither
// root nor KVM.
//
//	go run ./hack/qemu up      # what make cluster does
//	go run ./hack/qemu start   # what make cluster-start does
//	go run ./hack/qemu down    # what make cluster-down does
//	go test -exec 'go run github.com/cyvive/cyvive/hack/qemu exec' ./internal/…
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/hack/qemu/vmtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newCommand().ExecuteContext(ctx)
	var exit vmtest.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.Code)
	case err != nil:
		fmt.Fprintf(os.Stderr, "qemu: %v\n", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "qemu",
		Short:         "Local clusters and tests in virtual machines",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(upCommand(), startCommand(), downCommand(), execCommand(), benchCommand(), preflightCommand(), setupCommand())
	return root
}
