package dataset

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/size"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Reason names a condition, for programs.
type Reason string

// The reasons.
const (
	// RootMissing: the pool is not imported, or cannot be looked at.
	RootMissing Reason = "RootMissing"
	// ParentMissing: the dataset above is neither there nor declared, or is no file system.
	ParentMissing Reason = "ParentMissing"
	// KindDiffers: there is a volume where a file system is declared, or the other way round.
	KindDiffers Reason = "KindDiffers"
	// FixedProperty: a property differs that is fixed when a dataset is made.
	FixedProperty Reason = "FixedProperty"
	// WouldShrink: a volume is declared smaller than it is.
	WouldShrink Reason = "WouldShrink"
	// TargetTaken: something else is mounted where it should be.
	TargetTaken Reason = "TargetTaken"
	// AboveUnmounted: it is to be mounted in another that is not mounted.
	AboveUnmounted Reason = "AboveUnmounted"
	// Refused: ZFS has refused an operation, or it could not be mounted, which is tried again after a while.
	Refused Reason = "Refused"
	// LeftToReplication: properties differ, or the dataset is not there, and replication has it now. Nothing is wrong with that: the document counts when the role is
	// here.
	LeftToReplication Reason = "LeftToReplication"
	// LeftReadOnly: properties differ, or the dataset is not there, and its pool is declared to be read only. Nothing is wrong with that either.
	LeftReadOnly Reason = "LeftReadOnly"
	// NotDeclared: the dataset is there and in no document, nor received. It is left alone.
	NotDeclared Reason = "NotDeclared"
)

// note says that nothing is wrong with it.
func (r Reason) note() bool { return r == LeftToReplication || r == LeftReadOnly || r == NotDeclared }

// Condition is something that a person should know of a dataset, and mostly has to decide.
type Condition struct {
	Dataset string
	Reason  Reason
	// Message says what is so, and what can be done about it.
	Message string
}

// String is the condition for logs and tests.
func (c Condition) String() string { return fmt.Sprintf("%s: %s: %s", c.Dataset, c.Reason, c.Message) }

// walker goes through the declared datasets, parents first.
type walker struct {
	spec     Spec
	obs      Observed
	declared map[string]bool
	// coming are those that are about to be made.
	coming map[string]zfs.Kind
}

func newWalker(spec Spec, obs Observed) walker {
	w := walker{spec, obs, map[string]bool{}, map[string]zfs.Kind{}}
	for _, d := range spec.Datasets {
		w.declared[d.Name] = true
	}
	return w
}

// obstacle says why nothing can be done for a declared dataset; nil if there is no such reason.
func (w walker) obstacle(d Dataset) *Condition {
	condition := func(r Reason, format string, args ...any) *Condition {
		return &Condition{d.Name, r, fmt.Sprintf(format, args...)}
	}
	for _, root := range sorted(w.obs.Missing) {
		if d.Name == root || isBelow(d.Name, root) {
			return condition(RootMissing, "%s: %s", root, w.obs.Missing[root])
		}
	}
	state, found := w.obs.Datasets[d.Name]
	if found && state.Kind != d.Kind {
		return condition(KindDiffers, "a %s is declared, and there is a %s; declare another name, or destroy that once it is in no document", d.Kind, state.Kind)
	}
	readOnly := w.spec.readOnly(d.Name)
	if why := w.obs.Refused[d.Name]; why != "" && !readOnly { // else it was refused before its pool was declared so
		return condition(Refused, "%s", why)
	}
	if found {
		return nil
	}
	if readOnly {
		return condition(LeftReadOnly, "it is not there, and nothing is made in a pool that is declared read-only")
	}
	if at := w.nearest(d.Name); w.obs.Datasets[at].keepsBelow() {
		return condition(LeftToReplication, "it is not there, and nothing is made below %s, as %s", at, w.obs.Datasets[at].Kept)
	}
	parent := parentOf(d.Name)
	kind, comes := w.coming[parent]
	if above, there := w.obs.Datasets[parent]; there {
		kind, comes = above.Kind, true
	}
	switch {
	case parent == "":
		return condition(RootMissing, "there is no pool %s", d.Name)
	case !comes && w.declared[parent]:
		return condition(ParentMissing, "%s has to be made first, and cannot be now", parent)
	case !comes:
		return condition(ParentMissing, "%s is not there; declare it, too", parent)
	case kind != zfs.Filesystem:
		return condition(ParentMissing, "%s is a %s, which has nothing below it", parent, kind)
	}
	return nil
}

