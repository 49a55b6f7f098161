package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Format is how answers are written.
type Format string

// The formats.
const (
	FormatTable Format = "table"
	FormatJSON  Format = "json"
	FormatYAML  Format = "yaml"
)

// ParseFormat reads the name of a format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case FormatTable, FormatJSON, FormatYAML:
		return f, nil
	default:
		return "", fmt.Errorf("output %q: expected table, json or yaml", s)
	}
}

// Answer is what one node said.
type Answer struct {
	Node    string
	Message proto.Message
}

type wrapped struct {
	Node     string          `json:"node"`
	Response json.RawMessage `json:"response"`
}

// WriteAll writes the answers of one call as JSON or YAML. Several says that
// more than one node was asked, whether or not more than one answered.
func WriteAll(w io.Writer, f Format, answers []Answer, several bool) error {
	var value any
	if several {
		list := make([]wrapped, 0, len(answers))
		for _, a := range answers {
			raw, err := toJSON(a.Message)
			if err != nil {
				return err
			}
			list = append(list, wrapped{a.Node, raw})
		}
		value = list
	} else {
		if len(answers) == 0 {
			return nil
		}
		raw, err := toJSON(answers[0].Message)
		if err != nil {
			return err
		}
		value = raw
	}
	return write(w, f, value)
}

// WriteOne writes one message of a stream, on one line as JSON, as a document
// of its own as YAML.
func WriteOne(w io.Writer, f Format, a Answer, several bool) error {
	raw, err := toJSON(a.Message)
	if err != nil {
		return err
	}
	var value any = raw
	if several {
		value = wrapped{a.Node, raw}
	}
	if f == FormatYAML {
		if _, err := io.WriteString(w, "---\n"); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		return write(w, f, value)
	}
	line, err := encodeJSON(value, "")
	if err != nil {
		return err
	}
	if _, err := w.Write(line); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// WriteValue writes what is no answer of a node as JSON or YAML. Value is one of
// encoding/json's.
func WriteValue(w io.Writer, f Format, value any) error { return write(w, f, value) }

// toJSON is protojson with fields at their default too, so that "healthy":
// false is to be seen. Its white space varies by intent and is redone later.
func toJSON(m proto.Message) (json.RawMessage, error) {
	raw, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode response: %w", err)
	}
	return raw, nil
}

func write(w io.Writer, f Format, value any) error {
	text, err := encodeJSON(value, "  ")
	if err != nil {
		return err
	}
	if f == FormatYAML {
		if text, err = toYAML(text); err != nil {
			return err
		}
	}
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// encodeJSON is json.Marshal with a newline at the end, and without turning the
// < and > of log lines into escapes for web pages.
func encodeJSON(value any, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(value); err != nil {
		return nil, fmt.Errorf("encode output: %w", err)
	}
	return b.Bytes(), nil
}

// toYAML rewrites JSON, which is YAML, in block style. The order of the fields
// stays.
func toYAML(text []byte) ([]byte, error) {
	var node yaml.Node
	if err := yaml.Unmarshal(text, &node); err != nil {
		return nil, fmt.Errorf("encode output: %w", err)
	}
	blockStyle(&node)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(&node), e.Close()); err != nil {
		return nil, fmt.Errorf("encode output: %w", err)
	}
	return b.Bytes(), nil
}

// blockStyle takes the brackets and needless quotes off. An empty list has no
// block form; the texts "yes", "no" and the like are booleans to older readers
// of YAML and keep their quotes.
func blockStyle(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode && !oldBoolean(n.Value) {
		n.Style = 0
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

func oldBoolean(s string) bool {
	switch strings.ToLower(s) {
	case "y", "yes", "on", "n", "no", "off":
		return true
	}
	return false
}

// Table is rows under a header, written with aligned columns.
type Table struct {
	Header []string
	Rows   [][]string
}

// Write writes the table. Empty cells become "-", so that columns can be cut
// apart by programs, and nothing that a terminal would obey gets through.
func (t Table) Write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = Clean(cell)
			if cell == "" {
				cells[i] = "-"
			}
		}
		if _, err := fmt.Fprintln(tw, strings.Join(cells, "\t")); err != nil {
			return fmt.Errorf("write table: %w", err)
		}
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// CleanText is Clean for a text of several lines, whose tabs stay.
func CleanText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return []rune(Clean(string(r)))[0]
	}, s)
}

// Clean replaces control characters, by which a log line could drive the
// reader's terminal. Tabs become spaces.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029':
			return '\uFFFD'
		default:
			return r
		}
	}, s)
}
