package keeper

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/cyvive/cyvive/internal/extension"
)

// Kernel is the running system, as far as extensions become part of it.
type Kernel interface {
	// Mount opens an image through dm-verity and mounts it read-only on a directory that is the extension's alone. One that is mounted already by
	// the same root hash is returned as it is; by another, it is an error.
	Mount(name string, i Image) (Mounted, error)
	// Admit lets modules come into the kernel from these devices, the first time in a boot, and lets nothing be admitted from then on. It returns the
	// devices from which they may come, those of an earlier call in this boot.
	Admit(devices []uint32) ([]uint32, error)
	// Load loads a module by the index of a directory, after what it needs. One that is loaded already is no error.
	Load(dir, module string) error
	// Open returns the files that the devices of images are made of in this boot, whoever opened them.
	Open() ([]string, error)
}

// Image is a file system and its hash tree, as files.
type Image struct {
	Data, Tree string
	RootHash   [32]byte
}

// Mounted is an image that is mounted.
type Mounted struct {
	// Dir is where, Device the number of its device as the kernel writes it: major<<20 | minor.
	Dir    string
	Device uint32
}

// State is what became of an extension that is wanted.
type State struct {
	Name extension.Name
	// RootHash is that of the build that was chosen; empty if there is none.
	RootHash string
	// Dir is where it is mounted; empty if it is not.
	Dir string
	// Reason says why it is not in use, or not all of it; empty if it is.
	Reason string
	// Service is what is to run of it; nil if nothing is.
	Service *extension.Service
}

// Activate puts extensions to use, as far as they can be, and says of each what became of it, in the order in which they are wanted. It may be called
// again, and then goes on with what is missing; modules come in the first call of a boot only. The error is for what keeps all of them from use.
func (k *Keeper) Activate(ctx context.Context, wanted []extension.Name) ([]State, error) {
	k.work.Lock()
	defer k.work.Unlock()
	stored, err := k.List()
	if err != nil {
		return nil, err
	}
	states, mounted := make([]State, len(wanted)), make([]*candidate, len(wanted))
	var devices []uint32
	for i, name := range wanted {
		states[i].Name = name
		c, err := k.mount(stored, name, &states[i])
		if err != nil {
			states[i].Reason = err.Error()
			continue
		}
		mounted[i] = c
		if len(c.manifest.Modules) > 0 {
			devices = append(devices, c.Device)
		}
	}
	admitted, err := k.cfg.Kernel.Admit(devices)
	if err != nil {
		return nil, fmt.Errorf("admit modules of extensions: %w", err)
	}
	for i, c := range mounted {
		if c == nil {
			continue
		}
		if err := k.load(ctx, c, admitted); err != nil {
			states[i].Reason = err.Error()
		}
	}
	k.serve(states, mounted)
	return states, nil
}

// candidate is a build that is mounted.
type candidate struct {
	Mounted
	manifest extension.Manifest
}

func (k *Keeper) mount(stored []Stored, name extension.Name, s *State) (*candidate, error) {
	chosen, err := choose(stored, name, k.cfg.Node)
	if err != nil {
		return nil, err
	}
	m, dir := chosen.Manifest, filepath.Join(k.cfg.Dir, chosen.Dir)
	s.RootHash = m.RootHash
	at, err := k.cfg.Kernel.Mount(m.Name, Image{
		Data: filepath.Join(dir, extension.Image), Tree: filepath.Join(dir, extension.Verity), RootHash: m.Hash(),
	})
	if err != nil {
		return nil, err
	}
	s.Dir = at.Dir
	return &candidate{at, m}, nil
}

// errLate is why an extension that came after the first Activate has no modules.
var errLate = errors.New("its modules are loaded with the next boot: where modules may come from was settled when this one began")

func (k *Keeper) load(ctx context.Context, c *candidate, admitted []uint32) error {
	if len(c.manifest.Modules) == 0 {
		return nil
	}
	if !slices.Contains(admitted, c.Device) {
		return errLate
	}
	dir := filepath.Join(c.Dir, extension.ModulesDir)
	for _, name := range c.manifest.Modules {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := k.cfg.Kernel.Load(dir, name); err != nil {
			return err
		}
		k.cfg.Log.Info("module of an extension loaded", "extension", c.manifest.Name, "module", name)
	}
	return nil
}

// serve says which services are to run: those of extensions without a problem, in the order of the configuration, and none with a user that another has.
func (k *Keeper) serve(states []State, mounted []*candidate) {
	users := map[uint32]string{}
	for i, c := range mounted {
		if c == nil || c.manifest.Service == nil || states[i].Reason != "" {
			continue
		}
		user := c.manifest.Service.User
		if other, taken := users[user]; taken {
			states[i].Reason = fmt.Sprintf("its service is to run as user %d, which is that of the extension %s", user, other)
			continue
		}
		users[user] = c.manifest.Name
		states[i].Service = c.manifest.Service
	}
}
