package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cyvive/cyvive/hack/qemu/vmtest"
)

// passedEnv names the variables that go on to the guest.
var passedEnv = []string{"REQUIRE_ROOT", "REQUIRE_VM", "SEED", "LONG", "GODEBUG", "GOTRACEBACK"}

func execCommand() *cobra.Command {
	o := vmtest.Options{Stdout: os.Stdout, Stderr: os.Stderr}
	var out string
	var files []string
	var memoryMiB, scratchMiB int64
	cmd := &cobra.Command{
		Use:   "exec [flags] TEST [ARGS]",
		Short: "Run a Go test binary in a virtual machine, as go test -exec does",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.Test, o.Args = args[0], args[1:]
			o.MemoryBytes, o.ScratchBytes = memoryMiB<<20, scratchMiB<<20
			if o.Dir, err = os.Getwd(); err != nil {
				return err
			}
			if o.Files, err = parseFiles(files); err != nil {
				return err
			}
			for _, name := range passedEnv {
				if value, ok := os.LookupEnv(name); ok {
					o.Env = append(o.Env, name+"="+value)
				}
			}
			if out == "" {
				if out, err = moduleOut(cmd.Context()); err != nil {
					return err
				}
			}
			o.ImageDir = filepath.Join(out, o.Arch)
			if o.Guest == "" {
				guest, err := buildGuest(cmd.Context(), o.Arch)
				if err != nil {
					return err
				}
				defer os.RemoveAll(filepath.Dir(guest))
				o.Guest = guest
			}
			return vmtest.Run(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // what follows TEST is the test's own
	flags.StringVar(&out, "out", "", "folder with the image (default: out in the module's folder)")
	flags.StringVar(&o.Arch, "arch", runtime.GOARCH, "architecture of the test binary")
	flags.StringVar(&o.Guest, "guest", "", "guest program (default: it is built)")
	flags.StringSliceVar(&files, "file", nil, "further file for the guest, as its path there=path here")
	flags.StringSliceVar(&o.Modules, "module", nil, "kernel module to load before the test")
	flags.IntVar(&o.Scratch, "scratch", 2, "number of empty disks")
	flags.Int64Var(&scratchMiB, "scratch-mib", 512, "size of an empty disk in MiB")
	// One, since QEMU before 8.1 without KVM now and then runs a stale breakpoint
	// when one processor patches the kernel's code under another: "Oops: int3"
	// (fixed by QEMU's commit deba78709a).
	flags.IntVar(&o.CPUs, "cpus", 1, "processors")
	flags.Int64Var(&memoryMiB, "memory-mib", 1024, "memory in MiB")
	flags.DurationVar(&o.Timeout, "timeout", 10*time.Minute, "end the machine after")
	return cmd
}

func parseFiles(pairs []string) (map[string]string, error) {
	files := map[string]string{}
	for _, pair := range pairs {
		there, here, ok := strings.Cut(pair, "=")
		if !ok || !filepath.IsAbs(there) || here == "" {
			return nil, fmt.Errorf("read --file: got %q, expected /path/there=path/here", pair)
		}
		files[there] = here
	}
	return files, nil
}

// moduleOut is the folder out beside the go.mod that governs the working
// folder; go test changes into the package's folder.
func moduleOut(ctx context.Context) (string, error) {
	gomod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find module: %w", err)
	}
	return filepath.Join(filepath.Dir(strings.TrimSpace(string(gomod))), "out"), nil
}

// buildGuest compiles the guest program into a folder of its own, which the
// caller removes.
func buildGuest(ctx context.Context, arch string) (string, error) {
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		return "", fmt.Errorf("build guest program: %w", err)
	}
	guest := filepath.Join(dir, "guest")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", guest, "github.com/cyvive/cyvive/hack/qemu/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	var words bytes.Buffer
	cmd.Stderr = &words
	if err := cmd.Run(); err != nil {
		_ = os.RemoveAll(dir)
		return "", fmt.Errorf("build guest program: %w: %s", err, bytes.TrimSpace(words.Bytes()))
	}
	return guest, nil
}
