package bpf

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/service"
)

// Where the node has them. Bpffs is mounted by init; pods have another instance of it. The cgroup holds the workload plane's, and so outlives
// a plane: links go when their cgroup does.
const (
	DefaultDir    = "/sys/fs/bpf/cyvive"
	DefaultCgroup = "/sys/fs/cgroup/workload"
)

const mapsPrefix = "maps-"

// Services implements network.Services. Its methods are called from one goroutine.
type Services struct {
	dir, cgroup string
	// objects are this version's programs and maps; nil until they are needed.
	objects *sockObjects
	maps    string
}

var _ network.Services = (*Services)(nil)

// New returns the services that are kept in dir, on a BPF file system, for processes of cgroup. It does nothing yet.
func New(dir, cgroup string) *Services { return &Services{dir: dir, cgroup: cgroup} }

// Close lets go of programs and maps; those that are attached go on.
func (s *Services) Close() error {
	if s.objects == nil {
		return nil
	}
	err := s.objects.Close()
	s.objects = nil
	return err
}

// load makes this version's programs known to the kernel, with the maps that are there, or new ones. Nothing uses the programs yet.
func (s *Services) load() error {
	if s.objects != nil {
		return nil
	}
	spec, err := loadSock()
	if err != nil {
		return fmt.Errorf("read programs for services: %w", err)
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinByName
	}
	s.maps = mapsPrefix + layout(spec.Maps)
	path := filepath.Join(s.dir, s.maps)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make folder for the maps of services: %w", err)
	}
	objects := &sockObjects{}
	if err := spec.LoadAndAssign(objects, &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: path}}); err != nil {
		return fmt.Errorf("load programs for services: %w", err)
	}
	s.objects = objects
	return nil
}

// layout identifies the maps' form. One whose entries get another meaning in the same form needs another name.
func layout(specs map[string]*ebpf.MapSpec) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(specs)) {
		m := specs[name]
		fmt.Fprintln(&text, name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags)
	}
	sum := sha256.Sum256([]byte(text.String()))
	return hex.EncodeToString(sum[:4])
}

// Observe implements network.Services.
func (s *Services) Observe(context.Context) (network.ServicesState, error) {
	var state network.ServicesState
	if err := s.load(); err != nil {
		return state, err
	}
	found, err := s.objects.read()
	if err != nil {
		return state, err
	}
	state.Table, state.Damaged = found.table()
	state.Attached = true
	for _, h := range hooks() {
		ok, err := s.attached(h)
		if err != nil {
			return state, err
		}
		state.Attached = state.Attached && ok
	}
	return state, nil
}

// Set implements network.Services.
func (s *Services) Set(ctx context.Context, want *service.Table) error {
	if err := s.load(); err != nil {
		return err
	}
	if err := s.objects.size(want); err != nil {
		return err
	}
	have, err := s.objects.read()
	if err != nil {
		return err
	}
	for _, step := range steps(have, want) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.objects.carryOut(step); err != nil {
			return fmt.Errorf("write service %s: %w", fromKernel(step.slot.Service), err)
		}
	}
	return nil
}

// Attach implements network.Services.
func (s *Services) Attach(context.Context) error {
	if err := s.load(); err != nil {
		return err
	}
	for _, h := range hooks() {
		ok, err := s.attached(h)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		if err := s.attach(h); err != nil {
			return fmt.Errorf("attach program %s: %w", h.name, err)
		}
	}
	return s.removeOthers()
}

// removeOthers removes the maps of other layouts, which no program uses any more.
func (s *Services) removeOthers() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("list maps of services: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), mapsPrefix) && e.Name() != s.maps {
			if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
				return fmt.Errorf("remove maps of another version: %w", err)
			}
		}
	}
	return nil
}

func ignoreAbsent(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
