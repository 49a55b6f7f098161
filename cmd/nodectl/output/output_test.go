package output

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
)

func TestParseFormat(t *testing.T) {
	for _, name := range []string{"table", "json", "yaml"} {
		if f, err := ParseFormat(name); err != nil || string(f) != name {
			t.Errorf("%q: got %q, %v", name, f, err)
		}
	}
	for _, name := range []string{"", "JSON", "wide"} {
		if _, err := ParseFormat(name); err == nil {
			t.Errorf("%q: no error", name)
		}
	}
}

func check(t *testing.T, want string, write func(*bytes.Buffer) error) {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWriteAll(t *testing.T) {
	c := &machinev1.HealthCheck{Name: "yes", Reason: "a <b> & c: d", Since: timestamppb.New(time.Unix(0, 0))}
	one := []Answer{{"n1", c}}
	check(t, "{\n  \"name\": \"yes\",\n  \"healthy\": false,\n  \"reason\": \"a <b> & c: d\",\n  \"since\": \"1970-01-01T00:00:00Z\"\n}\n",
		func(b *bytes.Buffer) error { return WriteAll(b, FormatJSON, one, false) })
	// What would be another type in YAML stays a text.
	check(t, "name: \"yes\"\nhealthy: false\nreason: 'a <b> & c: d'\nsince: \"1970-01-01T00:00:00Z\"\n",
		func(b *bytes.Buffer) error { return WriteAll(b, FormatYAML, one, false) })
	// Of two nodes one answered.
	check(t, "- node: n1\n  response:\n    name: x\n    healthy: true\n    reason: \"\"\n", func(b *bytes.Buffer) error {
		return WriteAll(b, FormatYAML, []Answer{{"n1", &machinev1.HealthCheck{Name: "x", Healthy: true}}}, true)
	})
	check(t, "", func(b *bytes.Buffer) error { return WriteAll(b, FormatJSON, nil, false) })
	check(t, "[]\n", func(b *bytes.Buffer) error { return WriteAll(b, FormatJSON, nil, true) })
}

func TestWriteOne(t *testing.T) {
	a := Answer{"n1", &machinev1.Component{Name: "etcd"}}
	check(t, `{"name":"etcd","version":"","source":""}`+"\n", func(b *bytes.Buffer) error { return WriteOne(b, FormatJSON, a, false) })
	check(t, `{"node":"n1","response":{"name":"etcd","version":"","source":""}}`+"\n", func(b *bytes.Buffer) error { return WriteOne(b, FormatJSON, a, true) })
	check(t, "---\nname: etcd\nversion: \"\"\nsource: \"\"\n", func(b *bytes.Buffer) error { return WriteOne(b, FormatYAML, a, false) })
}

func TestWriteValue(t *testing.T) {
	value := map[string][]string{"names": {"a", "on"}}
	check(t, "{\n  \"names\": [\n    \"a\",\n    \"on\"\n  ]\n}\n", func(b *bytes.Buffer) error { return WriteValue(b, FormatJSON, value) })
	check(t, "names:\n  - a\n  - \"on\"\n", func(b *bytes.Buffer) error { return WriteValue(b, FormatYAML, value) })
}

func TestTable(t *testing.T) {
	table := Table{Header: []string{"A", "LONGER", "C"}, Rows: [][]string{{"1", "", "x\ty"}, {"", "22", "\x1b[31m\n"}}}
	check(t, "A   LONGER   C\n1   -        x y\n-   22       \uFFFD[31m\uFFFD\n", func(b *bytes.Buffer) error { return table.Write(b) })
}

// full is a disk without room.
type full struct{}

var errFull = errors.New("no space")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWriteErrors(t *testing.T) {
	a := Answer{"n1", &machinev1.Component{}}
	for _, err := range []error{
		Table{Header: []string{"A"}}.Write(full{}),
		WriteAll(full{}, FormatYAML, []Answer{a}, true),
		WriteOne(full{}, FormatJSON, a, false),
		WriteOne(full{}, FormatYAML, a, false),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("got %v, want the writer's error", err)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\tb\x1b]0;title\x07\u009b1m\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		if got := Clean(s); strings.ContainsAny(got, "\x00\x07\x08\t\n\r\x1b\x7f\u0085\u009b\u2028\u2029") {
			t.Errorf("%q became %q", s, got)
		}
	})
}
