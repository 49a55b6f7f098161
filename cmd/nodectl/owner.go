package main

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/cmd/nodectl/secretfile"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/pki"
)

func (a *app) ownerCommand() *cobra.Command {
	return group("owner", "Make and show the key of whoever may give nodes their first configuration", a.ownerNewCommand(), a.ownerShowCommand())
}

func (a *app) ownerNewCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new",
		Short: "Make an owner's key, and print its public half for images and machines",
		Long: "Make an owner's key in the file of --owner-key, which must not exist, and print its public half in the forms that a node takes it in, " +
			"as `nodectl owner show` does. Whoever has the file may configure nodes that carry the public half, as long as they have no configuration: " +
			"keep it, and keep it to yourself.",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			path, err := a.ownerPath()
			if err != nil {
				return err
			}
			text, err := pki.NewKey()
			if err != nil {
				return err
			}
			if err := secretfile.Create(path, text); err != nil {
				if errors.Is(err, fs.ErrExist) {
					err = fmt.Errorf("%w: the nodes of a key that is lost cannot be reached by it again; --owner-key names another file, "+
						"and `nodectl owner show` prints this one's public half", err)
				}
				return err
			}
			fmt.Fprintln(a.stderr, path)
			key, err := pki.ParseKey(text)
			if err != nil {
				return err
			}
			return a.printOwner(key, "")
		},
	}
}

func (a *app) ownerShowCommand() *cobra.Command {
	var form string
	c := &cobra.Command{
		Use:   "show",
		Short: "Print the public half of an owner's key in the forms that nodes take",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			key, err := a.loadOwner()
			if err != nil {
				return err
			}
			if key == nil {
				path, _ := a.ownerPath() // it was found before
				return fmt.Errorf("there is no owner's key in %s: `nodectl owner new` makes one, and --owner-key names another file", path)
			}
			return a.printOwner(key, form)
		},
	}
	names := make([]string, 0, len(ownerForms))
	for _, f := range ownerForms {
		names = append(names, f.name)
	}
	c.Flags().StringVar(&form, "form", "", "print one form only: "+strings.Join(names, ", "))
	_ = c.RegisterFlagCompletionFunc("form", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// ownerForms are the forms of an owner's key, of its fingerprint and its PEM.
var ownerForms = []struct {
	name, what string
	text       func(fingerprint, pem string) string
}{
	{"fingerprint", "its fingerprint", func(f, _ string) string { return f + "\n" }},
	{"kernel", "on the kernel command line", func(f, _ string) string { return "cyvive.owner=" + f + "\n" }},
	{"smbios", "as an OEM string of SMBIOS (QEMU: -smbios type=11,value=…)", func(f, _ string) string { return "dev.cyvive.owner=" + f + "\n" }},
	{"fw_cfg", "as a file of QEMU's fw_cfg", func(f, _ string) string { return "-fw_cfg name=opt/dev.cyvive.owner,string=" + f + "\n" }},
	{"document", "in user data, beside the configuration or in the place of one", func(f, _ string) string {
		return "apiVersion: " + config.APIVersion + "\nkind: Owner\nkey: " + f + "\n"
	}},
	{"pem", "in the image, as /usr/lib/cyvive/owner.pem", func(_, pem string) string { return pem }},
}

// printOwner writes one form, or all with what they are for.
func (a *app) printOwner(key crypto.Signer, form string) error {
	print, err := pki.FingerprintOf(key.Public())
	if err != nil {
		return err
	}
	public, err := pki.PublicPEM(key.Public())
	if err != nil {
		return err
	}
	var out strings.Builder
	for _, f := range ownerForms {
		switch text := f.text(print.String(), string(public)); {
		case form == "":
			fmt.Fprintf(&out, "# %s\n%s\n", f.what, text)
		case form == f.name:
			out.WriteString(text)
		}
	}
	if out.Len() == 0 {
		return usagef("--form %q: there is no such form", form)
	}
	if _, err := fmt.Fprint(a.stdout, strings.TrimSuffix(out.String(), "\n"), "\n"); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
