package lsm

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestAdmittedSpec: programs cannot add to the list, which is not closed to them otherwise. That the kernel holds them to it is seen in TestVMEnforce.
func TestAdmittedSpec(t *testing.T) {
	if s := admittedSpec(); s.Flags&unix.BPF_F_RDONLY_PROG == 0 || s.MaxEntries != maxAdmitted {
		t.Errorf("the list is made by %+v", s)
	}
}

// TestVolumesSpec: nor to the list of volumes, of which TestVMEnforce sees the rest.
func TestVolumesSpec(t *testing.T) {
	if s := volumesSpec(); s.Flags&unix.BPF_F_RDONLY_PROG == 0 || s.MaxEntries != maxVolumes || s.KeySize != 4 {
		t.Errorf("the list is made by %+v", s)
	}
}
