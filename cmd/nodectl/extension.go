package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	extensionv1 "github.com/cyvive/cyvive/api/proto/extension/v1"
)

// removeTimeout is for a node to remove files from its disk.
const removeTimeout = time.Minute

func (a *app) extensionCommand() *cobra.Command {
	return group("extension", "Look after nodes' extensions: further kernel modules and services",
		a.extensionListCommand(), a.extensionPushCommand(), a.extensionRemoveCommand(), a.extensionSBOMCommand())
}

func (a *app) extensionListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the extensions that nodes have, and those that they lack", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return unary(cmd.Context(), a, listExtensions, columns[*extensionv1.ListResponse]{
				[]string{"EXTENSION", "VERSION", "STATE", "KERNEL", "MODULES", "SERVICE", "SIZE", "REASON"}, extensionRows,
			}, nil)
		},
	}
}

func listExtensions(ctx context.Context, conn *connection) (*extensionv1.ListResponse, error) {
	return extensionv1.NewExtensionServiceClient(conn).List(ctx, &extensionv1.ListRequest{})
}

func extensionRows(l *extensionv1.ListResponse) [][]string {
	var rows [][]string
	for _, e := range l.GetExtensions() {
		size := ""
		if e.GetSizeBytes() > 0 {
			size = bytesText(e.GetSizeBytes())
		}
		rows = append(rows, []string{
			e.GetName(), e.GetVersion(), enumName(e.GetState().String(), "STATE_"), e.GetKernelRelease(), strings.Join(e.GetModules(), ","), e.GetService(),
			size, e.GetReason(),
		})
	}
	return rows
}

func (a *app) extensionPushCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "push FILE",
		Short: "Give nodes an extension, one after the other (needs node:admin)",
		Long: "Give nodes an extension, one after the other (needs node:admin). They keep it; which are used is in their configuration. " +
			"One for the kernel of the next release is pushed before the upgrade.",
		Args: oneArg("the file of an extension, *.cyvive-extension"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"cyvive-extension"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.oneByOne(cmd.Context(), func(ctx context.Context, _ *target, node string, conn *connection) error {
				file, err := os.Open(args[0])
				if err != nil {
					return fmt.Errorf("open extension: %w", err)
				}
				defer file.Close()
				return a.pushExtension(ctx, extensionv1.NewExtensionServiceClient(conn), node, file)
			})
		},
	}
}

func (a *app) pushExtension(ctx context.Context, client extensionv1.ExtensionServiceClient, node string, file *os.File) error {
	ctx, stall := withStall(ctx)
	defer stall.stop()
	stream, err := client.Push(ctx)
	if err != nil {
		return stall.cause(err)
	}
	err = a.sendFile(file, node, stall, func(data []byte) error { return stream.Send(&extensionv1.PushRequest{Data: data}) })
	// What made the node end the stream comes with its answer.
	if err != nil && !errors.Is(err, io.EOF) {
		return stall.cause(err)
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return stall.cause(err)
	}
	fmt.Fprintf(a.stderr, "%s: the node has %s\n", node, extensionText(resp.GetExtension()))
	return nil
}

// extensionText names a build for a person.
func extensionText(e *extensionv1.Extension) string {
	text := e.GetName() + " " + e.GetVersion()
	if e.GetKernelRelease() != "" {
		text += " for kernel " + e.GetKernelRelease()
	}
	return text
}

func (a *app) extensionRemoveCommand() *cobra.Command {
	var kernel string
	c := &cobra.Command{
		Use:     "remove NAME VERSION",
		Aliases: []string{"rm"},
		Short:   "Remove an extension from nodes' disks (needs node:admin)",
		Long: "Remove an extension from nodes' disks (needs node:admin). What is in use, or named by the configuration, is not removed. " +
			"The data of its service stays.",
		ValidArgsFunction: a.completeExtensions,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("expected two arguments: name and version of an extension, see `nodectl extension list`")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.target()
			if err != nil {
				return err
			}
			results := each(cmd.Context(), t, func(ctx context.Context, node string, conn *connection) (struct{}, error) {
				ctx, cancel := context.WithTimeout(ctx, max(a.timeout, removeTimeout))
				defer cancel()
				_, err := extensionv1.NewExtensionServiceClient(conn).Remove(ctx, &extensionv1.RemoveRequest{Name: args[0], Version: args[1], KernelRelease: kernel})
				if err == nil {
					fmt.Fprintf(a.stderr, "%s: %s %s removed\n", node, args[0], args[1])
				}
				return struct{}{}, err
			})
			return a.report(errorsOf(results))
		},
	}
	c.Flags().StringVar(&kernel, "kernel", "", "of several builds of the version, the one for this kernel")
	return c
}

func (a *app) extensionSBOMCommand() *cobra.Command {
	var version, kernel string
	c := &cobra.Command{
		Use:               "sbom NAME",
		Short:             "Write what an extension of one node is made of, SPDX 2.3 as JSON",
		Args:              oneArg("the name of an extension, see `nodectl extension list`"),
		ValidArgsFunction: a.completeExtensions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeRaw(cmd.Context(), a, func(ctx context.Context, conn *connection) (receiver[*extensionv1.GetSBOMResponse], error) {
				return extensionv1.NewExtensionServiceClient(conn).GetSBOM(ctx, &extensionv1.GetSBOMRequest{Name: args[0], Version: version, KernelRelease: kernel})
			})
		},
	}
	c.Flags().StringVar(&version, "version", "", "of several versions, this one instead of the one in use")
	c.Flags().StringVar(&kernel, "kernel", "", "of several builds of a version, the one for this kernel")
	return c
}

// completeExtensions offers the extensions of the first node, and behind a name its versions.
func (a *app) completeExtensions(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 || len(args) == 1 && cmd.Name() != "remove" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.fromNode(func(ctx context.Context, conn *connection) ([]string, error) {
		resp, err := listExtensions(ctx, conn)
		var names []string
		for _, e := range resp.GetExtensions() {
			switch {
			case len(args) == 0:
				names = append(names, e.GetName())
			case e.GetName() == args[0]:
				names = append(names, e.GetVersion())
			}
		}
		return names, err
	}), cobra.ShellCompDirectiveNoFileComp
}
