package lsm

import (
	"fmt"

	"github.com/cilium/ebpf/btf"
)

// layout looks up the running kernel's structures. The first failure is kept,
// and all later answers are zero.
type layout struct {
	spec *btf.Spec
	err  error
}

// offset is where a member is in a structure, in bytes; further names go into
// structures that are members of it.
func (l *layout) offset(structure string, path ...string) int16 {
	if l.err != nil {
		return 0
	}
	var s *btf.Struct
	if err := l.spec.TypeByName(structure, &s); err != nil {
		l.err = fmt.Errorf("find struct %s in the kernel's types: %w", structure, err)
		return 0
	}
	var at uint32
	var t btf.Type = s
	for _, name := range path {
		m, bytes, ok := member(t, name)
		if !ok {
			l.err = fmt.Errorf("find member %s of struct %s in the kernel's types: there is none", name, structure)
			return 0
		}
		at, t = at+bytes, m
	}
	return int16(at)
}

// value is a value of an enumeration, by its name.
func (l *layout) value(enum, name string) int32 {
	if l.err != nil {
		return 0
	}
	var e *btf.Enum
	if err := l.spec.TypeByName(enum, &e); err != nil {
		l.err = fmt.Errorf("find enum %s in the kernel's types: %w", enum, err)
		return 0
	}
	for _, v := range e.Values {
		if v.Name == name {
			return int32(v.Value)
		}
	}
	l.err = fmt.Errorf("find value %s of enum %s in the kernel's types: there is none", name, enum)
	return 0
}

// member finds a member by name, in unnamed structures and unions as well.
func member(t btf.Type, name string) (btf.Type, uint32, bool) {
	var members []btf.Member
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		if m.Name == name {
			return m.Type, m.Offset.Bytes(), true
		}
		if m.Name == "" {
			if inner, bytes, ok := member(m.Type, name); ok {
				return inner, m.Offset.Bytes() + bytes, true
			}
		}
	}
	return nil, 0, false
}
