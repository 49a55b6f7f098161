package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal opens a pseudoterminal (pty(7)): what a person has, and what a
// program has.
func terminal(t *testing.T, width, height uint16) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal("needs pseudoterminals (devpts, which every Linux has): ", err)
	}
	t.Cleanup(func() { person.Close() })
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err := errors.Join(err, unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	if program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	if err := unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width}); err != nil {
		t.Fatal(err)
	}
	return person, program
}

// screen is what was written to a terminal so far.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) read(person *os.File) {
	buffer := make([]byte, 4096)
	for {
		n, err := person.Read(buffer)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.text.Write(buffer[:n])
		s.mu.Unlock()
	}
}

// await waits until the screen shows a text.
func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(s.String(), text) {
		if time.Now().After(deadline) {
			t.Fatalf("the screen does not show %q but %q", text, s)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestDashboardOnATerminal draws, follows a key, and leaves the terminal as it
// was.
func TestDashboardOnATerminal(t *testing.T) {
	person, program := terminal(t, 100, 30)
	before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	var s screen
	go s.read(person)
	b, ended := exampleBoard(), make(chan error, 1)
	go func() { ended <- b.show(t.Context(), program, program, func() time.Time { return boardTime }) }()
	s.await(t, enterScreen)
	s.await(t, "> service-0")
	s.await(t, "CPU     [####")
	if _, err := person.WriteString("\x1b[B"); err != nil {
		t.Fatal(err)
	}
	s.await(t, "> service-1")
	if _, err := person.WriteString("q"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	s.await(t, leaveScreen)
	after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal is not as it was: %v", err)
	}
	if !term.IsTerminal(int(program.Fd())) {
		t.Error("this test proves nothing: it is no terminal")
	}
	// Each frame begins at the top, without a newline before.
	for line := range strings.SplitSeq(strings.ReplaceAll(s.String(), toTop, "\n"), "\n") {
		if plain := strings.NewReplacer(clearLine, "", clearBelow, "", enterScreen, "", leaveScreen, "", "\r", "").Replace(line); len(plain) > 100 {
			t.Errorf("a line is wider than the terminal: %q", plain)
		}
	}
}
