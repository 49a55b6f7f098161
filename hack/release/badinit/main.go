// Command badinit takes the place of the node's init in releases that a test expects to be taken back: the root is verified and opened, and then it
// ends, or does nothing for good, as the kernel's command line says. It runs as PID 1 of a virtual machine and nowhere else.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// The words of the command line.
const (
	exitWord = "badinit=exit"
	hangWord = "badinit=hang"
)

func main() {
	err := run(os.Getpid(), "/proc/cmdline")
	fmt.Fprintln(os.Stderr, "badinit:", err)
	os.Exit(1)
}

// run returns why the program ends.
func run(pid int, cmdline string) error {
	if pid != 1 {
		return errors.New("refused to start: this is not PID 1 of a test's machine")
	}
	data, err := os.ReadFile(cmdline)
	switch {
	case err != nil:
		return err
	case strings.Contains(string(data), hangWord):
		for {
			time.Sleep(time.Hour)
		}
	case strings.Contains(string(data), exitWord):
		return errors.New("ends, as it was told")
	}
	return errors.New("refused to start: the command line is not that of a test")
}
