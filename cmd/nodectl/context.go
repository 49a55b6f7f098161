package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

func (a *app) contextCommand() *cobra.Command {
	return group("context", "Choose between clusters", a.contextListCommand(), a.contextUseCommand(), a.contextMergeCommand(), a.contextRemoveCommand())
}

func (a *app) contextListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the contexts",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			file, _, err := a.loadContexts()
			if err != nil {
				return err
			}
			list := contextList{Contexts: []contextEntry{}}
			for _, name := range file.Names() {
				list.Contexts = append(list.Contexts, newContextEntry(name, name == file.Current, file.Contexts[name]))
			}
			if a.format != output.FormatTable {
				return output.WriteValue(a.stdout, a.format, list)
			}
			table := output.Table{Header: []string{"CURRENT", "NAME", "ROLES", "CERTIFICATE ENDS", "NODES"}}
			for _, e := range list.Contexts {
				table.Rows = append(table.Rows, e.row())
			}
			return table.Write(a.stdout)
		},
	}
}

// contextList is what JSON and YAML have of the contexts: as much as the table, and
// not their keys. Its fields are named as protojson names those of nodes' answers.
type contextList struct {
	Contexts []contextEntry `json:"contexts"`
}

type contextEntry struct {
	Name            string    `json:"name"`
	Current         bool      `json:"current"`
	Roles           []string  `json:"roles"`
	CertificateEnds time.Time `json:"certificateEnds"`
	Nodes           []string  `json:"nodes"`
}

// newContextEntry looks at a context of a file that contexts.Parse has let through,
// and so has a certificate.
func newContextEntry(name string, current bool, c *contexts.Context) contextEntry {
	e := contextEntry{Name: name, Current: current, Roles: []string{}, Nodes: c.Nodes}
	if pair, err := c.Pair(); err == nil {
		e.Roles = append(e.Roles, pair.Leaf.Subject.Organization...)
		e.CertificateEnds = pair.Leaf.NotAfter.UTC()
	}
	return e
}

func (e contextEntry) row() []string {
	mark := ""
	if e.Current {
		mark = "*"
	}
	return []string{mark, e.Name, strings.Join(e.Roles, ","), e.CertificateEnds.Format(time.RFC3339), strings.Join(e.Nodes, ",")}
}

func (a *app) contextUseCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "Make a context the current one",
		Args:              oneArg("the name of a context"),
		ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.changeContexts(func(f *contexts.File) error {
				name, _, err := f.Select(args[0])
				f.Current = name
				return err
			})
		},
	}
}

func (a *app) contextMergeCommand() *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "merge FILE",
		Short: "Take in the contexts of a file, and its current one",
		Args:  oneArg("a file with contexts, as `nodectl gen` writes them"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.mergeContexts(args[0], force)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "replace contexts of the same names")
	return c
}

func (a *app) mergeContexts(from string, force bool) error {
	// Load takes a file that is not there for an empty one.
	if _, err := os.Stat(from); err != nil {
		return fmt.Errorf("read contexts: %w", err)
	}
	other, err := contexts.Load(from)
	if err != nil {
		return err
	}
	return a.changeContexts(func(f *contexts.File) error { return f.Merge(other, force) })
}

func (a *app) contextRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "remove NAME",
		Short:             "Forget a context, with its key",
		Args:              oneArg("the name of a context"),
		ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.changeContexts(func(f *contexts.File) error { return f.Remove(args[0]) })
		},
	}
}

// changeContexts reads, changes and replaces the contexts file.
func (a *app) changeContexts(change func(*contexts.File) error) error {
	file, path, err := a.loadContexts()
	if err != nil {
		return err
	}
	if err := change(file); err != nil {
		return err
	}
	return file.Save(path)
}

func (a *app) completeContexts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	file, _, err := a.loadContexts()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return file.Names(), cobra.ShellCompDirectiveNoFileComp
}
