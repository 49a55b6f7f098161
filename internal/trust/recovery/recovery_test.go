package recovery

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// counting is the key of the bytes 0, 1, 2 and so on.
func counting(t testing.TB) Key {
	t.Helper()
	data := make([]byte, KeyBytes)
	for i := range data {
		data[i] = byte(i)
	}
	k, err := FromBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// countingText was computed apart from this package, with a table of logarithms of the field.
const countingText = "000GT-40R4J-0M30Q-E209H-185GG-R38E3-1W815-24GKG-2GAHB-C5RR6-34D1M-P70XD-3RFPT"

func TestID(t *testing.T) {
	k := New()
	again, err := Parse(k.Reveal())
	if err != nil || again.ID() != k.ID() || len(k.ID()) != 16 {
		t.Errorf("the ID of one key is %s and %s, %v", k.ID(), again.ID(), err)
	}
	other, bits := k, k.Bytes()
	other.bits[KeyBytes-1] ^= 1
	if other.ID() == k.ID() || strings.Contains(hex.EncodeToString(bits), k.ID()) {
		t.Errorf("the ID is that of another key, or a part of the key")
	}
}

func TestReveal(t *testing.T) {
	if got := counting(t).Reveal(); got != countingText {
		t.Errorf("got  %s\nwant %s", got, countingText)
	}
	k := New()
	text := k.Reveal()
	if len(text) != 77 || strings.Count(text, "-") != 12 || k == New() {
		t.Errorf("a key of %d characters", len(text))
	}
}

// TestParse reads a key as people write it.
func TestParse(t *testing.T) {
	want := counting(t)
	for name, text := range map[string]string{
		"as shown":        countingText,
		"lower case":      strings.ToLower(countingText),
		"without dashes":  strings.ReplaceAll(countingText, "-", ""),
		"blanks":          " " + strings.ReplaceAll(countingText, "-", "  ") + "\n",
		"two lines":       countingText[:36] + "\r\n" + countingText[36:],
		"letters for 0":   strings.ReplaceAll(countingText, "0", "o"),
		"letters for one": strings.Replace(strings.Replace(countingText, "1", "I", 1), "1", "l", 1),
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 200 {
		k := New()
		if got, err := Parse(k.Reveal()); err != nil || got != k {
			t.Fatalf("%s: %v", k.Reveal(), err)
		}
	}
}

// TestEachMistake makes every mistake that is found with certainty, and sees the right group named.
func TestEachMistake(t *testing.T) {
	text := []byte(countingText)
	named := func(changed []byte) []int {
		var e *GroupError
		_, err := Parse(string(changed))
		if !errors.As(err, &e) {
			t.Fatalf("%s: got %v", changed, err)
		}
		return e.Groups
	}
	for at, c := range text {
		group := at/6 + 1
		if c == '-' {
			continue
		}
		for _, other := range []byte(alphabet) {
			if other == c {
				continue
			}
			changed := slices.Clone(text)
			changed[at] = other
			if got := named(changed); !slices.Equal(got, []int{group}) {
				t.Errorf("%c for %c in group %d: named %v", other, c, group, got)
			}
		}
		if next := at + 1; next < len(text) && text[next] != '-' && text[next] != c {
			changed := slices.Clone(text)
			changed[at], changed[next] = changed[next], changed[at]
			if got := named(changed); !slices.Equal(got, []int{group}) {
				t.Errorf("%c and %c swapped in group %d: named %v", c, text[next], group, got)
			}
		}
	}
	for a := range groups {
		for b := range a {
			changed := slices.Clone(text)
			copy(changed[6*a:6*a+5], text[6*b:6*b+5])
			copy(changed[6*b:6*b+5], text[6*a:6*a+5])
			if got := named(changed); !slices.Equal(got, []int{b + 1, a + 1}) {
				t.Errorf("groups %d and %d swapped: named %v", b+1, a+1, got)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	parts := strings.Split(countingText, "-")
	with := func(group int, text string) string {
		changed := slices.Clone(parts)
		changed[group-1] = text
		return strings.Join(changed, "-")
	}
	for name, c := range map[string]struct{ text, says string }{
		"nothing":          {"", "0 groups, expected 13"},
		"a passphrase":     {"correct horse battery staple", "group 1 has 7 characters, expected 5"},
		"a group missing":  {strings.Join(parts[1:], "-"), "12 groups, expected 13"},
		"a group too many": {countingText + "-00000", "14 groups, expected 13"},
		"short group":      {with(4, "AAAA"), "group 4 has 4 characters, expected 5"},
		"long group":       {with(13, "AAAAAA"), "group 13 has 6 characters, expected 5"},
		"wrong letter":     {with(7, "AAUAA"), "group 7: 'U' is not used"},
		"foreign letter":   {with(7, "AAÄAA"), "group 7: 'Ä' is not used"},
		"run together":     {strings.ReplaceAll(countingText, "-", "")[1:], "64 characters without a dash"},
	} {
		_, err := Parse(c.text)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.says)
		}
		for _, part := range parts {
			if err != nil && strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error shows the group %s", name, part)
			}
		}
	}
}

// TestGroupsOfTwoKeys: what the groups cannot tell, the whole does in 15 of 16 cases.
func TestGroupsOfTwoKeys(t *testing.T) {
	found := 0
	for range 400 {
		a, b := New().Reveal(), New().Reveal()
		if _, err := Parse(a[:36] + b[36:]); err != nil && strings.Contains(err.Error(), "of another key") {
			found++
		}
	}
	// 375 are expected, with a standard deviation of 5.
	if found < 340 {
		t.Errorf("found %d of 400", found)
	}
}

func TestNothingShows(t *testing.T) {
	k := counting(t)
	text, err := json.Marshal(map[string]any{"key": k})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %x %s %d", k, k, k, k, k, k), string(text), k.LogValue().String()} {
		if strings.Contains(shown, "0102") || strings.Contains(shown, "1 2 3") || strings.Contains(shown, countingText) {
			t.Errorf("the key shows: %s", shown)
		}
	}
	data := k.Bytes()
	data[0] = 0xFF
	if k != counting(t) {
		t.Error("who changes the bytes changes the key")
	}
	if _, err := FromBytes(data[1:]); err == nil {
		t.Error("31 bytes were taken for a key")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(countingText)
	f.Fuzz(func(t *testing.T, text string) {
		k, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(k.Reveal()); err != nil || again != k {
			t.Errorf("%q: shown and read it is another: %v", text, err)
		}
	})
}
