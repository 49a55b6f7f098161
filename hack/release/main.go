// Command release makes the keys that sign releases, and signs what the image builder has published.
//
//	go run ./hack/release keys
//	go run ./hack/release enrol --db further.crt
//	go run ./hack/release modules --dir out/amd64/zfs --program out/amd64/boot-loader.efi --out out/amd64/module-signatures
//	go run ./hack/release bundle --dir out/amd64 --out out/amd64/cyvive-0.1.0-amd64.cyvive
//	go run ./hack/release extension --dir out/nlmon --out nlmon-1.0.0.cyvive-extension
//	go run ./hack/release push oci://registry.example/cyvive/node:0.1.0 out/amd64/cyvive-0.1.0-amd64.cyvive
//	go run ./hack/release disk --dir out/amd64 --out out/amd64/cyvive-0.1.0-amd64.raw
//	go run ./hack/release media --dir out/amd64 --disk out/amd64/cyvive-0.1.0-amd64.raw --out out/amd64/cyvive-0.1.0-amd64
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/hack/release/diskimage"
	"github.com/cyvive/cyvive/hack/release/media"
)

func main() {
	if err := newCommand(os.Getenv).Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

func newCommand(getenv func(string) string) *cobra.Command {
	root := &cobra.Command{
		Use: "release", Short: "Keys of releases, and releases",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(
		keysCommand(getenv), enrolCommand(getenv), modulesCommand(getenv), bundleCommand(getenv), pushCommand(getenv), diskCommand(getenv),
		mediaCommand(getenv), extensionCommand(getenv),
	)
	return root
}

func bundleCommand(getenv func(string) string) *cobra.Command {
	var dir, key, policy, out string
	cmd := &cobra.Command{
		Use: "bundle", Short: "Sign what the image builder has published, as one file for nodectl upgrade", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			signers, err := load(key, policy, getenv)
			if err != nil {
				return err
			}
			m, err := bundle.Write(out, dir, signers)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: version %s for %s, root %s, %.1f MB\n", out, m.Version, m.Architecture, m.RootHash, float64(m.PartsBytes())/1e6)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dir, "dir", "", "folder with the image's files, as out/amd64")
	flags.StringVar(&key, "key", "", "private key (default: the user's own, as keys makes it)")
	flags.StringVar(&policy, "policy-key", "", "private key for what sealed disks are opened by (default: the user's own, if there is one)")
	flags.StringVar(&out, "out", "", "file to write")
	for _, name := range []string{"dir", "out"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // there is no such flag
		}
	}
	return cmd
}

func diskCommand(getenv func(string) string) *cobra.Command {
	var dir, policy, out, enrol string
	cmd := &cobra.Command{
		Use: "disk", Short: "Sign a disk image that the image builder has published, for firmware and for TPMs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			when, err := diskimage.ParseEnrol(enrol)
			if err != nil {
				return err
			}
			o, err := diskOptions(policy, getenv)
			if err != nil {
				return err
			}
			o.Enrol = when
			if err := diskimage.Sign(out, dir, o); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), out)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dir, "dir", "", "folder with the image's files, as out/amd64")
	flags.StringVar(&policy, "policy-key", "", "private key for what sealed disks are opened by (default: the user's own)")
	flags.StringVar(&out, "out", "", "file to write")
	flags.StringVar(&enrol, "enrol", string(diskimage.EnrolIfSafe),
		"when a machine in setup mode enrols the keys of Secure Boot: if-safe (virtual machines), force (all) or off")
	for _, name := range []string{"dir", "out"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // there is no such flag
		}
	}
	return cmd
}

func mediaCommand(getenv func(string) string) *cobra.Command {
	var o media.Options
	var out string
	cmd := &cobra.Command{
		Use: "media", Short: "Make what a machine without a node is started from: a program for PXE and HTTP boot (.efi), and a CD or USB stick with it (.iso)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.SecureBoot, err = programSigner(getenv); err != nil {
				return err
			}
			program, volume := out+".efi", out+".iso"
			if err := media.Write(program, volume, o); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n", volume, program)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Dir, "dir", "", "folder with the image's files, as out/amd64")
	flags.StringVar(&o.Disk, "disk", "", "signed disk image of the same build, as disk makes it: what is on its boot partition gets onto the disks that are installed")
	flags.StringVar(&out, "out", "", "files to write, without .efi and .iso")
	for _, name := range []string{"dir", "disk", "out"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // there is no such flag
		}
	}
	return cmd
}
