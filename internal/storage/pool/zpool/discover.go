package zpool

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/pool"
	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// where makes the options that say on which devices, or in which directories, pools are looked for.
func where(devices []string) ([]string, error) {
	var out []string
	for _, d := range devices {
		if !strings.HasPrefix(d, "/") || strings.ContainsAny(d, "\x00\n") {
			return nil, fmt.Errorf("look for pools on %q: %w: expected an absolute path", d, zfs.ErrInvalid)
		}
		out = append(out, "-d", d)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("look for pools: %w: no device is named", zfs.ErrInvalid)
	}
	return out, nil
}

// Importable implements pool.Pools. It asks twice: destroyed pools are listed by themselves only.
func (z *Zpool) Importable(ctx context.Context, devices []string) ([]pool.Importable, error) {
	places, err := where(devices)
	if err != nil {
		return nil, err
	}
	var out []pool.Importable
	for _, options := range [][]string{{"import"}, {"import", "-D"}} {
		text, err := z.run(ctx, append(options, places...))
		if err != nil && !strings.Contains(err.Error(), "no pools available to import") {
			return nil, fmt.Errorf("look for pools: %w", err)
		}
		found, err := parseImportable(text)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// field is a line of show_import that begins a part of it. With a comment, a pool has one more space before each.
var field = regexp.MustCompile(`^ {0,8}(pool|id|state|status|action|comment|see|config): ?(.*)$`)

// discovery reads what show_import prints for one pool after the other.
type discovery struct {
	pools []pool.Importable
	// part is the one that lines with a tab belong to; words and action are its texts.
	part          string
	words, action []string
	config        []string
}

// parseImportable reads the text of zpool import without a pool.
func parseImportable(text []byte) ([]pool.Importable, error) {
	var d discovery
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if err := d.line(line); err != nil {
			return nil, fmt.Errorf("read the output of zpool import: %w", err)
		}
	}
	d.end()
	return d.pools, nil
}

func (d *discovery) line(line string) error {
	if rest, tab := strings.CutPrefix(line, "\t"); tab {
		switch d.part {
		case "status":
			d.words = append(d.words, strings.TrimSpace(rest))
		case "action":
			d.action = append(d.action, strings.TrimSpace(rest))
		case "config":
			d.config = append(d.config, strings.TrimRight(rest, " \t"))
		}
		return nil
	}
	m := field.FindStringSubmatch(line)
	if m == nil {
		// Features come behind what is left in memory that show_import does not clear (cmd/zpool/zpool_main.c, 2.3.9: buf), mostly nothing.
		if i := strings.LastIndexByte(line, '\t'); i >= 0 && d.part == "status" {
			d.words = append(d.words, strings.TrimSpace(line[i:]))
		}
		return nil // or an empty line, or one that a later version adds
	}
	if m[1] == "pool" {
		d.end()
		d.pools = append(d.pools, pool.Importable{Name: m[2]})
	}
	if len(d.pools) == 0 {
		return fmt.Errorf("%.80q before a pool", line)
	}
	d.part = m[1]
	p := &d.pools[len(d.pools)-1]
	switch m[1] {
	case "id":
		guid, err := strconv.ParseUint(m[2], 10, 64)
		if err != nil {
			return fmt.Errorf("id %.40q of pool %.80q is no number", m[2], p.Name)
		}
		p.GUID = zfs.GUID(guid)
	case "state":
		state, destroyed := strings.CutSuffix(m[2], " (DESTROYED)")
		p.State, p.Destroyed = pool.State(state), destroyed
	case "status":
		d.words = append(d.words, m[2])
	case "action":
		d.action = append(d.action, m[2])
	case "comment":
		p.Comment = m[2]
	}
	return nil
}

// end finishes the pool that was read last.
func (d *discovery) end() {
	if len(d.pools) > 0 {
		p := &d.pools[len(d.pools)-1]
		p.Words = sentence(strings.Join(append(d.words, d.action...), " "))
		p.Vdevs = configTree(d.config)
		p.Problem, p.Features, p.Claimed = problem(strings.Join(d.words, "\n"), strings.Join(d.action, " "), judged(*p, d.config))
		for _, v := range p.Vdevs {
			if v.Class == pool.Log && (v.State == pool.Unavailable || v.State == pool.Faulted) {
				p.LostLogs = append(p.LostLogs, v.Name)
			}
			for _, leaf := range v.Leaves() {
				// Where a disk is late, the next may have its name: ZFS finds another device there, which it takes for damage (vdev_validate in module/zfs/vdev.c, 2.3.9).
				if leaf.State == pool.Unavailable || leaf.State == pool.Removed || leaf.State == pool.Faulted && leaf.Reason == "CORRUPT_DATA" {
					p.Missing = append(p.Missing, leaf.Name)
				}
			}
		}
	}
	d.part, d.words, d.action, d.config = "", nil, nil, nil
}
