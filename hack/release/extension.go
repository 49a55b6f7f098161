package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/hack/release/extension"
	"github.com/cyvive/cyvive/hack/release/keys"
)

func extensionCommand(getenv func(string) string) *cobra.Command {
	var dir, key, out string
	cmd := &cobra.Command{
		Use: "extension", Short: "Sign what mkimage extension has made, as one file for nodectl extension push", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if key == "" {
				own, err := keys.Dir(getenv)
				if err != nil {
					return err
				}
				key = filepath.Join(own, keys.PrivateFile)
			}
			signer, err := keys.Load(key)
			if err != nil {
				return err
			}
			m, err := extension.Write(out, dir, signer)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s, root %s, %.1f MB\n", out, m, m.Architecture, m.RootHash, float64(m.PartsBytes())/1e6)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dir, "dir", "", "folder with the extension's parts")
	flags.StringVar(&key, "key", "", "private key (default: the user's own, as keys makes it)")
	flags.StringVar(&out, "out", "", "file to write")
	for _, name := range []string{"dir", "out"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // there is no such flag
		}
	}
	return cmd
}
