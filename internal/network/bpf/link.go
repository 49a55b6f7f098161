package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// hook is a place of the kernel where a program runs.
type hook struct {
	// name is that of the program, and of the file that keeps its link.
	name    string
	at      ebpf.AttachType
	program func(*sockObjects) *ebpf.Program
}

// hooks are in the order in which they are attached: answers are translated back before anything is translated.
func hooks() []hook {
	return []hook{
		{"getpeername4", ebpf.AttachCgroupInet4GetPeername, func(o *sockObjects) *ebpf.Program { return o.Getpeername4 }},
		{"getpeername6", ebpf.AttachCgroupInet6GetPeername, func(o *sockObjects) *ebpf.Program { return o.Getpeername6 }},
		{"recvmsg4", ebpf.AttachCGroupUDP4Recvmsg, func(o *sockObjects) *ebpf.Program { return o.Recvmsg4 }},
		{"recvmsg6", ebpf.AttachCGroupUDP6Recvmsg, func(o *sockObjects) *ebpf.Program { return o.Recvmsg6 }},
		{"sendmsg4", ebpf.AttachCGroupUDP4Sendmsg, func(o *sockObjects) *ebpf.Program { return o.Sendmsg4 }},
		{"sendmsg6", ebpf.AttachCGroupUDP6Sendmsg, func(o *sockObjects) *ebpf.Program { return o.Sendmsg6 }},
		{"connect4", ebpf.AttachCGroupInet4Connect, func(o *sockObjects) *ebpf.Program { return o.Connect4 }},
		{"connect6", ebpf.AttachCGroupInet6Connect, func(o *sockObjects) *ebpf.Program { return o.Connect6 }},
	}
}

// attached reports whether this version's program is in force, on the cgroup as it is now and with the maps that are written.
func (s *Services) attached(h hook) (bool, error) {
	l, here, err := s.open(h)
	if err != nil || l == nil {
		return false, err
	}
	defer l.Close()
	if !here {
		return false, nil
	}
	info, err := l.Info()
	if err != nil {
		return false, fmt.Errorf("inspect link %s: %w", h.name, err)
	}
	running, err := ebpf.NewProgramFromID(info.Program)
	if err != nil {
		return false, fmt.Errorf("open program of link %s: %w", h.name, err)
	}
	defer running.Close()
	return sameProgram(running, h.program(s.objects))
}

// open returns the link that an earlier call left, nil if there is none, and whether it is to the cgroup that is there now.
func (s *Services) open(h hook) (l link.Link, here bool, err error) {
	l, err = link.LoadPinnedLink(filepath.Join(s.dir, h.name), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("open link %s: %w", h.name, err)
	}
	defer func() {
		if err != nil {
			_ = l.Close()
		}
	}()
	info, err := l.Info()
	if err != nil {
		return nil, false, fmt.Errorf("inspect link %s: %w", h.name, err)
	}
	group := info.Cgroup()
	if group == nil {
		return nil, false, fmt.Errorf("inspect link %s: it is of type %v, expected one to a cgroup", h.name, info.Type)
	}
	// A cgroup's identifier is its inode number (cgroup_id, include/linux/cgroup.h). That of a link whose cgroup went is 0.
	var stat unix.Stat_t
	if err := unix.Stat(s.cgroup, &stat); err != nil {
		return nil, false, fmt.Errorf("find cgroup %s: %w", s.cgroup, err)
	}
	return l, group.CgroupId == stat.Ino, nil
}

// attach puts this version's program in force: within the link that is there, so that the one takes over from the other, or else in a new
// one.
func (s *Services) attach(h hook) error {
	l, here, err := s.open(h)
	if err != nil {
		return err
	}
	if l != nil {
		defer l.Close()
		if here {
			return l.Update(h.program(s.objects))
		}
		if err := l.Unpin(); err != nil {
			return fmt.Errorf("remove link to a cgroup that is gone: %w", err)
		}
	}
	fresh, err := link.AttachCgroup(link.CgroupOptions{Path: s.cgroup, Attach: h.at, Program: h.program(s.objects)})
	if err != nil {
		return err
	}
	defer fresh.Close()
	path := filepath.Join(s.dir, h.name)
	if err := fresh.Pin(path); err != nil {
		return fmt.Errorf("keep link as %s: %w", path, err)
	}
	return os.Chmod(path, 0o600)
}

// sameProgram compares instructions, of which the kernel's tag is a hash, and maps, of which the tag says nothing.
func sameProgram(a, b *ebpf.Program) (bool, error) {
	of := func(p *ebpf.Program) (string, []ebpf.MapID, error) {
		info, err := p.Info()
		if err != nil {
			return "", nil, fmt.Errorf("inspect program: %w", err)
		}
		ids, _ := info.MapIDs()
		ids = slices.Clone(ids)
		slices.Sort(ids)
		return info.Tag, ids, nil
	}
	tagA, mapsA, err := of(a)
	if err != nil {
		return false, err
	}
	tagB, mapsB, err := of(b)
	return err == nil && tagA == tagB && slices.Equal(mapsA, mapsB), err
}
