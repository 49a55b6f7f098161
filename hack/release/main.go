// Command release makes the key pair that signs releases, and signs what the image builder has published.
//
//	go run ./hack/release keys
//	go run ./hack/release bundle --dir out/amd64 --out out/amd64/cyvive-0.1.0-amd64.cyvive
//	go run ./hack/release push oci://registry.example/cyvive/node:0.1.0 out/amd64/cyvive-0.1.0-amd64.cyvive
//	go run ./hack/release disk --dir out/amd64 --out out/amd64/cyvive-0.1.0-amd64.raw
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/hack/release/diskimage"
	"github.com/cyvive/cyvive/hack/release/keys"
	"github.com/cyvive/cyvive/hack/release/push"
	"github.com/cyvive/cyvive/internal/release"
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
	root.AddCommand(keysCommand(getenv), bundleCommand(getenv), pushCommand(getenv), diskCommand(getenv))
	return root
}

// or is a folder given as a flag, or the user's own.
func or(dir string, getenv func(string) string) (string, error) {
	if dir != "" {
		return dir, nil
	}
	return keys.Dir(getenv)
}

const keysHelp = "folder of the key pair (default: $CYVIVE_KEYS, or cyvive/keys in the user's data folder)"

func keysCommand(getenv func(string) string) *cobra.Command {
	var dir string
	var ensure bool
	cmd := &cobra.Command{
		Use: "keys", Short: "Make a key pair for signing releases; one that is there is never overwritten", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := or(dir, getenv)
			if err != nil {
				return err
			}
			if !ensure {
				if _, err := keys.Make(dir); err != nil {
					return err
				}
				if _, err := keys.EnsurePolicy(dir); err != nil {
					return err
				}
				return describe(cmd.OutOrStdout(), dir)
			}
			made, err := keys.Ensure(dir)
			if err != nil {
				return err
			}
			policy, err := keys.EnsurePolicy(dir)
			switch {
			case err != nil:
				return err
			case policy && !made:
				fmt.Fprintf(cmd.ErrOrStderr(), "There was no key for signing what disks are opened by, so there is now: %s\n", filepath.Join(dir, keys.PolicyPrivateFile))
			}
			if !made {
				return nil
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "There was no key for signing releases, so this is yours now. Nodes of the images that you build take")
			fmt.Fprintln(cmd.ErrOrStderr(), "upgrades only from whoever has it: keep it, and keep it to yourself.")
			return describe(cmd.ErrOrStderr(), dir)
		},
	}
	cmd.Flags().StringVar(&dir, "out", "", keysHelp)
	cmd.Flags().BoolVar(&ensure, "ensure", false, "do nothing where there are public keys already")
	return cmd
}

// describe names the files of a pair, and the keys as nodes name them in their refusals.
func describe(out io.Writer, dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, keys.PublicFile))
	if err != nil {
		return fmt.Errorf("read public release keys: %w", err)
	}
	public, err := release.ParsePublicKeys(data)
	if err != nil {
		return err
	}
	for _, name := range []string{keys.PrivateFile, keys.PolicyPrivateFile} {
		fmt.Fprintf(out, "private key  %s\n", filepath.Join(dir, name))
	}
	for _, name := range []string{keys.PublicFile, keys.PolicyPublicFile} {
		fmt.Fprintf(out, "public key   %s\n", filepath.Join(dir, name))
	}
	for _, k := range public {
		fmt.Fprintf(out, "key          %s\n", release.KeyID(k))
	}
	return nil
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

func pushCommand(getenv func(string) string) *cobra.Command {
	var public string
	cmd := &cobra.Command{
		Use: "push SOURCE FILE…", Short: "Put releases, one for each architecture, into a registry from which nodes pull them", Args: cobra.MinimumNArgs(2),
		Long: "Put releases, one for each architecture, into a registry from which nodes pull them. The source is oci://host/repository:tag, or oci+http:// for a " +
			"registry without TLS; credentials are taken from CYVIVE_REGISTRY_USER and CYVIVE_REGISTRY_PASSWORD.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if public == "" {
				dir, err := keys.Dir(getenv)
				if err != nil {
					return err
				}
				public = filepath.Join(dir, keys.PublicFile)
			}
			data, err := os.ReadFile(public)
			if err != nil {
				return fmt.Errorf("read public release keys: %w", err)
			}
			o := push.Options{Source: args[0], Username: getenv("CYVIVE_REGISTRY_USER"), Password: getenv("CYVIVE_REGISTRY_PASSWORD")}
			if o.Keys, err = release.ParsePublicKeys(data); err != nil {
				return err
			}
			digest, err := push.Files(cmd.Context(), o, args[1:])
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "nodectl upgrade --from %s@%s\n", args[0], digest)
			return nil
		},
	}
	cmd.Flags().StringVar(&public, "keys", "", "public keys that nodes trust (default: the user's own)")
	return cmd
}

func diskCommand(getenv func(string) string) *cobra.Command {
	var dir, policy, out string
	cmd := &cobra.Command{
		Use: "disk", Short: "Sign a disk image that the image builder has published, so that a node that starts from it can seal its disk", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if policy == "" {
				dir, err := keys.Dir(getenv)
				if err != nil {
					return err
				}
				policy = filepath.Join(dir, keys.PolicyPrivateFile)
			}
			key, err := keys.LoadPolicy(policy)
			if err != nil {
				return err
			}
			if err := diskimage.Sign(out, dir, key); err != nil {
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
	for _, name := range []string{"dir", "out"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // there is no such flag
		}
	}
	return cmd
}

// load reads the keys of the given files, or the user's own. Of these the one for policies may be missing, in a folder that is older than such keys.
func load(key, policy string, getenv func(string) string) (bundle.Keys, error) {
	own := func(name string) (string, error) {
		dir, err := keys.Dir(getenv)
		return filepath.Join(dir, name), err
	}
	var signers bundle.Keys
	var err error
	if key == "" {
		if key, err = own(keys.PrivateFile); err != nil {
			return signers, err
		}
	}
	if signers.Release, err = keys.Load(key); err != nil {
		return signers, err
	}
	optional := policy == ""
	if optional {
		if policy, err = own(keys.PolicyPrivateFile); err != nil {
			return signers, nil // a user without a folder has no key in it
		}
	}
	if signers.Policy, err = keys.LoadPolicy(policy); optional && errors.Is(err, fs.ErrNotExist) {
		return signers, nil
	}
	return signers, err
}
