package audit

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// chain seals entries one after the other, with numbers from first on.
func chain(t testing.TB, first uint64, previous Hash, n int) [][]byte {
	t.Helper()
	var lines [][]byte
	for i := range n {
		e := Entry{Time: time.Unix(int64(i), 0), Kind: KindCall, Method: fmt.Sprintf("/m/%d", i), Code: "OK", Subject: "alice"}
		line, hash, err := Seal(e, first+uint64(i), previous)
		if err != nil {
			t.Fatal(err)
		}
		lines, previous = append(lines, line), hash
	}
	return lines
}

// verify checks a whole log as a reader of lines would.
func verify(data []byte) (*Verifier, error) {
	v := &Verifier{}
	for line := range bytes.Lines(data) {
		whole, ok := bytes.CutSuffix(line, []byte("\n"))
		if !ok {
			return v, errors.New("the last line has no end")
		}
		if _, err := v.Add(whole); err != nil {
			return v, err
		}
	}
	return v, nil
}

func TestSealedEntryReadsBack(t *testing.T) {
	want := Entry{
		Time: time.Date(2026, 11, 23, 4, 0, 0, 5, time.UTC), Boot: "b1", Kind: KindCall, Method: "/node.machine.v1.MachineService/Reboot", Code: "PermissionDenied",
		Subject: "<alice> & \"bob\"", Serial: "1f", Roles: "node:reader", Peer: "[::1]:1234", Took: time.Millisecond, Error: "no\nnewline", Count: 3, Early: Hash{2},
	}
	line, hash, err := Seal(want, 7, Hash{1})
	if err != nil {
		t.Fatal(err)
	}
	got, gotHash, err := ParseLine(bytes.TrimSuffix(line, []byte("\n")))
	want.Sequence, want.Previous = 7, Hash{1}
	if diff := cmp.Diff(want, got); diff != "" || err != nil || gotHash != hash {
		t.Errorf("got %v, %v (-want +got):\n%s", gotHash, err, diff)
	}
}

func TestLinesAreBounded(t *testing.T) {
	for _, text := range []string{"<", "\xff", "é", "\u2028"} {
		long := strings.Repeat(text, 20000)
		line, _, err := Seal(Entry{
			Kind: KindCall, Boot: long, Method: long, Code: long, Subject: long, Serial: long, Roles: long, Peer: long, Error: long, Took: 1 << 62, Count: 1 << 63, Early: Hash{1},
		}, 1<<63, Hash{})
		if err != nil {
			t.Fatal(err)
		}
		if len(line) > MaxLineBytes {
			t.Errorf("texts of %q make a line of %d bytes, more than %d", text, len(line), MaxLineBytes)
		}
		if _, _, err := ParseLine(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			t.Errorf("texts of %q: %v", text, err)
		}
	}
}

func TestDroppedEntriesLeaveTheirHead(t *testing.T) {
	lines := chain(t, 1, Hash{}, 10)
	v, err := verify(bytes.Join(lines[4:], nil))
	if err != nil {
		t.Fatal(err)
	}
	_, fourth, err := ParseLine(bytes.TrimSpace(lines[3]))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := v.Dropped(), (Head{4, fourth}); got != want {
		t.Errorf("dropped: got %v, want %v", got, want)
	}
	if v.Head().Sequence != 10 {
		t.Errorf("head: got %v, want entry 10", v.Head())
	}
	if back, err := ParseHead(v.Head().String()); err != nil || back != v.Head() {
		t.Errorf("head read back: got %v, %v", back, err)
	}
}

// TestEveryChangedByteIsFound changes each byte of a log, to several others,
// and expects the break at its line.
func TestEveryChangedByteIsFound(t *testing.T) {
	log := bytes.Join(chain(t, 1, Hash{}, 5), nil)
	for i := range log {
		for _, other := range []byte{log[i] ^ 1, log[i] ^ 0x20, log[i] ^ 0x80, '\n', ' '} {
			if other == log[i] {
				continue
			}
			changed := bytes.Clone(log)
			changed[i] = other
			_, err := verify(changed)
			if err == nil {
				t.Fatalf("byte %d from %q to %q: not found", i, log[i], other)
			}
			line := 1 + bytes.Count(log[:i], []byte("\n"))
			if broken, ok := errors.AsType[*BrokenError](err); ok && broken.Line != line {
				t.Fatalf("byte %d from %q to %q: found at line %d, want %d", i, log[i], other, broken.Line, line)
			} else if !ok && i != len(log)-1 {
				t.Fatalf("byte %d from %q to %q: got %v", i, log[i], other, err)
			}
		}
	}
}

func TestMissingAndForeignEntriesAreFound(t *testing.T) {
	lines := chain(t, 1, Hash{}, 5)
	foreign := chain(t, 3, Hash{9}, 1)
	for _, test := range []struct {
		name  string
		lines [][]byte
		want  string
	}{
		{"one left out", [][]byte{lines[0], lines[1], lines[3]}, "line 3, after entry 2: expected entry 3, found entry 4"},
		{"two swapped", [][]byte{lines[0], lines[2], lines[1]}, "line 2, after entry 1: expected entry 2, found entry 3"},
		{"one twice", [][]byte{lines[0], lines[0]}, "expected entry 2, found entry 1"},
		{"another's entry", [][]byte{lines[0], lines[1], foreign[0]}, "line 3, after entry 2: entry 3 follows an entry with hash 09"},
		{"no entry 0", chain(t, 0, Hash{}, 1), "line 1, its first entry"},
		{"nothing before 1", chain(t, 1, Hash{9}, 1), "entry 1 cannot follow 09"},
	} {
		if _, err := verify(bytes.Join(test.lines, nil)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	for _, line := range chain(f, 1, Hash{}, 2) {
		f.Add(bytes.TrimSpace(line))
	}
	f.Add([]byte("x {}"))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, hash, err := ParseLine(line)
		if err != nil {
			return
		}
		// What is accepted is under its own hash, so no other line can be.
		if again, h, err := ParseLine(line); err != nil || h != hash || again.Sequence != e.Sequence {
			t.Errorf("read twice: %v, %v", h, err)
		}
		if !bytes.HasPrefix(line, []byte(hash.String()+" ")) {
			t.Errorf("line %q was accepted under hash %v", line, hash)
		}
	})
}
