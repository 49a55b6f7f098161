package preflight

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Setup installs the packages that the missing tools come from, with apt-get,
// through sudo where the caller is not root. It says what it runs on w, and does
// nothing when no tool is missing. More is as for CheckTools.
func Setup(ctx context.Context, arch string, host Host, w io.Writer, more ...string) error {
	missing := CheckTools(arch, host, more...)
	if len(missing) == 0 {
		return nil
	}
	Print(w, missing)
	for _, command := range installCommands(Packages(missing), os.Geteuid() == 0) {
		if host.FindTool(command[0]) != nil {
			return fmt.Errorf("install packages: %s is not there; install them by hand: %s",
				command[0], strings.Join(Packages(missing), " "))
		}
		fmt.Fprintf(w, "setup: %s\n", strings.Join(command, " "))
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Stdout, cmd.Stderr, cmd.Stdin = w, w, os.Stdin // sudo may ask
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("install packages: %s: %w", strings.Join(command, " "), err)
		}
	}
	if still := CheckTools(arch, host, more...); len(still) > 0 {
		Print(w, still)
		return errors.New("install packages: something is still missing")
	}
	return nil
}

// installCommands returns the command lines that install packages.
func installCommands(packages []string, root bool) [][]string {
	update := []string{"apt-get", "update"}
	install := append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, packages...)
	if !root {
		update = append([]string{"sudo"}, update...)
		install = append([]string{"sudo"}, install...)
	}
	return [][]string{update, install}
}
