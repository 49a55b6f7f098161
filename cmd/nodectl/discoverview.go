package main

import (
	"crypto"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/cyvive/cyvive/cmd/nodectl/output"
	"github.com/cyvive/cyvive/internal/pki"
)

// writeDiscovered writes what answers, as a table or for programs.
func (a *app) writeDiscovered(nodes []*discovered) error {
	if a.format != output.FormatTable {
		answers := make([]output.Answer, len(nodes))
		for i, d := range nodes {
			fields, err := structpb.NewStruct(map[string]any{
				"state": d.state, "fingerprint": d.fingerprint, "version": d.version, "architecture": d.arch, "owner": d.owner,
			})
			if err != nil {
				return fmt.Errorf("encode output: %w", err)
			}
			answers[i] = output.Answer{Node: d.node, Message: fields}
		}
		return output.WriteAll(a.stdout, a.format, answers, true)
	}
	if len(nodes) == 0 {
		return nil
	}
	table := output.Table{Header: []string{"ADDRESS", "STATE", "FINGERPRINT", "VERSION", "ARCH", "OWNER"}}
	for _, d := range nodes {
		table.Rows = append(table.Rows, []string{d.node, d.state, d.fingerprint, d.version, d.arch, d.owner})
	}
	return table.Write(a.stdout)
}

// adviseDiscovered says what to do next.
func (a *app) adviseDiscovered(nodes []*discovered, owner crypto.Signer) {
	own := ""
	if owner != nil {
		if f, err := pki.FingerprintOf(owner.Public()); err == nil {
			own = f.String()
		}
	}
	say := func(text string) { fmt.Fprintln(a.stderr, text) }
	with := func(condition func(*discovered) bool) *discovered {
		if i := slices.IndexFunc(nodes, condition); i >= 0 {
			return nodes[i]
		}
		return nil
	}
	if d := with(func(d *discovered) bool { return d.state == stateMaintenance && d.owner != "" && d.owner == own }); d != nil {
		say("Compare the fingerprint of a node with that on its console. If they are the same:")
		say(fmt.Sprintf("  nodectl config apply FILE --maintenance --nodes %s --fingerprint %s", output.Clean(d.node), output.Clean(d.fingerprint)))
	}
	if with(func(d *discovered) bool { return d.state == stateMaintenance && d.owner != "" && d.owner != own }) != nil {
		yours := "there is none in the usual place"
		if own != "" {
			yours = "yours is " + own
		}
		say("Some nodes answer another owner's key only (" + yours + "); --owner-key names another file.")
	}
	if with(func(d *discovered) bool { return d.state == stateMaintenance && d.owner == "" }) != nil {
		say("Some nodes have no owner, and cannot be configured over the network: `nodectl owner new` makes a key that an image, " +
			"a kernel command line or user data can carry.")
	}
	if with(func(d *discovered) bool { return d.state == stateClosed }) != nil {
		say("Some nodes answer nobody: they are starting, or do not know whose they are; their consoles say so.")
	}
}
