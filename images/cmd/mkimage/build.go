package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/images/internal/build"
)

func buildCommand() *cobra.Command {
	c, o := withOptions("build", "Build the image", build.Run)
	c.Flags().StringVar(&o.Until, "until", "", "last step to run (default: all)")
	return c
}

func baselineCommand() *cobra.Command {
	c, _ := withOptions("baseline", "Build the machine that make bench measures beside the node", build.Baseline)
	return c
}

// withOptions is a command that runs a build with options.
func withOptions(use, short string, run func(context.Context, build.Options) error) (*cobra.Command, *build.Options) {
	var o build.Options
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, dir := range []*string{&o.Out, &o.Bin, &o.Images} {
				abs, err := filepath.Abs(*dir)
				if err != nil {
					return fmt.Errorf("find directory: %w", err)
				}
				*dir = abs
			}
			o.Progress = c.ErrOrStderr()
			return run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Arch, "arch", "amd64", "architecture of the image")
	f.StringVar(&o.Out, "out", "../out", "directory for the image's files")
	f.StringVar(&o.Bin, "bin", "../bin", "directory for programs of the build machine")
	f.StringVar(&o.Images, "images", ".", "the images directory of the repository")
	f.StringToStringVar(&o.Replace, "replace", nil, "program=file: use file in place of building the program")
	return c, &o
}
