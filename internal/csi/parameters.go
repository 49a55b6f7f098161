package csi

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Parameters of a StorageClass that are no property of ZFS.
const (
	parameterParent     = "parent"
	parameterFileSystem = "fsType"
	parameterSparse     = "sparse"
)

// sidecar begins parameters that are for the programs between Kubernetes and the driver, or tell of the claim (csi.storage.k8s.io/pvc/name). They are
// not looked at.
const sidecar = "csi.storage.k8s.io/"

// property is a property of ZFS that may be chosen.
type property struct {
	name string
	// kind is what has it; empty is both.
	kind zfs.Kind
	// mutable ones can be changed later (ControllerModifyVolume).
	mutable bool
	valid   func(string) bool
	expect  string
}

// properties is all that may be chosen. Each value is checked here, so that none can mean something to ZFS that is not meant.
var properties = []property{
	{"compression", "", true, isCompression, "on, off, lz4, zle, lzjb, zstd, zstd-1 to zstd-19, gzip or gzip-1 to gzip-9"},
	{"logbias", "", true, oneOf("latency", "throughput"), "latency or throughput"},
	{"atime", zfs.Filesystem, true, oneOf("on", "off"), "on or off"},
	// Larger records than 1 MiB need a feature that a pool may not have (zpool-features(7), large_blocks).
	{"recordsize", zfs.Filesystem, true, powerOfTwo(4<<10, 1<<20), "a power of two from 4096 to 1048576, in bytes"},
	{"volblocksize", zfs.Volume, false, powerOfTwo(4<<10, 128<<10), "a power of two from 4096 to 131072, in bytes"},
}

func oneOf(values ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(values, s) }
}

// powerOfTwo takes decimal numbers without a sign or zeros before them.
func powerOfTwo(least, most int64) func(string) bool {
	return func(s string) bool {
		n, err := strconv.ParseInt(s, 10, 64)
		return err == nil && strconv.FormatInt(n, 10) == s && n >= least && n <= most && n&(n-1) == 0
	}
}

func isCompression(s string) bool {
	if oneOf("on", "off", "lz4", "zle", "lzjb", "zstd", "gzip")(s) {
		return true
	}
	name, level, _ := strings.Cut(s, "-")
	n, err := strconv.Atoi(level)
	return err == nil && strconv.Itoa(n) == level && n >= 1 && (name == "zstd" && n <= 19 || name == "gzip" && n <= 9)
}

// parameters is what a StorageClass says.
type parameters struct {
	parent, fileSystem string
	// sparse is nil where nothing is said.
	sparse *bool
	// properties are those of ZFS.
	properties map[string]string
	// text is all of it in one form, so that it can be compared.
	text string
}

// empty says whether there are no parameters but those that are for others.
func empty(given map[string]string) bool {
	for name := range given {
		if !strings.HasPrefix(name, sidecar) {
			return false
		}
	}
	return true
}

// parametersOf reads parameters of a class, over which mutable ones go.
func (d *Driver) parametersOf(given, mutable map[string]string) (parameters, error) {
	p := parameters{parent: d.Parents[0], properties: map[string]string{}}
	text := url.Values{}
	for name, value := range given {
		if strings.HasPrefix(name, sidecar) {
			continue
		}
		if err := d.parameter(&p, name, value); err != nil {
			return p, err
		}
		text.Set(name, value)
	}
	if err := checkMutable(mutable); err != nil {
		return p, err
	}
	for name, value := range mutable {
		p.properties[name] = value
		text.Set(name, value)
	}
	p.text = text.Encode()
	if p.text == "" {
		p.text = none
	}
	return p, nil
}

func (d *Driver) parameter(p *parameters, name, value string) error {
	switch name {
	case parameterParent:
		if parents := d.parents(); !slices.Contains(parents, value) {
			return refuse("parameter parent %.80q: expected %s", value, strings.Join(parents, " or "))
		}
		p.parent = value
	case parameterFileSystem:
		p.fileSystem = value
		return d.checkMount(access{fileSystem: value})
	case parameterSparse:
		if value != "true" && value != "false" {
			return refuse("parameter sparse %.64q: expected true or false", value)
		}
		sparse := value == "true"
		p.sparse = &sparse
	default:
		if err := checkProperty(name, value, false); err != nil {
			return err
		}
		p.properties[name] = value
	}
	return nil
}

// checkMutable checks parameters that are to be changed.
func checkMutable(given map[string]string) error {
	for name, value := range given {
		if err := checkProperty(name, value, true); err != nil {
			return err
		}
	}
	return nil
}

func checkProperty(name, value string, mutable bool) error {
	var names []string
	for _, p := range properties {
		if mutable && !p.mutable {
			continue
		}
		if p.name == name {
			if !p.valid(value) {
				return refuse("parameter %s %.64q: expected %s", name, value, p.expect)
			}
			return nil
		}
		names = append(names, p.name)
	}
	if !mutable {
		names = append(names, parameterParent, parameterFileSystem, parameterSparse)
	}
	return refuse("parameter %.64q is none that can be chosen: expected %s", name, strings.Join(names, ", "))
}

// checkKind says which property is none of a kind of dataset.
func checkKind(given map[string]string, kind zfs.Kind) error {
	for _, p := range properties {
		if _, ok := given[p.name]; ok && p.kind != "" && p.kind != kind {
			return refuse("parameter %s is of a %s, and this volume is a %s", p.name, p.kind, kind)
		}
	}
	return nil
}
