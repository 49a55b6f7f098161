package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

// app is what commands share: the world outside, and the global flags.
type app struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time

	context    string
	nodes      []string
	formatName string
	timeout    time.Duration
	insecure   bool // set by the commands that allow it

	// maintenance reaches one node that has no configuration, by its fingerprint and with the owner's key.
	maintenance           bool
	fingerprint, ownerKey string

	format output.Format
}

// defaultTimeout is for one call on one node, connecting included.
const defaultTimeout = 15 * time.Second

// run parses the arguments, runs the command and returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if _, printed := errors.AsType[nodesError](err); !printed {
		fmt.Fprintf(a.stderr, "nodectl: %v\n", err)
	}
	if _, usage := errors.AsType[usageError](err); usage {
		fmt.Fprintln(a.stderr, "Try --help with the command.")
	}
	return exitCode(err)
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "nodectl",
		Short:         "Look after Cyvive nodes",
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) (err error) {
			if a.format, err = output.ParseFormat(a.formatName); err != nil {
				return usageError{err}
			}
			if a.fingerprint != "" && !a.maintenance {
				return usagef("--fingerprint is for --maintenance: a node that has a configuration is known by its context's authority")
			}
			return nil
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	flags := root.PersistentFlags()
	flags.StringVar(&a.context, "context", "", "context to use instead of the current one")
	flags.StringSliceVarP(&a.nodes, "nodes", "n", nil, "addresses of the nodes, instead of the context's")
	flags.StringVarP(&a.formatName, "output", "o", string(output.FormatTable), "table, json or yaml")
	flags.DurationVar(&a.timeout, "timeout", defaultTimeout, "time for one call on one node")
	flags.BoolVar(&a.maintenance, "maintenance", false, "reach the one node of --nodes that has no configuration yet, by --fingerprint, as its owner")
	flags.StringVar(&a.fingerprint, "fingerprint", "", "with --maintenance: the node's, SHA256:…, as its console shows it")
	flags.StringVar(&a.ownerKey, "owner-key", "", "file of the owner's key, instead of owner.key beside the contexts")
	root.AddCommand(
		a.discoverCommand(), a.ownerCommand(), a.identityCommand(), a.versionCommand(), a.healthCommand(), a.getCommand(),
		a.serviceCommand(), a.logsCommand(), a.dmesgCommand(),
		a.eventsCommand(), a.filesCommand(), a.sbomCommand(), a.dashboardCommand(),
		a.bootsCommand(), a.timelineCommand(), a.crashesCommand(), a.containerCommand(), a.inventoryCommand(), a.supportCommand(),
		a.auditCommand(), a.diskCommand(), a.poolCommand(), a.datasetCommand(), a.snapshotCommand(), a.replicationCommand(), a.extensionCommand(), a.rebootCommand(), a.shutdownCommand(), a.uncordonCommand(), a.upgradeCommand(),
		a.rollbackCommand(), a.installCommand(),
		a.resetCommand(),
		a.configCommand(), a.configEditCommand(), a.validateCommand(), a.kubeconfigCommand(), a.genCommand(), a.contextCommand(),
	)
	_ = root.RegisterFlagCompletionFunc("context", a.completeContexts) // fails for unknown flags only
	_ = root.RegisterFlagCompletionFunc("nodes", a.completeNodes)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]string{string(output.FormatTable), string(output.FormatJSON), string(output.FormatYAML)}, cobra.ShellCompDirectiveNoFileComp))
	return root
}

// buildVersion is the module's version as the Go tool recorded it.
func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// loadContexts reads the contexts file.
func (a *app) loadContexts() (*contexts.File, string, error) {
	path, err := contexts.Path(a.getenv)
	if err != nil {
		return nil, "", err
	}
	f, err := contexts.Load(path)
	return f, path, err
}

// noArgs and the like are cobra's checks, with usage's exit status.
func noArgs(cmd *cobra.Command, args []string) error {
	return usage(cobra.NoArgs(cmd, args))
}

func oneArg(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usagef("expected one argument: %s", name)
		}
		return nil
	}
}

func usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// group is a noun that does nothing without a verb.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(verbs...)
	return c
}
