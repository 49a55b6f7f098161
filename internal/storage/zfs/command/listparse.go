package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// listVersion is the major version of the JSON that is known (zfs_do_list and zfs_do_get: zfs_json_schema(0, 1)).
const listVersion = 0

// jsonDataset is a dataset in the JSON of zfs list -j -p and zfs get -j -p (collect_dataset, get_callback and fill_dataset_info in cmd/zfs/zfs_main.c).
type jsonDataset struct {
	Name       string                  `json:"name"`
	Type       string                  `json:"type"`
	CreateTXG  string                  `json:"createtxg"`
	Properties map[string]jsonProperty `json:"properties"`
}

type jsonProperty struct {
	Value  string `json:"value"`
	Source struct {
		Type string `json:"type"`
		Data string `json:"data"`
	} `json:"source"`
}

// parseList reads the JSON of zfs list, one dataset after the other, so that tens of thousands of snapshots are not held twice. Of their properties
// it returns those that are named.
func parseList(r io.Reader, properties []string) ([]zfs.Dataset, error) {
	return parseDatasets(r, "zfs list", func(j jsonDataset) (zfs.Dataset, error) { return j.dataset(properties) })
}

// parseGet reads the JSON of zfs get all, with all properties that there are.
func parseGet(r io.Reader) ([]zfs.Dataset, error) {
	return parseDatasets(r, "zfs get", func(j jsonDataset) (zfs.Dataset, error) { return j.dataset(slices.Collect(maps.Keys(j.Properties))) })
}

// parseDatasets reads the JSON of a command, of which translate takes over one dataset after the other.
func parseDatasets(r io.Reader, command string, translate func(jsonDataset) (zfs.Dataset, error)) ([]zfs.Dataset, error) {
	var all []zfs.Dataset
	versioned := false
	d := json.NewDecoder(r)
	err := object(d, func(key string) error {
		switch key {
		case "output_version":
			versioned = true
			return checkVersion(d)
		case "datasets":
			return object(d, func(name string) error {
				var j jsonDataset
				if err := d.Decode(&j); err != nil {
					return fmt.Errorf("dataset %q: %w", name, err)
				}
				dataset, err := translate(j)
				if err != nil {
					return fmt.Errorf("dataset %q: %w", name, err)
				}
				all = append(all, dataset)
				return nil
			})
		}
		var ignored json.RawMessage
		return d.Decode(&ignored)
	})
	// Without a locale the programs cut a value off at the first byte that is no ASCII (nvlist_print_json_string in lib/libnvpair/libnvpair_json.c). Nobody
	// sets such over the node; of what others have set, only what is asked for is printed.
	var broken *json.SyntaxError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &broken) {
		return nil, fmt.Errorf("read output of %s: it is cut off, as it is where a value has bytes that are no ASCII: %w", command, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read output of %s: %w", command, err)
	}
	if !versioned {
		return nil, fmt.Errorf("read output of %s: it does not say which version it has", command)
	}
	return all, nil
}

// object reads an object, and calls value to read each of its values.
func object(d *json.Decoder, value func(key string) error) error {
	start, err := d.Token()
	if err != nil {
		return err
	}
	if start != json.Delim('{') {
		return fmt.Errorf("%v at byte %d, expected an object", start, d.InputOffset())
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := key.(string)
		if !ok {
			return fmt.Errorf("%v at byte %d, expected a key", key, d.InputOffset())
		}
		if err := value(name); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

func checkVersion(d *json.Decoder) error {
	var v struct {
		Major *int `json:"vers_major"`
	}
	if err := d.Decode(&v); err != nil {
		return err
	}
	if v.Major == nil || *v.Major != listVersion {
		return fmt.Errorf("version of the output: expected %d", listVersion)
	}
	return nil
}

// dataset translates.
func (j jsonDataset) dataset(properties []string) (zfs.Dataset, error) {
	d := zfs.Dataset{Name: j.Name, Kind: zfs.Kind(strings.ToLower(j.Type)), Properties: map[string]zfs.Property{}}
	switch d.Kind {
	case zfs.Filesystem, zfs.Volume, zfs.Snapshot, zfs.Bookmark:
	default:
		return d, fmt.Errorf("type %q is unknown", j.Type)
	}
	if _, err := zfs.ParseName(j.Name); err != nil {
		return d, err
	}
	var err error
	if d.CreateTXG, err = strconv.ParseUint(j.CreateTXG, 10, 64); err != nil {
		return d, fmt.Errorf("createtxg: %w", err)
	}
	guid, err := strconv.ParseUint(j.Properties["guid"].Value, 10, 64)
	if err != nil {
		return d, fmt.Errorf("guid: %w", err)
	}
	d.GUID = zfs.GUID(guid)
	created, err := strconv.ParseInt(j.Properties["creation"].Value, 10, 64)
	if err != nil {
		return d, fmt.Errorf("creation: %w", err)
	}
	d.Created = time.Unix(created, 0).UTC()
	for _, name := range properties {
		if name == "name" {
			d.Properties[name] = zfs.Property{Value: d.Name, Source: zfs.SourceNone}
			continue
		}
		answer, ok := j.Properties[name]
		if !ok {
			return d, fmt.Errorf("%s: it was asked for, and is not there", name)
		}
		p, ok, err := answer.property()
		if err != nil {
			return d, fmt.Errorf("%s: %w", name, err)
		}
		if ok {
			d.Properties[name] = p
		}
	}
	return d, nil
}

// property translates, and returns false for a property that the dataset does not have.
func (j jsonProperty) property() (zfs.Property, bool, error) {
	p := zfs.Property{Value: j.Value, Source: zfs.Source(j.Source.Type)}
	switch p.Source {
	case zfs.SourceNone:
		return p, j.Value != "-", nil
	case zfs.SourceInherited:
		p.From = j.Source.Data
	case zfs.SourceDefault, zfs.SourceLocal, zfs.SourceReceived, zfs.SourceTemporary:
	default:
		return p, false, fmt.Errorf("source %q is unknown", j.Source.Type)
	}
	return p, true, nil
}
