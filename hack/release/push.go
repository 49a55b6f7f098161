package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/hack/release/keys"
	"github.com/cyvive/cyvive/hack/release/push"
	"github.com/cyvive/cyvive/internal/release"
)

func pushCommand(getenv func(string) string) *cobra.Command {
	var public string
	cmd := &cobra.Command{
		Use: "push SOURCE FILE…", Short: "Put releases, one for each architecture, into a registry from which nodes pull them", Args: cobra.MinimumNArgs(2),
		Long: "Put releases, one for each architecture, into a registry from which nodes pull them. The source is oci://host/repository:tag, or oci+http:// for a " +
			"registry without TLS; credentials are taken from CYVIVE_REGISTRY_USER and CYVIVE_REGISTRY_PASSWORD, and shown to that host only. Where another one " +
			"gives out its tokens, CYVIVE_REGISTRY_TOKENS names that, as auth.example or auth.example:5001.",
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
			o := push.Options{
				Source: args[0], Username: getenv("CYVIVE_REGISTRY_USER"), Password: getenv("CYVIVE_REGISTRY_PASSWORD"),
				TokenHost: getenv("CYVIVE_REGISTRY_TOKENS"),
			}
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
