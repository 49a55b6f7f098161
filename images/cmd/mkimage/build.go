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
	f := c.Flags()
	f.StringVar(&o.Until, "until", "", "last step to run (default: all)")
	f.StringVar(&o.Keys, "keys", "", "public keys whose releases a node of the image takes (make keys)")
	f.StringVar(&o.Owner, "owner", "", "public key of whoever may configure nodes of the image that have no configuration (nodectl owner show --form pem)")
	f.StringVar(&o.PolicyKeys, "policy-keys", "", "public keys whose signatures open disks sealed to a TPM (make keys)")
	f.StringVar(&o.ModuleSignatures, "module-signatures", "", "directory with signatures of the modules that are built, and the signed boot loader (hack/release modules)")
	f.StringVar(&o.ExtensionKeys, "extension-keys", "", "public keys of whoever may sign extensions for nodes of the image, besides those of --keys")
	f.StringSliceVar(&o.Microcode, "microcode", []string{"amd"}, "whose processors the kernel image has microcode for: amd (0.1 MB), intel (16 MB), or nobody's")
	f.StringVar(&o.Version, "version", "", "version of the image (default: images/VERSION)")
	f.StringVar(&o.Append, "append", "", "for tests: text behind the kernel's command line")
	f.StringArrayVar(&o.Drop, "drop", nil, "for tests: leave a file out of the root")
	f.StringToStringVar(&o.Put, "put", nil, "for tests: path=file: put file in the place of one of the root")
	f.StringVar(&o.Aside, "aside", "", "for tests: directory for results of steps, in place of the cache")
	return c
}

func baselineCommand() *cobra.Command {
	c, _ := withOptions("baseline", "Build the machine that make bench measures beside the node", build.Baseline)
	return c
}

func extensionCommand() *cobra.Command {
	var o build.ExtensionOptions
	c := &cobra.Command{
		Use: "extension", Short: "Make the parts of an extension, to be signed by hack/release", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, name := range []*string{&o.Images, &o.Dir, &o.Out} {
				abs, err := filepath.Abs(*name)
				if err != nil {
					return fmt.Errorf("find directory: %w", err)
				}
				*name = abs
			}
			o.Progress = c.ErrOrStderr()
			return build.Extension(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.Arch, "arch", "amd64", "architecture of the extension")
	f.StringVar(&o.Images, "images", ".", "the images directory of the repository")
	f.StringVar(&o.Dir, "dir", "", "directory with extension.json and, for a service, rootfs")
	f.StringVar(&o.Out, "out", "", "directory for the parts")
	for _, name := range []string{"dir", "out"} {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // there is no such flag
		}
	}
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
			if err := absolute(&o); err != nil {
				return err
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

// absolute makes the paths of the options independent of the working directory.
func absolute(o *build.Options) error {
	abs := func(name string) (string, error) {
		if name == "" {
			return "", nil
		}
		name, err := filepath.Abs(name)
		if err != nil {
			return "", fmt.Errorf("find directory: %w", err)
		}
		return name, nil
	}
	var err error
	for _, name := range []*string{
		&o.Out, &o.Bin, &o.Images, &o.Keys, &o.PolicyKeys, &o.ModuleSignatures, &o.ExtensionKeys, &o.Owner, &o.Aside,
	} {
		if *name, err = abs(*name); err != nil {
			return err
		}
	}
	for at, file := range o.Put {
		if o.Put[at], err = abs(file); err != nil {
			return err
		}
	}
	return nil
}
