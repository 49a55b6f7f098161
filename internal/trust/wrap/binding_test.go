package wrap

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const machine = "0a1b2c3d-1111-2222-3333-444455556666"

func TestParseMachine(t *testing.T) {
	for text, want := range map[string]string{
		machine: machine, strings.ToUpper(machine) + "\n": machine, "ffffffff-ffff-ffff-ffff-fffffffffff0": "ffffffff-ffff-ffff-ffff-fffffffffff0",
		"": "", "Not Settable": "", "00000000-0000-0000-0000-000000000000": "", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF": "", machine + "0": "", "x" + machine: "",
	} {
		got, err := ParseMachine(text)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrNoMachine) {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}

func TestCheck(t *testing.T) {
	b := Binding{Volume: "state", UUID: "11", Machine: machine}
	if err := b.Check("state", "11", strings.ToUpper(machine)); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		volume, uuid, machine string
		is                    error
	}{
		"another volume":  {"data", "11", machine, nil},
		"another header":  {"state", "12", machine, nil},
		"another machine": {"state", "11", strings.Replace(machine, "1", "2", 1), ErrOtherMachine},
		"no machine":      {"state", "11", "", ErrNoMachine},
	} {
		if err := b.Check(c.volume, c.uuid, c.machine); err == nil || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b.Context("a") == b.Context("b") || b.Context("a") == (Binding{Volume: "data", Machine: machine}).Context("a") {
		t.Error("contexts are alike")
	}
}

const bindingText = `{"type":"kind","keyslots":["2"],"version":1,"volume":"state","uuid":"11","machine":"` + machine + `"}`

func TestBindingRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, new, says string }{
		"another type":       {`"kind"`, `"other"`, "expected kind"},
		"a later version":    {`"version":1`, `"version":2`, "version 2, expected 1"},
		"no volume":          {`"state"`, `""`, "which volume"},
		"a long name":        {`"state"`, `"` + strings.Repeat("s", 65) + `"`, "which volume"},
		"no header":          {`"11"`, `""`, "which volume"},
		"two key slots":      {`["2"]`, `["2","3"]`, "2 key slots"},
		"key slot":           {`["2"]`, `["32"]`, "below 32"},
		"odd key slot":       {`["2"]`, `["02"]`, "below 32"},
		"no machine":         {machine, "", "expected a UUID"},
		"upper case":         {machine, strings.ToUpper(machine), "expected a UUID"},
		"an unknown field":   {`"version"`, `"pin":1,"version"`, "pin"},
		"something behind":   {`"version":1`, `"version":1}{"a":1`, "behind"},
		"not JSON":           {`{"type"`, `"type"`, ""},
		"a number as volume": {`"state"`, `7`, "volume"},
	} {
		text := strings.Replace(bindingText, c.old, c.new, 1)
		if text == bindingText {
			t.Fatalf("%s: %q is not in the text", name, c.old)
		}
		var form Text
		err := Decode([]byte(text), &form)
		if err == nil {
			_, err = form.Binding("kind", 1)
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q in it", name, err, c.says)
		}
	}
}

func FuzzBinding(f *testing.F) {
	f.Add([]byte(bindingText))
	f.Fuzz(func(t *testing.T, data []byte) {
		var form Text
		if Decode(data, &form) != nil {
			return
		}
		b, err := form.Binding("kind", 1)
		if err != nil {
			return
		}
		text, err := json.Marshal(b.Text("kind", 1))
		if err != nil {
			t.Fatal(err)
		}
		var again Text
		if err := Decode(text, &again); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(form, again); d != "" {
			t.Errorf("(-read +written):\n%s", d)
		}
	})
}
