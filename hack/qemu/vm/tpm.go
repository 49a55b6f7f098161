package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// tpmTimeout is for swtpm to be ready.
const tpmTimeout = 10 * time.Second

// RemoveTPM takes away the TPM of a machine that does not run, by its folder: with the next start it has another one.
func RemoveTPM(dir string) error { return os.RemoveAll(filepath.Join(dir, tpmDir)) }

// startTPM starts the machine's TPM and waits until QEMU can reach it. It ends when QEMU does, which it notices by the connection
// for commands that QEMU makes; what is returned ends
// it where no QEMU comes.
func startTPM(ctx context.Context, c Config) (stop func(), err error) {
	if err := os.MkdirAll(filepath.Join(c.Dir, tpmDir), 0o700); err != nil {
		return nil, fmt.Errorf("start TPM: %w", err)
	}
	socket := filepath.Join(c.Dir, tpmSocket)
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("start TPM: %w", err)
	}
	output, err := os.OpenFile(filepath.Join(c.Dir, tpmOutput), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start TPM: %w", err)
	}
	defer output.Close()
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--terminate", "--tpmstate", "dir="+tpmDir, "--ctrl", "type=unixio,path="+tpmSocket)
	cmd.Dir = c.Dir // paths of sockets have 107 bytes at most
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if c.Detached {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start TPM: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	deadline := time.After(tpmTimeout)
	for {
		if _, err := os.Stat(socket); err == nil {
			return func() { _ = cmd.Process.Kill() }, nil
		}
		select {
		case err := <-ended:
			words, _ := os.ReadFile(output.Name())
			return nil, fmt.Errorf("start TPM: swtpm ended: %w: %s", err, words)
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			return nil, ctx.Err()
		case <-deadline:
			_ = cmd.Process.Kill()
			return nil, fmt.Errorf("start TPM: swtpm has no socket after %v", tpmTimeout)
		case <-time.After(pollInterval):
		}
	}
}
