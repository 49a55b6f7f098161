package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/cyvive/cyvive/internal/storage"
)

// headerBytes is by how much an encrypted volume is smaller than its partition.
const headerBytes = 4 << 20

// crypt is the TPM of a machine, and its encrypted volumes by name.
type crypt struct {
	open     map[string]storage.Partition
	refused  map[string]string
	enrolled map[string]bool
	// keys are the volumes whose keys lie on the state volume.
	keys   map[string]bool
	capped bool
	// changed says that the machine starts something else than the TPM demands; leaked counts what was asked of the TPM after the cap.
	changed bool
	leaked  int
	// by is what opens the state volume, missing what it lacks for that, and waits what the last attempt said of it.
	by             storage.Mode
	missing, waits string
	// server is the key server that it was made with.
	server storage.KeyServer
	// unnoted says that a recovery key waits to be noted in the place of another.
	unnoted bool
}

func newCrypt() crypt {
	return crypt{open: map[string]storage.Partition{}, refused: map[string]string{}, enrolled: map[string]bool{}, keys: map[string]bool{}}
}

// reset is a boot.
func (c *crypt) reset() {
	c.open, c.refused, c.capped, c.waits = map[string]storage.Partition{}, map[string]string{}, false, ""
}

func (c *crypt) print(w io.Writer, contents map[string]storage.Contents) {
	for _, v := range slices.Sorted(maps.Keys(c.open)) {
		inner := contents[c.open[v].Device]
		fmt.Fprintf(w, "encrypted %s %d MiB signature=%q formatting=%t enrolled=%t\n",
			v, c.open[v].SizeBytes>>20, inner.Signature, inner.Formatting, c.enrolled[v])
	}
}

// ChangePCRs has the TPM open nothing any more, from the next boot on; or, with false, do so again.
func (m *Machine) ChangePCRs(changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crypt.changed = changed
}

// Missing has nothing but the TPM open the state volume until it is called with an empty text: what is missing is a key server's answer, say.
func (m *Machine) Missing(what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crypt.missing = what
}

// Unnoted has a recovery key wait to be noted in the place of another, or no more.
func (m *Machine) Unnoted(waits bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crypt.unnoted = waits
}

// Leaked is how often the state volume was opened by the TPM after it had been told to give out nothing.
func (m *Machine) Leaked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.crypt.leaked
}

// holders are partitions and open volumes.
func (m *Machine) holders() []storage.Partition {
	out := slices.Clone(m.partitions)
	for _, p := range m.crypt.open {
		out = append(out, p)
	}
	return out
}

// Volume implements storage.Crypt.
func (m *Machine) Volume(_ context.Context, volume, _ string) (storage.CryptState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := storage.CryptState{
		Mapped: m.crypt.open[volume], Refused: m.crypt.refused[volume], Enrolled: m.crypt.enrolled[volume], HeaderBytes: headerBytes,
	}
	if volume == storage.State {
		s.By, s.Waits, s.Server, s.Unnoted = m.crypt.by, m.crypt.waits, m.crypt.server, m.crypt.unnoted
	}
	return s, nil
}

func mapped(volume string) string { return "/dev/mapper/" + volume }

// Encrypt implements storage.Crypt. Interrupted, it leaves a header that nothing opens, and its mark.
func (m *Machine) Encrypt(_ context.Context, volume, device string, how storage.Encryption) error {
	return m.change(func() error {
		switch {
		case volume != storage.State && m.mounts["/state"] == (storage.MountState{}):
			return errors.New("encrypt: there is no place for the key")
		case volume == storage.State && how.Mode != storage.TPM && m.crypt.missing != "":
			return errors.New("encrypt: " + m.crypt.missing)
		case volume == storage.State:
			m.crypt.by, m.crypt.server = how.Mode, how.Server
		}
		m.crypt.enrolled[volume], m.crypt.keys[volume] = false, true
		m.contents[mapped(volume)] = storage.Contents{Blank: true}
		return m.edit(device, func(c *storage.Contents) { *c = storage.Contents{Signature: storage.Encrypted} })
	}, func() error {
		return m.edit(device, func(c *storage.Contents) { *c = storage.Contents{Signature: storage.Encrypted, Formatting: true} })
	})
}

// Unlock implements storage.Crypt.
func (m *Machine) Unlock(_ context.Context, volume, device string, _ storage.Encryption) error {
	return m.change(func() error {
		sealed := volume == storage.State && m.crypt.by != storage.KMS && m.crypt.by != storage.Passphrase
		switch {
		case volume == storage.State && !sealed && m.crypt.missing != "":
			m.crypt.waits = m.crypt.missing
			return errors.New("unlock: " + m.crypt.missing)
		case sealed && m.crypt.capped:
			m.crypt.leaked++
		case sealed && m.crypt.changed:
			m.crypt.refused[volume] = "PCR 11 is another"
			return nil
		case volume != storage.State && m.mounts["/state"] == (storage.MountState{}):
			return errors.New("unlock: the key is on a volume that is not mounted")
		case volume != storage.State && !m.crypt.keys[volume]:
			m.crypt.refused[volume] = "volume state has no key for it"
			return nil
		}
		m.crypt.open[volume] = storage.Partition{
			Device: mapped(volume), Numbers: "253:" + volume, SizeBytes: m.size(device) - headerBytes,
		}
		if volume == storage.State {
			m.crypt.waits = ""
		}
		return nil
	}, nil)
}

// Keyed says that the state volume has the key of a volume.
func (m *Machine) Keyed(volume string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.crypt.keys[volume]
}

// ForgetKey takes the key of a volume from the state volume.
func (m *Machine) ForgetKey(volume string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.crypt.keys, volume)
}

// Recover opens a volume as somebody does who has its recovery key.
func (m *Machine) Recover(volume, device string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crypt.open[volume] = storage.Partition{Device: mapped(volume), Numbers: "253:" + volume, SizeBytes: m.size(device) - headerBytes}
}

// Extend implements storage.Crypt.
func (m *Machine) Extend(_ context.Context, volume string) error {
	return m.change(func() error {
		for _, p := range m.partitions {
			if p.Name == volume {
				open := m.crypt.open[volume]
				open.SizeBytes = p.SizeBytes - headerBytes
				m.crypt.open[volume] = open
			}
		}
		return nil
	}, nil)
}

// Enrol implements storage.Crypt.
func (m *Machine) Enrol(_ context.Context, volume, _ string) error {
	return m.change(func() error {
		m.crypt.enrolled[volume] = true
		return nil
	}, nil)
}

// Capped implements storage.Crypt.
func (m *Machine) Capped() (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.crypt.capped, nil
}

// Cap implements storage.Crypt.
func (m *Machine) Cap(context.Context) error {
	return m.change(func() error {
		m.crypt.capped = true
		return nil
	}, nil)
}

// GrowDisk gives the last partition room to grow by.
func (m *Machine) GrowDisk(bytes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.partitions[len(m.partitions)-1].GrowableBytes += bytes
}
