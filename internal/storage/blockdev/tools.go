package blockdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Tools are the absolute paths of the programs of e2fsprogs.
type Tools struct {
	Mke2fs, E2fsck string
}

// makeFileSystem runs mke2fs. Without lazy initialisation of the journal, a power cut later finds no stale journal; without discard, the
// mark at the end of the device stays. Five of a hundred blocks are kept; for whom is a mount option.
func (t Tools) makeFileSystem(ctx context.Context, device, label string) error {
	_, err := run(ctx, nil, t.Mke2fs, "-q", "-t", "ext4", "-m", "5", "-L", label, "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=0", device)
	return err
}

// makeImage runs mke2fs for a file of the size that the file system is to have, with all that lies in a folder: mke2fs(8), -d. Owners and permissions
// go along. Blocks are of 4 KiB, as the file does not say what it will lie on: the sectors of an encrypted volume are no smaller (package luks), and those of a
// file system may not be smaller than these.
func (t Tools) makeImage(ctx context.Context, image, label, from string) error {
	_, err := run(ctx, nil, t.Mke2fs, "-q", "-t", "ext4", "-m", "5", "-b", "4096", "-L", label, "-d", from, "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=0", image)
	return err
}

// checkFileSystem runs e2fsck -p. Its exit code is a set of bits (e2fsck(8)): 1 and 2 say that errors were corrected.
func (t Tools) checkFileSystem(ctx context.Context, device string) error {
	_, err := run(ctx, []int{1, 2, 3}, t.E2fsck, "-p", device)
	return err
}

// run is the one place that runs a program for storage. It has no input, a fixed environment, and ends with ctx. Exit codes in ok count as
// success.
func run(ctx context.Context, ok []int, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/usr/sbin", "MKE2FS_SYNC=0"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := strings.TrimSpace(out.String())
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		for _, code := range ok {
			if exit.ExitCode() == code {
				return text, nil
			}
		}
		return text, fmt.Errorf("run %s %s: %w: %s", program, strings.Join(args, " "), err, lastLines(text))
	}
	if err != nil {
		return text, fmt.Errorf("run %s: %w", program, err)
	}
	return text, nil
}

// lastLines keeps the end of a program's output, fit for an error.
func lastLines(text string) string {
	const most = 400
	if len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return strings.ReplaceAll(text, "\n", " | ")
}
