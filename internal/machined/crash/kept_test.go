package crash

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/server"
)

// log is a crash's log, a line each: level, time, message.
func log(t *testing.T, s Source, foundBy string, tail int) []server.CrashLine {
	t.Helper()
	var lines []server.CrashLine
	err := s.CrashLog(t.Context(), foundBy, tail, func(l server.CrashLine) error {
		lines = append(lines, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func at(seconds float64) *time.Duration {
	d := time.Duration(seconds*1e6).Round(1) * time.Microsecond
	return &d
}

func TestCrashLog(t *testing.T) {
	s := source(t)
	if crashes, err := s.Crashes(t.Context()); len(crashes) != 0 || err != nil {
		t.Errorf("without records: got %v, %v", crashes, err)
	}
	if err := s.CrashLog(t.Context(), "", -1, nil); !errors.Is(err, server.ErrNotFound) {
		t.Errorf("without records: got %v, want ErrNotFound", err)
	}
	died := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	// As efi_pstore leaves them: the first part is the end, and names sort otherwise.
	for name, text := range map[string]string{
		"dmesg-efi_pstore-171003002": "Panic#2 Part3\n<5>[    0.000000] Linux version 6.12.57\n",
		"dmesg-efi_pstore-171001002": "Panic#2 Part1\n<0>[   12.345678] Kernel panic - not syncing: Fatal exception\n<4>[   12.400000]  ? __die+0x1\nlast \xff words\n",
		"dmesg-efi_pstore-171002002": "Panic#2 Part2\n<30>[    3.000001] machined: level=INFO\n",
		"dmesg-efi_pstore-171001001": "Oops#1 Part1\n<1>[   12.000000] BUG: kernel NULL pointer dereference\n",
		"ftrace-efi_pstore-1":        "no line of the log",
	} {
		path := filepath.Join(s.Pstore, name)
		write(t, path, text)
		if err := os.Chtimes(path, died, died); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Take(); err != nil {
		t.Fatal(err)
	}
	const one, two, three = "dmesg-efi_pstore-171001002", "dmesg-efi_pstore-171002002", "dmesg-efi_pstore-171003002"
	want := []server.CrashLine{
		{Level: 1, Since: at(12), Message: "BUG: kernel NULL pointer dereference", Record: "dmesg-efi_pstore-171001001"},
		{Level: 5, Since: at(0), Message: "Linux version 6.12.57", Record: three},
		{Level: 6, Since: at(3.000001), Message: "machined: level=INFO", Record: two},
		{Level: 0, Since: at(12.345678), Message: "Kernel panic - not syncing: Fatal exception", Record: one},
		{Level: 4, Since: at(12.4), Message: " ? __die+0x1", Record: one},
		{Level: 6, Message: "last \uFFFD words", Record: one},
	}
	if diff := cmp.Diff(want, log(t, s, "", -1)); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[4:], log(t, s, "boot-2", 2)); diff != "" {
		t.Errorf("the newest two lines (-want +got):\n%s", diff)
	}
	crashes, err := s.Crashes(t.Context())
	if err != nil || len(crashes) != 1 {
		t.Fatalf("got %v, %v, want one crash", crashes, err)
	}
	c := crashes[0]
	if c.FoundBy != "boot-2" || !c.Time.Equal(died) || c.Records != 5 || c.SizeBytes == 0 || c.Summary != "kernel panic: Fatal exception" {
		t.Errorf("got %+v", c)
	}

	// The next boot finds nothing, and still has what that one found.
	s.Boot = "boot-3"
	if err := s.CrashLog(t.Context(), "", -1, nil); !errors.Is(err, server.ErrNotFound) {
		t.Errorf("a boot after a good one: got %v, want ErrNotFound", err)
	}
	if diff := cmp.Diff(want, log(t, s, "boot-2", -1)); diff != "" {
		t.Errorf("log of an earlier crash (-want +got):\n%s", diff)
	}
	// The name comes from a client, and leads nowhere else.
	write(t, s.Kept+"/../dmesg-outside", "secret")
	for _, name := range []string{"..", "../kept/boot-2", "boot-2/.", "/"} {
		if err := s.CrashLog(t.Context(), name, -1, nil); !errors.Is(err, server.ErrNotFound) {
			t.Errorf("%q: got %v, want ErrNotFound", name, err)
		}
	}
	// What an older agent has kept is there too.
	write(t, s.Kept+"/dmesg-efi_pstore-1", "Panic#1 Part1\n<0>[    1.000000] Kernel panic - not syncing: old\n")
	if err := os.Chtimes(s.Kept+"/dmesg-efi_pstore-1", died, died.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if crashes, err = s.Crashes(t.Context()); err != nil || len(crashes) != 2 || crashes[1].FoundBy != unknown || crashes[1].Summary != "kernel panic: old" {
		t.Errorf("with an older agent's: got %+v, %v", crashes, err)
	}
	if lines := log(t, s, unknown, -1); len(lines) != 1 {
		t.Errorf("log of an older agent: got %v", lines)
	}
	// A newer crash comes first, and the oldest records make way.
	for i := range maxKept {
		write(t, filepath.Join(s.Pstore, "dmesg-ramoops-"+string(rune('A'+i))), "Oops#1 Part1\n<1>[ 1.000000] Oops: 0002\n")
	}
	if _, err := s.Take(); err != nil {
		t.Fatal(err)
	}
	if crashes, err = s.Crashes(t.Context()); err != nil || len(crashes) != 1 || crashes[0].FoundBy != "boot-3" {
		t.Errorf("after another crash: got %+v, %v, want that of boot-3 alone", crashes, err)
	}
	if _, err := os.Stat(filepath.Join(s.Kept, "boot-2")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the empty folder is still there: %v", err)
	}
}

// TestLogsOfTwo: of two kernels that have died before anybody looked, each has a first dump, and the logs follow each other.
func TestLogsOfTwo(t *testing.T) {
	s := source(t)
	died := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	for name, r := range map[string]struct {
		text  string
		after time.Duration
	}{
		"dmesg-efi_pstore-100001001": {"Panic#1 Part1\n<0>[    2.000000] the first dies\n", 0},
		"dmesg-efi_pstore-101002001": {"Panic#1 Part2\n<6>[    1.000000] the first starts\n", time.Second},
		"dmesg-efi_pstore-120001001": {"Panic#1 Part1\n<0>[    2.000000] the second dies\n", 20 * time.Second},
		"dmesg-efi_pstore-120002001": {"Panic#1 Part2\n<6>[    1.000000] the second starts\n", 20 * time.Second},
	} {
		path := filepath.Join(s.Pstore, name)
		write(t, path, r.text)
		if err := os.Chtimes(path, died, died.Add(r.after)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Take(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range log(t, s, "", -1) {
		got = append(got, l.Message)
	}
	if d := cmp.Diff([]string{"the first starts", "the first dies", "the second starts", "the second dies"}, got); d != "" {
		t.Errorf("log (-want +got):\n%s", d)
	}
}

func TestUnreadableRecord(t *testing.T) {
	s := source(t)
	write(t, s.Pstore+"/dmesg-efi_pstore-1.enc.z", "\x78\x9c")
	if _, err := s.Take(); err != nil {
		t.Fatal(err)
	}
	if lines := log(t, s, "", -1); len(lines) != 1 || !strings.Contains(lines[0].Message, "compressed") {
		t.Errorf("got %v", lines)
	}
}

func FuzzLines(f *testing.F) {
	f.Add("Panic#1 Part1\n<0>[    1.000000] Kernel panic - not syncing: x\n")
	f.Add("<6>[    1.2] [x] y\n>[<\xff\n\n")
	f.Add("#1 Part\n<65536>[4294967296.000000] z")
	f.Fuzz(func(t *testing.T, text string) {
		partOf(text)
		for l := range linesOf("dmesg-x", text) {
			if l.Level > 7 || !utf8.ValidString(l.Message) || strings.Contains(l.Message, "\n") || l.Since != nil && *l.Since < 0 {
				t.Errorf("%q: %+v", text, l)
			}
		}
	})
}
