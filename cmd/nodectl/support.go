package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/cyvive/cyvive/cmd/nodectl/secretfile"
	"github.com/cyvive/cyvive/cmd/nodectl/support"
)

const (
	// supportNodes is how many nodes are asked at once: each holds one item in memory.
	supportNodes = 8
	// shownNames is how many items are named that are missing for one reason; the
	// manifest has them all.
	shownNames = 5
	// defaultLogLines is how much of a service's log is taken.
	defaultLogLines = 5000
)

// supportFlags are those of `nodectl support`.
type supportFlags struct {
	recipients, files []string
	plain, audit      bool
	out               string
	logLines          int
}

func (a *app) supportCommand() *cobra.Command {
	var f supportFlags
	c := &cobra.Command{
		Use:   "support --recipient KEY",
		Short: "Collect what nodes tell of themselves into one encrypted archive",
		Long: "Collect what nodes tell of themselves into one archive, for someone who is to find out what is wrong: version, health, boots and logs of crashes, events, the " +
			"kernel's log, the configuration without its secrets, services with their logs, containers, processes, mounts, control groups, statistics, inventory, " +
			"upgrades, disks, pools, datasets, schedules of snapshots and replication. It is encrypted with age to the recipients before it leaves this program's memory: `age -d -i KEYFILE ARCHIVE | tar --zstd -x` opens it. Known " +
			"forms of secrets are taken out. manifest.json in it lists what is there, what is not and why. A certificate of node:reader gives all but processes and files. The exit status is 3 where something is missing.",
		Example: "nodectl support --recipient age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n" +
			"nodectl support --recipients-file ~/.ssh/team_keys -f case-1234.tar.zst.age",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.support(cmd.Context(), f) },
	}
	c.Flags().StringArrayVarP(&f.recipients, "recipient", "r", nil, "public key to encrypt to: of age (age1…) or SSH; may be given more than once")
	c.Flags().StringArrayVarP(&f.files, "recipients-file", "R", nil, "file with such keys, one a line; may be given more than once")
	c.Flags().BoolVar(&f.plain, "plain", false, "do not encrypt: who gets the archive reads all of it")
	c.Flags().BoolVar(&f.audit, "audit", false, "take the audit log, too (needs node:operator)")
	c.Flags().IntVar(&f.logLines, "log-lines", defaultLogLines, "newest lines of each log that are taken")
	c.Flags().StringVarP(&f.out, "file", "f", "", "archive to write, - for standard output (default cyvive-support-CONTEXT-TIME.tar.zst.age)")
	return c
}

// keys reads the recipients; nil is none, where that was asked for.
func (f supportFlags) keys() ([]age.Recipient, error) {
	given := len(f.recipients) + len(f.files)
	switch {
	case f.plain && given > 0:
		return nil, usagef("--plain does not encrypt: leave out the recipients")
	case f.plain:
		return nil, nil
	case given == 0:
		return nil, usagef("say who is to read the archive: --recipient KEY, with a public key of age or SSH; or --plain, and it is readable for all who get it")
	}
	var out []age.Recipient
	for _, text := range f.recipients {
		r, err := support.ParseRecipient(text)
		if err != nil {
			return nil, usageError{err}
		}
		out = append(out, r)
	}
	for _, path := range f.files {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		list, err := support.ReadRecipients(file)
		file.Close()
		if err != nil {
			return nil, usageError{fmt.Errorf("%s: %w", path, err)}
		}
		out = append(out, list...)
	}
	return out, nil
}

// support collects from all nodes.
func (a *app) support(ctx context.Context, f supportFlags) error {
	recipients, err := f.keys()
	if err != nil {
		return err
	}
	if f.logLines < 0 {
		return usagef("--log-lines %d: expected a number that is not negative", f.logLines)
	}
	t, err := a.target()
	if err != nil {
		return err
	}
	begun := a.now().UTC()
	name := support.FileName("cyvive-support-" + t.context + "-" + begun.Format("20060102T150405Z"))
	var m support.Manifest
	fill := func(w io.Writer) (err error) {
		m, err = a.collect(ctx, t, f, w, recipients, name, begun)
		return err
	}
	if f.out == "-" {
		if file, ok := a.stdout.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
			return usagef("an archive does not go to a terminal: name a file with -f")
		}
		err = fill(a.stdout)
	} else {
		err = a.supportFile(&f.out, name, f.plain, fill)
	}
	a.tellSupport(m)
	if err != nil {
		return err
	}
	if f.out != "-" {
		fmt.Fprintf(a.stderr, "wrote %s\n", f.out)
	}
	return incomplete(m)
}

// supportFile writes the archive to a file that is not there yet.
func (a *app) supportFile(out *string, name string, plain bool, fill func(io.Writer) error) error {
	if *out == "" {
		*out = name + ".tar.zst"
		if !plain {
			*out += ".age"
		}
	}
	if _, err := os.Lstat(*out); err == nil {
		return fmt.Errorf("write %s: it is there already", *out)
	}
	path, err := filepath.Abs(*out)
	if err != nil {
		return err
	}
	return secretfile.WriteFrom(path, fill)
}

var errNothing = errors.New("nothing could be taken from any node; no archive was written")

// collect writes the archive.
func (a *app) collect(ctx context.Context, t *target, f supportFlags, w io.Writer, recipients []age.Recipient, name string, begun time.Time) (support.Manifest, error) {
	m := support.Manifest{Program: buildVersion(), Time: begun}
	archive, err := support.New(w, recipients, name, begun)
	if err != nil {
		return m, err
	}
	slices.Sort(t.nodes)
	t.nodes = slices.Compact(t.nodes) // one that is named twice is asked once
	folders := map[string]string{}
	taken := map[string]bool{"manifest.json": true}
	for _, node := range t.nodes {
		folders[node] = support.Unique(taken, support.FileName(node))
	}
	turns := make(chan struct{}, supportNodes)
	results := each(ctx, t, func(ctx context.Context, node string, conn *connection) (*collector, error) {
		turns <- struct{}{}
		defer func() { <-turns }()
		c := &collector{app: a, target: t, conn: conn, flags: f, archive: archive, node: support.Node{Address: node, Folder: folders[node]}}
		c.run(ctx)
		return c, c.broken
	})
	found := false
	for _, r := range results {
		if r.resp == nil {
			r.resp = &collector{node: support.Node{Address: r.node, Folder: folders[r.node], Items: []support.Item{{Name: "connection", Failed: r.err.Error()}}}}
		} else if r.err != nil {
			return m, r.err
		}
		m.Nodes = append(m.Nodes, r.resp.node)
		found = found || r.resp.node.Taken()
	}
	if err := ctx.Err(); err != nil {
		return m, err
	}
	if !found {
		return m, errNothing
	}
	return m, archive.Close(m)
}