// nearest is the dataset that a dataset which is not there would be made in or below; empty if there is none.
func (w walker) nearest(name string) string {
	at := parentOf(name)
	for at != "" {
		if _, there := w.obs.Datasets[at]; there {
			return at
		}
		at = parentOf(at)
	}
	return ""
}

// differences are what of a dataset cannot be brought about, though all else is.
func differences(d Dataset, s State) []Condition {
	var out []Condition
	for _, name := range sorted(d.Properties) {
		want, got := d.canonical(name, d.Properties[name]), s.Properties[name].Value
		if d.fixed(name) && want != got {
			out = append(out, Condition{d.Name, FixedProperty, fmt.Sprintf(
				"%s is %s, and declared as %s; it is fixed when a dataset is made: make another, and copy what is in this one", name, shown(name, got), shown(name, want))})
		}
	}
	if want, got := wantedSize(d, s), s.bytes("volsize"); d.Kind == zfs.Volume && want < got {
		out = append(out, Condition{d.Name, WouldShrink, fmt.Sprintf(
			"it has %s, and is declared with %s; a volume is never shrunk, since what lies behind its end would be lost", size.Text(got), size.Text(want))})
	}
	return out
}

// keptCondition names the declared properties that are left to replication, as they are; nil if none differs.
func keptCondition(d Dataset, s State) *Condition {
	differ := differing(d, s, s.keeps)
	if len(differ) == 0 {
		return nil
	}
	return &Condition{d.Name, LeftToReplication, fmt.Sprintf("%s; left so, as %s", strings.Join(differ, "; "), s.Kept)}
}

// readOnlyCondition names what is not as declared where nothing is changed; nil if all is.
func readOnlyCondition(d Dataset, s State) *Condition {
	differ := differing(d, s, func(string) bool { return true })
	if want, got := wantedSize(d, s), s.bytes("volsize"); d.Kind == zfs.Volume && want != got {
		differ = append(differ, fmt.Sprintf("it has %s, and is declared with %s", size.Text(got), size.Text(want)))
	}
	if len(differ) == 0 {
		return nil
	}
	return &Condition{d.Name, LeftReadOnly, strings.Join(differ, "; ") + "; left so, as its pool is declared read-only"}
}

// differing names those of some properties that are not as declared.
func differing(d Dataset, s State, of func(name string) bool) []string {
	var out []string
	for _, name := range sorted(d.Properties) {
		want, got := d.canonical(name, d.Properties[name]), s.Properties[name].Value
		if of(name) && want != got {
			out = append(out, fmt.Sprintf("%s is %s, and declared as %s", name, shown(name, got), shown(name, want)))
		}
	}
	return out
}

// wantedSize is the size of a volume in whole blocks: zfs create rounds up to them (zfs-create(8)), and zfs set refuses what is none.
func wantedSize(d Dataset, s State) uint64 {
	block := s.bytes("volblocksize")
	if block == 0 {
		return d.SizeBytes
	}
	return (d.SizeBytes + block - 1) / block * block
}

// Conditions returns all conditions, those of declared datasets first, each by name.
func Conditions(spec Spec, obs Observed) []Condition {
	var out []Condition
	w := newWalker(spec, obs)
	for _, d := range spec.sorted() {
		c := w.obstacle(d)
		if c != nil {
			out = append(out, *c)
		}
		state, found := obs.Datasets[d.Name]
		if c == nil && !found {
			w.coming[d.Name] = d.Kind
		}
		if !found || c != nil && c.Reason != Refused {
			continue
		}
		kept := keptCondition(d, state)
		if spec.readOnly(d.Name) {
			kept = readOnlyCondition(d, state)
		} else {
			out = append(out, differences(d, state)...)
		}
		if kept != nil {
			out = append(out, *kept)
		}
		if c := mountCondition(d, spec, obs); c != nil {
			out = append(out, *c)
		}
	}
	for _, name := range sorted(obs.Datasets) {
		if w.declared[name] || slices.Contains(spec.Roots, name) || !strings.Contains(name, "/") || obs.Datasets[name].Received {
			continue // a pool's own dataset comes with it, and so does the place for others' in the system's pool; a replica comes with its job
		}
		out = append(out, Condition{name, NotDeclared, "it is in no document, and is left alone"})
	}
	return out
}
