package main

import (
	"io"
	"testing"

	"github.com/spf13/cobra"
)

// TestNoFlagIsShadowed: a global flag means the same with every command.
func TestNoFlagIsShadowed(t *testing.T) {
	a := &app{stdout: io.Discard, stderr: io.Discard}
	root := a.rootCommand()
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		own := c.LocalNonPersistentFlags()
		for _, name := range []string{"context", "nodes", "output", "timeout"} {
			global := root.PersistentFlags().Lookup(name)
			if own.Lookup(name) != nil || global.Shorthand != "" && own.ShorthandLookup(global.Shorthand) != nil {
				t.Errorf("%s has a flag of its own in the place of --%s, -%s", c.CommandPath(), name, global.Shorthand)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}
