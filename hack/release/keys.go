package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/hack/release/keys"
	"github.com/cyvive/cyvive/internal/release"
)

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
				if _, err := keys.EnsureSecureBoot(dir, time.Now()); err != nil {
					return err
				}
				return describe(cmd.OutOrStdout(), dir)
			}
			return ensureKeys(cmd.ErrOrStderr(), dir)
		},
	}
	cmd.Flags().StringVar(&dir, "out", "", keysHelp)
	cmd.Flags().BoolVar(&ensure, "ensure", false, "do nothing where there are public keys already")
	return cmd
}

// ensureKeys makes what a folder lacks, and says so.
func ensureKeys(words io.Writer, dir string) error {
	made, err := keys.Ensure(dir)
	if err != nil {
		return err
	}
	policy, err := keys.EnsurePolicy(dir)
	if err != nil {
		return err
	}
	secureBoot, err := keys.EnsureSecureBoot(dir, time.Now())
	if err != nil {
		return err
	}
	if made {
		fmt.Fprintln(words, "There was no key for signing releases, so this is yours now. Nodes of the images that you build take")
		fmt.Fprintln(words, "upgrades only from whoever has it: keep it, and keep it to yourself.")
		return describe(words, dir)
	}
	if policy {
		fmt.Fprintf(words, "There was no key for signing what disks are opened by, so there is now: %s\n", filepath.Join(dir, keys.PolicyPrivateFile))
	}
	if secureBoot {
		fmt.Fprintf(words, "There were no keys for Secure Boot, so there are now: PK, KEK and db in %s (docs/secure-boot.md)\n", dir)
	}
	return nil
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
	for _, name := range []string{keys.PrivateFile, keys.PolicyPrivateFile, "PK.key", "KEK.key", "db.key"} {
		fmt.Fprintf(out, "private key  %s\n", filepath.Join(dir, name))
	}
	for _, name := range []string{keys.PublicFile, keys.PolicyPublicFile, "PK.crt", "KEK.crt", "db.crt"} {
		fmt.Fprintf(out, "public key   %s\n", filepath.Join(dir, name))
	}
	for _, k := range public {
		fmt.Fprintf(out, "key          %s\n", release.KeyID(k))
	}
	return nil
}
