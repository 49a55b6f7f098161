// Command badinit takes the place of the node's init in releases that a test expects to be taken back: the root is verified and opened, and then it
// ends, or does nothing for good, as the kernel's command line says. Under the name of the machine agent it takes that one's place, and does nothing either. It
// runs as PID 1 of a virtual machine, or as a child of that one, and nowhere else.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The words of the command line.
const (
	exitWord  = "badinit=exit"
	hangWord  = "badinit=hang"
	agentWord = "badinit=agent"
)

func main() {
	const cmdline = "/proc/cmdline"
	var err error
	if filepath.Base(os.Args[0]) == "machined" {
		err = agent(os.Getppid(), cmdline)
	} else {
		err = run(os.Getpid(), cmdline)
	}
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

// agent returns why the program ends in the agent's place.
func agent(parent int, cmdline string) error {
	if parent != 1 {
		return errors.New("refused to start: this is no child of init in a test's machine")
	}
	data, err := os.ReadFile(cmdline)
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), agentWord) {
		return errors.New("refused to start: the command line is not that of a test")
	}
	for {
		time.Sleep(time.Hour)
	}
}
