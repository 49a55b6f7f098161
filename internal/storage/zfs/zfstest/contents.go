package zfstest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Write writes a file into a dataset, as somebody does who has mounted it. One that is read-only is zfs.ErrReadOnly. A volume is in use from its first
// write on: what it takes then does not follow what it inherits (zvol_set_ro and zvol_setup_zv in module/zfs/zvol.c).
func (m *Model) Write(_ context.Context, name, file string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.dataset(name)
	if err != nil {
		return err
	}
	readonly, _ := m.property(d, "readonly")
	recordsize, _ := m.property(d, "recordsize")
	switch {
	case d.inconsistent:
		return fmt.Errorf("write to %s: %w: it is being received", name, zfs.ErrBusy)
	case !d.open && readonly.Value == "on" || d.open && d.shut:
		return fmt.Errorf("write to %s: %w", name, zfs.ErrReadOnly)
	}
	if d.kind == zfs.Volume && !d.open {
		d.open, d.shut = true, false
	}
	d.contents = append(slices.Clip(d.contents), record{Name: file, Data: slices.Clone(data)})
	d.changed, d.logged = m.next(), true
	d.large = d.large || len(recordsize.Value) > 6 || recordsize.Value > "131072" && len(recordsize.Value) == 6
	return nil
}

// Sum is a checksum of what a file system or snapshot holds: its files, whatever the order in which they were written.
func (m *Model) Sum(_ context.Context, name string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.Contains(name, "@") {
		s, err := m.snapshot(name)
		if err != nil {
			return "", err
		}
		return sum(s.contents), nil
	}
	d, err := m.dataset(name)
	if err != nil {
		return "", err
	}
	return sum(d.contents), nil
}

func sum(records []record) string {
	files := map[string][]byte{}
	for _, r := range records {
		files[r.Name] = r.Data
	}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%d %s %d %s\n", len(name), name, len(files[name]), files[name])
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}

// String lists all that there is, in an order that does not change, for comparisons. GUIDs are shortened to their last four digits in hexadecimal.
func (m *Model) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.datasets)) {
		d := m.datasets[name]
		fmt.Fprintf(&out, "%s %s", d.kind, name)
		if d.origin != nil {
			fmt.Fprintf(&out, " origin=%s", d.origin.whole())
		}
		if d.root != nil {
			fmt.Fprintf(&out, " %s root=%s", d.encryption, d.root.name)
		}
		if d.partial != nil {
			fmt.Fprintf(&out, " partial=%04x records=%d", uint16(d.partial.head.To), d.partial.received)
		}
		fmt.Fprintf(&out, " files=%.8s\n", sum(d.contents))
		for _, property := range slices.Sorted(maps.Keys(d.settings)) {
			if v := d.settings[property]; v.local != nil {
				fmt.Fprintf(&out, "  %s=%s\n", property, *v.local)
			} else {
				fmt.Fprintf(&out, "  %s=%s (received)\n", property, *v.received)
			}
		}
		for _, s := range d.snapshots {
			fmt.Fprintf(&out, "  @%s %04x files=%.8s", s.name, uint16(s.guid), sum(s.contents))
			for _, tag := range slices.Sorted(maps.Keys(s.holds)) {
				fmt.Fprintf(&out, " hold=%s", tag)
			}
			out.WriteByte('\n')
		}
		for _, b := range d.bookmarks {
			fmt.Fprintf(&out, "  #%s %04x\n", b.name, uint16(b.guid))
		}
	}
	return out.String()
}
