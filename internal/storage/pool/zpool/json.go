package zpool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// number is a number that is written as one or, without --json-int, as text. "-" is none, which is 0.
type number uint64

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(data []byte) error {
	text := string(bytes.Trim(data, `"`))
	if text == "-" || text == "" || text == "null" {
		*n = 0
		return nil
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return fmt.Errorf("number %.40q: %w", text, errors.Unwrap(err))
	}
	*n = number(v)
	return nil
}

// time is a point in time in seconds of the epoch; 0 is none.
func (n number) time() time.Time {
	if n == 0 || n > math.MaxInt64/2 {
		return time.Time{}
	}
	return time.Unix(int64(n), 0).UTC()
}

// named is an object whose members keep their order, which is that of the vdevs.
type named[T any] []entry[T]

type entry[T any] struct {
	name  string
	value T
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *named[T]) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	token, err := d.Token()
	if err != nil {
		return err
	}
	if token != json.Delim('{') {
		return fmt.Errorf("%.20v where an object is expected", token)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		e := entry[T]{name: fmt.Sprint(key)}
		if err := d.Decode(&e.value); err != nil {
			return fmt.Errorf("%.80s: %w", e.name, err)
		}
		*o = append(*o, e)
	}
	_, err = d.Token()
	return err
}

// property is one of zprop_nvlist_one_property (lib/libzfs/libzfs_util.c): with --json-int, a value of digits is a number.
type property struct {
	Value  json.RawMessage `json:"value"`
	Source struct {
		Type string `json:"type"`
		Data string `json:"data"`
	} `json:"source"`
}

// text is the value as zpool get -p prints it.
func (p property) text() string {
	var s string
	if json.Unmarshal(p.Value, &s) == nil {
		return s
	}
	return string(p.Value)
}

// typed is the property in the terms of package zfs.
func (p property) typed() zfs.Property {
	out := zfs.Property{Value: p.text(), Source: zfs.Source(p.Source.Type)}
	if out.Source == zfs.SourceInherited {
		out.From = p.Source.Data
	}
	return out
}

// maxNesting is more than zpool makes: pools, a pool, five levels of vdevs with an object of children each. Each level is read once for every level
// above it.
const maxNesting = 32

// nesting is how deep the objects and arrays of a document are nested.
func nesting(data []byte) int {
	depth, deepest := 0, 0
	text := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// isCut says that a document ends in its middle. Without a locale, the program ends it at the first byte of a text that is no ASCII, and all pools behind that are lost
// (nvlist_print_json_string in lib/libnvpair/libnvpair_json.c, 2.3.9).
func isCut(err error) bool {
	var cut *json.SyntaxError
	return errors.As(err, &cut)
}

// decode reads one document of zpool -j. Nothing at all stands for no pools: zpool list prints nothing then.
func decode(data []byte, command string, into any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	if n := nesting(data); n > maxNesting {
		return fmt.Errorf("read the output of zpool %s: objects are nested %d deep, expected %d at most", command, n, maxNesting)
	}
	var head struct {
		Version struct {
			Command string `json:"command"`
			Major   int    `json:"vers_major"`
		} `json:"output_version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("read the output of zpool %s: %w", command, err)
	}
	if head.Version.Command != "zpool "+command || head.Version.Major != 0 {
		return fmt.Errorf("read the output of zpool %s: it is of %.40q in version %d, expected version 0", command, head.Version.Command, head.Version.Major)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read the output of zpool %s: %w", command, err)
	}
	return nil
}
