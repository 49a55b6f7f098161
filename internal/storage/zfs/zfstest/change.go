package zfstest

import (
	"context"
	"fmt"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// Create implements zfs.System.
func (m *Model) Create(ctx context.Context, name string, o zfs.CreateOptions) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	kind := zfs.Filesystem
	if o.SizeBytes > 0 {
		kind = zfs.Volume
	}
	d, err := m.newDataset(name, kind, o.Properties)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	d.size = o.SizeBytes
	return nil
}

// newDataset makes a dataset and checks all that goes with its place and properties.
func (m *Model) newDataset(name string, kind zfs.Kind, properties map[string]string) (*dataset, error) {
	if err := checkName(name, 0); err != nil {
		return nil, err
	}
	if m.datasets[name] != nil {
		return nil, zfs.ErrExist
	}
	parent := m.datasets[parentOf(name)]
	switch {
	case parent == nil:
		return nil, fmt.Errorf("parent: %w", zfs.ErrNotExist)
	case parent.kind != zfs.Filesystem:
		return nil, fmt.Errorf("%w: parent is a %s", zfs.ErrInvalid, parent.kind)
	}
	d := &dataset{name: name, kind: kind, created: m.now, encryption: parent.encryption, root: parent.root}
	for property, value := range properties {
		if err := checkSettable(property, true); err != nil {
			return nil, err
		}
		if property != "encryption" {
			d.set(property, value, false)
		}
	}
	if err := d.encrypt(properties); err != nil {
		return nil, err
	}
	d.guid, d.txg = m.newGUID(), m.next()
	m.datasets[name] = d
	return d, nil
}

// encrypt gives a new dataset the encryption that it asks for (dmu_objset_create_crypt_check).
func (d *dataset) encrypt(properties map[string]string) error {
	format := properties["keyformat"]
	switch cipher := properties["encryption"]; {
	case cipher == "off" && format != "" && format != "none":
		return fmt.Errorf("%w: a key without encryption", zfs.ErrInvalid)
	case cipher == "off":
		d.encryption, d.root = "off", nil
	case cipher != "" && format == "" && d.root == nil:
		return fmt.Errorf("%w: encryption needs a keyformat", zfs.ErrInvalid)
	case cipher == "on":
		d.encryption = "aes-256-gcm"
	case cipher != "":
		d.encryption = cipher
	}
	if format != "" && format != "none" {
		if d.encryption == "off" {
			return fmt.Errorf("%w: a key without encryption", zfs.ErrInvalid)
		}
		d.root = d
	}
	return nil
}

// Set implements zfs.System.
func (m *Model) Set(_ context.Context, name string, properties map[string]string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for property := range properties {
		if err := checkSettable(property, false); err != nil {
			return fmt.Errorf("set on %s: %w", name, err)
		}
	}
	if strings.Contains(name, "@") {
		return m.setOnSnapshot(name, properties)
	}
	d, err := m.dataset(name)
	if err != nil {
		return err
	}
	if value, ok := properties["volsize"]; ok {
		if err := d.resize(m, value); err != nil {
			return err
		}
	}
	for property, value := range properties {
		if property != "volsize" {
			d.set(property, value, false)
		}
	}
	m.next()
	return nil
}

func (m *Model) setOnSnapshot(name string, properties map[string]string) error {
	s, err := m.snapshot(name)
	if err != nil {
		return err
	}
	for property, value := range properties {
		if !isUser(property) {
			return fmt.Errorf("set %s on %s: %w: a snapshot has none of its own", property, name, zfs.ErrInvalid)
		}
		s.user[property] = setting{local: &value}
	}
	return nil
}

// Inherit implements zfs.System. A property that is not inherited is refused (zfs_do_inherit in cmd/zfs/zfs_main.c).
func (m *Model) Inherit(_ context.Context, name, property string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := checkSettable(property, false); err != nil {
		return err
	}
	if !isUser(property) && !natives[property].inherits {
		return fmt.Errorf("inherit %s on %s: %w: it cannot be inherited", property, name, zfs.ErrInvalid)
	}
	d, err := m.dataset(name)
	if err != nil {
		return err
	}
	d.unset(property)
	m.next()
	return nil
}

// Rename implements zfs.System.
func (m *Model) Rename(_ context.Context, from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if strings.Contains(from, "@") {
		return m.renameSnapshot(from, to)
	}
	if err := checkName(to, 0); err != nil {
		return err
	}
	switch parent := m.datasets[parentOf(to)]; {
	case m.datasets[from] == nil:
		return fmt.Errorf("rename %s: %w", from, zfs.ErrNotExist)
	case m.datasets[to] != nil:
		return fmt.Errorf("rename %s to %s: %w", from, to, zfs.ErrExist)
	case parent == nil:
		return fmt.Errorf("rename %s to %s: parent: %w", from, to, zfs.ErrNotExist)
	case strings.HasPrefix(to, from+"/") || parentOf(from) == "" || parent.kind != zfs.Filesystem:
		return fmt.Errorf("rename %s to %s: %w", from, to, zfs.ErrInvalid)
	}
	for _, d := range m.below(from) {
		delete(m.datasets, d.name)
		d.name = to + strings.TrimPrefix(d.name, from)
		m.datasets[d.name] = d
	}
	m.next()
	return nil
}

func (m *Model) renameSnapshot(from, to string) error {
	s, err := m.snapshot(from)
	if err != nil {
		return err
	}
	of, short, _ := strings.Cut(to, "@")
	switch {
	case checkName(to, '@') != nil || of != s.of.name:
		return fmt.Errorf("rename %s to %s: %w", from, to, zfs.ErrInvalid)
	case s.of.snapshot(short) != nil:
		return fmt.Errorf("rename %s to %s: %w", from, to, zfs.ErrExist)
	}
	s.name = short
	m.next()
	return nil
}
