package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/images/internal/build"
)

func buildCommand() *cobra.Command {
	var o build.Options
	c := &cobra.Command{
		Use:   "build",
		Short: "Build the image",
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
			return build.Run(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Arch, "arch", "amd64", "architecture of the image")
	f.StringVar(&o.Out, "out", "../out", "directory for the image's files")
	f.StringVar(&o.Bin, "bin", "../bin", "directory for programs of the build machine")
	f.StringVar(&o.Images, "images", ".", "the images directory of the repository")
	f.StringVar(&o.Until, "until", "", "last step to run (default: all)")
	f.StringToStringVar(&o.Replace, "replace", nil, "program=file: use file in place of building the program")
	return c
}
