package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/hack/release/keys"
	"github.com/cyvive/cyvive/hack/release/modules"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

func enrolCommand(getenv func(string) string) *cobra.Command {
	var dir string
	var db, exchange []string
	cmd := &cobra.Command{
		Use: "enrol", Short: "Make what firmware enrols again, with further certificates that it is to trust", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := or(dir, getenv)
			if err != nil {
				return err
			}
			platform, err := keys.Platform(dir)
			if err != nil {
				return err
			}
			owner, further := secureboot.OwnerOf(platform), map[secureboot.Variable][]secureboot.Entry{}
			for v, paths := range map[secureboot.Variable][]string{secureboot.DB: db, secureboot.KEK: exchange} {
				for _, path := range paths {
					entries, err := keys.Entries(path, owner)
					if err != nil {
						return err
					}
					further[v] = append(further[v], entries...)
				}
			}
			if err := keys.WriteVariables(dir, time.Now(), further); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "PK.auth, KEK.auth and db.auth in %s: %d further entries in db, %d in KEK\n",
				dir, len(further[secureboot.DB]), len(further[secureboot.KEK]))
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dir, "keys", "", keysHelp)
	flags.StringArrayVar(&db, "db", nil, "file of certificates (DER, PEM, .esl) by which firmware is to start programs too, as those on cards")
	flags.StringArrayVar(&exchange, "kek", nil, "file of certificates whose owners are to change what firmware starts too")
	return cmd
}

func modulesCommand(getenv func(string) string) *cobra.Command {
	var dir, program, out string
	cmd := &cobra.Command{
		Use: "modules", Short: "Sign kernel modules that this project builds, so that they load with Secure Boot on, and the boot loader", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			own, err := keys.Dir(getenv)
			if err != nil {
				return err
			}
			signer, err := keys.ProgramSigner(own)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("sign modules: %w; make keys makes one", err)
			}
			if err != nil {
				return err
			}
			return modules.Sign(out, dir, program, signer)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dir, "dir", "", "folder with the modules, as out/amd64/zfs")
	flags.StringVar(&program, "program", "", "boot loader, as out/amd64/boot-loader.efi; it is signed as a whole")
	flags.StringVar(&out, "out", "", "folder for the signatures, which is made anew")
	for _, name := range []string{"dir", "out"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // there is no such flag
		}
	}
	return cmd
}
