package pool

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/disk"
)

// slot is one disk of a declaration.
type slot struct {
	selector disk.Selector
	// disk is the one that is meant; found says whether there is exactly one.
	disk  Disk
	found bool
	// why says why there is none, and several are those that match where it is one too many.
	why     string
	several []Disk
}

// resolver gives each selector of a declaration its disk.
type resolver struct {
	disks []Disk
	// taken are disks that an earlier selector has, by key, and who.
	taken map[string]string
}

func newResolver(disks []Disk) *resolver {
	return &resolver{disks: disks, taken: map[string]string{}}
}

// resolve finds the one disk that a selector means. The system disk is never meant, and no disk twice.
func (r *resolver) resolve(s disk.Selector, who string) slot {
	var matching []Disk
	var lines []string
	for _, d := range r.disks {
		why := s.Mismatches(d.Identity)
		if d.System {
			why = append([]string{"the node runs from it"}, why...)
		}
		if len(why) == 0 {
			matching = append(matching, d)
			why = []string{"it matches"}
		}
		lines = append(lines, d.String()+": "+strings.Join(why, "; "))
	}
	out := slot{selector: s}
	switch {
	case len(r.disks) == 0:
		out.why = fmt.Sprintf("no disk matches %s: the machine has no disk that is known", s)
	case len(matching) == 0:
		out.why = fmt.Sprintf("no disk matches %s:\n  %s", s, strings.Join(lines, "\n  "))
	case len(matching) > 1:
		out.several = matching
		out.why = fmt.Sprintf("%d disks match %s, exactly one has to:\n  %s", len(matching), s, strings.Join(lines, "\n  "))
	default:
		d := matching[0]
		if by := r.taken[d.Key()]; by != "" {
			out.why = fmt.Sprintf("%s is meant by %s already, and by %s too", d, by, s)
			break
		}
		r.taken[d.Key()] = who
		out.disk, out.found = d, true
	}
	return out
}

// resolveAll resolves several.
func (r *resolver) resolveAll(selectors []disk.Selector, who string) []slot {
	var out []slot
	for _, s := range selectors {
		out = append(out, r.resolve(s, who))
	}
	return out
}

// usable says why a disk cannot be given to a pool, whatever a person confirms; empty if it can.
func (d Disk) usable() string {
	switch {
	case d.System:
		return fmt.Sprintf("%s is the one that the node runs from", d)
	case d.Problem != "":
		return fmt.Sprintf("%s cannot be looked at: %s", d, d.Problem)
	case d.ReadOnly:
		return fmt.Sprintf("%s can only be read", d)
	case d.Use != "":
		return fmt.Sprintf("%s is in use: %s", d, d.Use)
	}
	return ""
}

// member says that a disk is a leaf of an imported pool of another GUID, or of this one.
func (o Observed) member(d Disk) (pool string, leaf Vdev, ok bool) {
	for _, p := range o.Pools {
		for _, l := range p.Leaves() {
			if on, found := o.diskOf(l); found && on.Key() == d.Key() {
				return p.Name, l, true
			}
		}
	}
	return "", Vdev{}, false
}

// loss says in words what is lost of disks that are given to a pool; empty if they are blank.
func loss(disks []Disk) string {
	var words []string
	for _, d := range disks {
		if d.Label != nil && d.Label.Pool != "" {
			words = append(words, fmt.Sprintf("%s holds part of pool %s (%s), %s", d, d.Label.Pool, d.Label.PoolGUID, d.Label.State))
		} else if d.Contents != "" {
			words = append(words, fmt.Sprintf("%s holds %s", d, d.Contents))
		}
	}
	slices.Sort(words)
	return strings.Join(words, "; ")
}
