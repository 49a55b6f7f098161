// Package editor has a person change a text in the editor that they have chosen.
package editor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Command is the editor of an environment: VISUAL, else EDITOR, else vi. It may have arguments.
func Command(getenv func(string) string) string {
	for _, name := range []string{"VISUAL", "EDITOR"} {
		if command := strings.TrimSpace(getenv(name)); command != "" {
			return command
		}
	}
	return "vi"
}

// Edit runs the editor on a file, on the terminal of this program, and returns what the file holds then.
func Edit(command, path string) ([]byte, error) {
	words := strings.Fields(command)
	if len(words) == 0 {
		return nil, errors.New("run the editor: none is named")
	}
	c := exec.Command(words[0], append(words[1:], path)...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("run the editor %s (EDITOR names another): %w", command, err)
	}
	return os.ReadFile(path)
}
