package dataset

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/size"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Verb is the kind of an operation.
type Verb string

// The operations. Diff returns none of the last two.
const (
	Create           Verb = "create"
	Set              Verb = "set on"
	Inherit          Verb = "inherit on"
	Unmount          Verb = "unmount"
	Seal             Verb = "seal"
	Mount            Verb = "mount"
	DestroySnapshots Verb = "destroy snapshots of"
	Destroy          Verb = "destroy"
)

// Op is one operation on one dataset.
type Op struct {
	Verb    Verb
	Dataset string
	// Kind, SizeBytes and Sparse are those of Create.
	Kind      zfs.Kind
	SizeBytes uint64
	Sparse    bool
	// Properties are what Create and Set set.
	Properties map[string]string
	// Property is what Inherit takes away.
	Property string
	// Snapshots are whole names.
	Snapshots []string
	// Target is that of Seal, Mount and Unmount, Options are those of Mount.
	Target  string
	Options []string
}

// String prints the operation for logs and tests.
func (o Op) String() string {
	var words []string
	for _, name := range sorted(o.Properties) {
		if name != ManagedProperty {
			words = append(words, name+"="+shown(name, o.Properties[name]))
		}
	}
	list := strings.Join(words, " ")
	switch {
	case o.Verb == Create && o.Kind == zfs.Volume:
		how := size.Text(o.SizeBytes)
		if o.Sparse {
			how += ", sparse"
		}
		return strings.TrimSpace(fmt.Sprintf("create volume %s (%s) %s", o.Dataset, how, list))
	case o.Verb == Create:
		return strings.TrimSpace(fmt.Sprintf("create file system %s %s", o.Dataset, list))
	case o.Verb == Set && list == "":
		return fmt.Sprintf("mark what is managed of %s", o.Dataset)
	case o.Verb == Set:
		return fmt.Sprintf("%s %s: %s", o.Verb, o.Dataset, list)
	case o.Verb == Inherit:
		return fmt.Sprintf("%s %s: %s", o.Verb, o.Dataset, o.Property)
	case o.Verb == Seal, o.Verb == Mount, o.Verb == Unmount:
		return mountText(o)
	case o.Verb == DestroySnapshots:
		return fmt.Sprintf("%s %s (%d)", o.Verb, o.Dataset, len(o.Snapshots))
	}
	return fmt.Sprintf("%s %s", o.Verb, o.Dataset)
}

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// sorted returns the datasets with parents before children.
func (s Spec) sorted() []Dataset {
	return slices.SortedFunc(slices.Values(s.Datasets), func(a, b Dataset) int { return strings.Compare(a.Name, b.Name) })
}

// Diff returns the operations from obs to spec.
func (r *Reconciler) Diff(spec Spec, obs Observed) []Op { return Diff(spec, obs) }

// Diff is the pure function of [Reconciler.Diff]: first what gives space free, then all else, parents before children, and mounts last.
func Diff(spec Spec, obs Observed) []Op {
	var first, then []Op
	w := newWalker(spec, obs)
	for _, d := range spec.sorted() {
		if w.obstacle(d) != nil {
			continue
		}
		state, found := obs.Datasets[d.Name]
		if !found {
			w.coming[d.Name] = d.Kind
			then = append(then, createOp(d))
			continue
		}
		if spec.readOnly(d.Name) {
			continue
		}
		free, rest := changes(d, state)
		first, then = append(first, free...), append(then, rest...)
	}
	return append(append(first, then...), mountOps(spec, obs)...)
}

func createOp(d Dataset) Op {
	properties := maps.Clone(d.Properties)
	if properties == nil {
		properties = map[string]string{}
	}
	properties[ManagedProperty] = strings.Join(managed(d), ",")
	return Op{Verb: Create, Dataset: d.Name, Kind: d.Kind, SizeBytes: d.SizeBytes, Sparse: d.Sparse, Properties: properties}
}

// managed are the properties that are declared and can be taken away again.
func managed(d Dataset) []string {
	return slices.DeleteFunc(sorted(d.Properties), d.fixed)
}

// changes are the operations on a dataset that is there: those that give space free, and the others. The mark is always a superset of what the node has set:
// it is written together with what it names, and only what is cleared with it, or inherited before, is left out.
func changes(d Dataset, s State) (free, rest []Op) {
	values, cleared, inherit := wanted(d, s)
	loose, tight := map[string]string{}, map[string]string{}
	for name, value := range values {
		if givesFree(name, value, s.Properties[name].Value) {
			loose[name] = value
		} else {
			tight[name] = value
		}
	}
	if want := wantedSize(d, s); d.Kind == zfs.Volume && want > s.bytes("volsize") {
		tight["volsize"] = strconv.FormatUint(want, 10)
	}
	names := marked(d, s)
	mark := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(s.Managed), names...))))
	set := func(properties map[string]string) Op {
		mark = slices.DeleteFunc(mark, func(name string) bool { return properties[name] != "" && slices.Contains(cleared, name) })
		properties[ManagedProperty] = strings.Join(mark, ",")
		return Op{Verb: Set, Dataset: d.Name, Properties: properties}
	}
	if len(loose) > 0 {
		free = append(free, set(loose))
	}
	if len(tight) > 0 {
		rest = append(rest, set(tight))
	}
	for _, name := range inherit {
		rest = append(rest, Op{Verb: Inherit, Dataset: d.Name, Property: name})
	}
	if len(free) == 0 && len(rest) == 0 && (!s.Marked || !slices.Equal(s.Managed, names)) {
		mark = names
		rest = append(rest, set(map[string]string{}))
	}
	return free, rest
}

// marked is what the mark of a dataset comes to. Properties that replication keeps now are neither set nor taken away: their part of the mark stays.
func marked(d Dataset, s State) []string {
	names := slices.DeleteFunc(managed(d), s.keeps)
	for _, name := range s.Managed {
		if s.keeps(name) {
			names = append(names, name)
		}
	}
	return slices.Sorted(slices.Values(names))
}

// wanted are the properties that are to get another value, of which some are cleared by it, and those that are to be inherited again.
func wanted(d Dataset, s State) (values map[string]string, cleared, inherit []string) {
	values = map[string]string{}
	for _, name := range managed(d) {
		if s.keeps(name) {
			continue
		}
		want, have := d.Properties[name], s.Properties[name]
		// A limit or guarantee is never inherited, and so is known by its value alone.
		local := have.Source == zfs.SourceLocal || isLimit(name) || isGuarantee(name)
		if !local || have.Value != d.canonical(name, want) {
			values[name] = want
		}
	}
	for _, name := range s.Managed {
		_, declared := d.Properties[name]
		if declared || d.fixed(name) || s.keeps(name) || s.Properties[name].Source != zfs.SourceLocal {
			continue
		}
		value, ok := d.cleared(name)
		switch {
		case !ok:
			inherit = append(inherit, name)
		case d.canonical(name, value) != s.Properties[name].Value:
			values[name] = value
			cleared = append(cleared, name)
		}
	}
	return values, cleared, inherit
}

// givesFree says that a change leaves others more room.
func givesFree(name, want, have string) bool {
	return isLimit(name) && number(name, want) > number(name, have) || isGuarantee(name) && number(name, want) < number(name, have)
}
