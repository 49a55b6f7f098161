package config

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// walk is documents in which one field after another is changed.
type walk struct {
	docs   []map[string]any
	fields int
	// given are the paths of fields that the documents give.
	given map[string]bool
}

// needed are fields that are not required, but by others that the complete configuration has; with what is said when they are missing.
var needed = map[string]string{"Pool.data": "expected at least one group of disks that hold the data"}

// TestEveryField walks the fields of all documents. Each has its entry in the published schema, and a documentation line. Left out, it must be given or
// has the described default; of another form, or misspelt, it is refused by its name. With -short that is done with one field of three.
func TestEveryField(t *testing.T) {
	cfg := full(t)
	cfg.Cluster.CertSANs = []string{"kubernetes.example"}
	data, err := Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &walk{given: map[string]bool{}, docs: instances(t, string(data)+"---\n"+goodOwner+"---\n"+goodPassphrase)}
	published, err := os.ReadFile("../../../docs/reference/config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs map[string]map[string]any `json:"$defs"`
	}
	if err := json.Unmarshal(published, &schema); err != nil {
		t.Fatal(err)
	}
	for _, d := range written() {
		for _, doc := range w.docs {
			if doc["kind"] == d.Kind {
				w.object(t, d.Kind, d.Kind, d.Fields, doc, schema.Defs[d.Kind])
			}
		}
		w.missing(t, d.Kind, d.Fields)
	}
	if w.fields < 30 {
		t.Errorf("%d fields were walked, which cannot be all", w.fields)
	}
}

func (w *walk) parse(t *testing.T) (*Config, error) {
	t.Helper()
	var out strings.Builder
	encoder := yaml.NewEncoder(&out)
	for _, doc := range w.docs {
		if err := encoder.Encode(doc); err != nil {
			t.Fatal(err)
		}
	}
	_, rest, err := TakeOwner("user-data", []byte(out.String()))
	if err != nil {
		return nil, err
	}
	if _, rest, err = TakePassphrase("user-data", rest); err != nil {
		return nil, err
	}
	return Parse("user-data", rest)
}

// missing wants each field to be given once at least.
func (w *walk) missing(t *testing.T, title string, fields []Field) {
	t.Helper()
	for _, f := range fields {
		if at := title + "." + f.Name; !w.given[at] {
			t.Errorf("%s: the complete configuration of the tests does not give it", at)
		} else if f.Type == TypeObject {
			w.missing(t, at, f.Fields)
		}
	}
}

// object walks the fields of one mapping, which is part of the documents. Path is that of mistakes, and title the same without the places of items.
func (w *walk) object(t *testing.T, path, title string, fields []Field, m, schema map[string]any) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	for _, f := range fields {
		w.fields++
		at := path + "." + f.Name
		value, ok := m[f.Name]
		if !ok {
			continue
		}
		w.given[title+"."+f.Name] = true
		entry, _ := properties[f.Name].(map[string]any)
		checkEntry(t, at, f, entry, schema["required"])
		if !testing.Short() || w.fields%9 == 0 {
			w.leaveOut(t, at, f, m)
			w.misspell(t, at, f, m)
			w.misshape(t, at, f, m)
		}
		m[f.Name] = value
		switch inner := value.(type) {
		case map[string]any:
			w.object(t, at, title+"."+f.Name, f.Fields, inner, entry)
		case []any:
			if f.Type == TypeObject {
				items, _ := entry["items"].(map[string]any)
				for i, item := range inner {
					w.object(t, fmt.Sprintf("%s[%d]", at, i), title+"."+f.Name, f.Fields, item.(map[string]any), items)
				}
			}
		}
	}
}

// checkEntry holds the schema's entry of a field against its description.
func checkEntry(t *testing.T, at string, f Field, entry map[string]any, required any) {
	t.Helper()
	if entry == nil {
		t.Errorf("%s has no entry in the schema", at)
		return
	}
	names, _ := required.([]any)
	got := fmt.Sprint(entry["description"], "|", entry["default"], "|", entry["writeOnly"] == true, "|", entry["type"] == "array", "|", slices.Contains(names, any(f.Name)))
	if want := fmt.Sprint(f.Doc, "|", f.fallback(), "|", f.Secret, "|", f.List, "|", f.Required); got != want {
		t.Errorf("%s: the schema says %s, and the table %s", at, got, want)
	}
	shape := entry
	if f.List {
		shape, _ = entry["items"].(map[string]any)
	}
	if f.Type == TypeObject && (shape["type"] != "object" || shape["additionalProperties"] != false) {
		t.Errorf("%s: the schema lets it be something else than these fields", at)
	}
	if values, _ := shape["enum"].([]any); fmt.Sprint(values) != fmt.Sprint(f.Values) {
		t.Errorf("%s: the schema has the values %v, and the table %v", at, values, f.Values)
	}
}

// leaveOut wants a field that is left out to be missed, or to have its default.
func (w *walk) leaveOut(t *testing.T, at string, f Field, m map[string]any) {
	t.Helper()
	value := m[f.Name]
	defer func() { m[f.Name] = value }()
	delete(m, f.Name)
	got, err := w.parse(t)
	if text := needed[at]; text != "" {
		if err == nil || !strings.Contains(err.Error(), at+": missing, "+text) {
			t.Errorf("%s is needed by others, and without it: %v", at, err)
		}
		return
	}
	if f.Required {
		if err == nil || !strings.Contains(err.Error(), at+": missing") {
			t.Errorf("%s is required, and without it: %v", at, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s is not required, and without it: %v", at, err)
		return
	}
	if f.Default == "" {
		return
	}
	m[f.Name] = f.fallback()
	want, err := w.parse(t)
	if d := cmp.Diff(want, got, compare()); err != nil || d != "" {
		t.Errorf("%s: left out it is not its default: %v (-default +left out)\n%s", at, err, d)
	}
}

// misspell wants a field of another name to be refused by it.
func (w *walk) misspell(t *testing.T, at string, f Field, m map[string]any) {
	t.Helper()
	m[f.Name+"X"] = m[f.Name]
	if _, err := w.parse(t); err == nil || !strings.Contains(err.Error(), at+"X: unknown field") {
		t.Errorf("%sX: %v", at, err)
	}
	delete(m, f.Name+"X")
}

// misshape gives a field another form, and wants it to be refused by its name, without what a secret one says.
func (w *walk) misshape(t *testing.T, at string, f Field, m map[string]any) {
	t.Helper()
	const inside = "c2VjcmV0"
	value := m[f.Name]
	defer func() { m[f.Name] = value }()
	for _, wrong := range []any{map[string]any{inside: inside}, []any{[]any{inside}}, inside + " \t"} {
		if _, isText := wrong.(string); isText && !f.List && f.Type == TypeText && !f.Secret {
			continue // it is of the right form
		}
		m[f.Name] = wrong
		_, err := w.parse(t)
		if err == nil || !strings.Contains(err.Error(), at) {
			t.Errorf("%s as %T: %v", at, wrong, err)
		}
		if f.Secret && err != nil && strings.Contains(err.Error(), inside) {
			t.Errorf("%s as %T: the error shows it: %v", at, wrong, err)
		}
	}
}
