package config

import (
	"encoding/json"
	"fmt"
)

// SchemaID names the schema.
const SchemaID = "https://cyvive.dev/schema/v1alpha1/config.json"

// Schema returns the JSON Schema (2020-12) of one document, whatever its kind, of those beside a configuration too. What Parse refuses beyond it is what a schema cannot say: keys that do
// not fit their certificates, networks that overlap, the same link twice.
func Schema() ([]byte, error) {
	definitions := map[string]any{}
	var kinds []any
	for _, d := range written() {
		definitions[d.Kind] = documentSchema(d)
		kinds = append(kinds, map[string]any{"$ref": "#/$defs/" + d.Kind})
	}
	out, err := json.MarshalIndent(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SchemaID, "title": "A document of a Cyvive node's configuration",
		"oneOf": kinds, "$defs": definitions,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return append(out, '\n'), nil
}

func documentSchema(d Document) map[string]any {
	s := objectSchema(d.Fields)
	s["description"] = d.Doc
	properties := s["properties"].(map[string]any)
	properties["apiVersion"] = map[string]any{"const": APIVersion}
	properties["kind"] = map[string]any{"const": d.Kind}
	required, _ := s["required"].([]string)
	s["required"] = append([]string{"apiVersion", "kind"}, required...)
	return s
}

func objectSchema(fields []Field) map[string]any {
	properties := map[string]any{}
	var required []string
	for _, f := range fields {
		properties[f.Name] = f.schema()
		if f.Required {
			required = append(required, f.Name)
		}
	}
	s := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func (f Field) schema() map[string]any {
	var s map[string]any
	switch f.Type {
	case TypeObject:
		s = objectSchema(f.Fields)
	case TypeBool:
		s = map[string]any{"type": "boolean"}
	case TypeDuration:
		s = map[string]any{"type": "string", "pattern": durationPattern}
	case TypeCount:
		s = map[string]any{"type": "integer", "minimum": 0}
	case TypeSize:
		s = map[string]any{"type": "string", "pattern": sizePattern}
	case TypeMap:
		s = map[string]any{
			"type": "object", "additionalProperties": map[string]any{"type": "string"}, "propertyNames": map[string]any{"pattern": f.Pattern},
		}
	default:
		s = map[string]any{"type": "string"}
	}
	if len(f.Values) > 0 {
		s["enum"] = f.Values
	}
	if f.Pattern != "" && f.Type == TypeText {
		s["pattern"] = f.Pattern
	}
	if f.List {
		s = map[string]any{"type": "array", "items": s}
	}
	s["description"] = f.Doc
	if v := f.fallback(); v != nil {
		s["default"] = v
	}
	if f.Secret {
		s["writeOnly"] = true
	}
	return s
}
