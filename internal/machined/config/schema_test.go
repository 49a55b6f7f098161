package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// compiled is the published schema, as programs of others read it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	data, err := os.ReadFile("../../../docs/reference/config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(SchemaID, document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instances are the documents of a stream, as a validator takes them.
func instances(t *testing.T, data string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for stream := yaml.NewDecoder(strings.NewReader(data)); ; {
		var doc map[string]any
		if err := stream.Decode(&doc); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if doc != nil {
			out = append(out, doc)
		}
	}
}

func validate(t *testing.T, s *jsonschema.Schema, doc map[string]any) error {
	t.Helper()
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(value)
}

// TestSchemaIsOfUse: a validator of others takes what Parse takes, and refuses in every mapping of it a field that there is not, a value of another
// form, and the lack of what is required.
func TestSchemaIsOfUse(t *testing.T) {
	s := compiled(t)
	data, err := Marshal(full(t))
	if err != nil {
		t.Fatal(err)
	}
	examples := []string{string(data) + "---\n" + goodOwner + "---\n" + goodPassphrase}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if result, err := os.ReadFile(file); err != nil || string(result) != "ok\n" {
			continue
		}
		text, err := os.ReadFile(strings.TrimSuffix(file, ".txt") + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		examples = append(examples, strings.NewReplacer("PAIR", "{certificate: x, key: y}", "AUTHORITY", "x").Replace(string(text)))
	}
	if len(examples) < 2 {
		t.Error("there is no good example in testdata")
	}
	spoilt := 0
	for i, example := range examples {
		for _, doc := range instances(t, example) {
			if err := validate(t, s, doc); err != nil {
				t.Errorf("%s: %v", doc["kind"], err)
			}
			if i == 0 || !testing.Short() { // the first has every field
				spoilt += spoil(t, s, doc, doc)
			}
		}
	}
	if spoilt < 50 {
		t.Errorf("%d spoilt documents, which cannot be all", spoilt)
	}
}

// spoil changes each field of a mapping, which is part of a document.
func spoil(t *testing.T, s *jsonschema.Schema, doc, part map[string]any) (n int) {
	t.Helper()
	refused := func(what string) {
		t.Helper()
		n++
		if validate(t, s, doc) == nil {
			t.Errorf("%s: the schema takes %s", doc["kind"], what)
		}
	}
	part["unknownField"] = "x"
	refused("an unknown field")
	delete(part, "unknownField")
	for name, value := range part {
		number := any(7)
		if _, is := value.(int); is {
			number = "7"
		}
		for what, wrong := range map[string]any{"a number, or none": number, "a mapping of other fields": map[string]any{"other": "x"}, "a list of numbers": []any{7}} {
			part[name] = wrong
			refused(what + " for " + name)
		}
		part[name] = value
		items, _ := value.([]any)
		for _, inner := range append(items, value) {
			if m, ok := inner.(map[string]any); ok {
				n += spoil(t, s, doc, m)
			}
		}
	}
	return n
}
