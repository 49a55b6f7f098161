package vm

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestArguments(t *testing.T) {
	base := Config{
		Name: "a", Dir: "/d", Arch: "amd64", Accel: TCG, CPUs: 2, MemoryBytes: 4 << 30,
		FirmwareCode: "/f/code,1", FirmwareVars: "/f/vars",
		Disks:   []Disk{{Path: "/d/x", Format: "qcow2", Serial: "system"}, {Path: "/d/y", Format: "raw", ReadOnly: true}},
		Network: []string{"-nic", "none"},
	}
	direct := base
	direct.Kernel, direct.Initrd, direct.Append = "/k", "/i", "quiet"
	direct.NoReboot, direct.Watchdog = true, true
	direct.Ports = []Port{{Name: "p", Path: "/d/port"}}
	served := base
	served.Disks = []Disk{{Socket: "a,b.sock", Format: "raw", Serial: "system"}}
	slotted := base
	slotted.Disks = append(slotted.Disks[:1:1],
		Disk{Path: "/d/p,1", Format: "qcow2", Serial: "one", Slot: true}, Disk{Socket: "p2.sock", Format: "raw", Serial: "two", Slot: true, ReadOnly: true})
	withCD := base
	withCD.Disks = []Disk{{Path: "/d/x", Format: "qcow2"}, {Path: "/d/m.iso", Format: "raw", CD: true, Serial: "medium"}}
	withStick := base
	withStick.Disks = []Disk{{Path: "/d/x", Format: "qcow2"}, {Path: "/d/m.iso", Format: "raw", USB: true, Snapshot: true, Serial: "medium"}}
	late := base
	late.Disks = []Disk{{Path: "/d/x", Format: "qcow2", Late: true}, {Path: "/d/y", Format: "raw"}}
	sealed := base
	sealed.TPM = true
	secure := base
	secure.SMM = true
	for _, c := range []struct {
		name      string
		config    Config
		has, lack []string
	}{
		{"firmware", base, []string{
			"qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max,-erms,-fsrm -name cyvive-a -smp 2 -m 4096 -uuid " + base.uuid().String(),
			"-drive if=pflash,format=raw,unit=0,readonly=on,file=/f/code,,1",
			"-drive if=pflash,format=raw,unit=1,file=efivars.fd",
			"file=/d/x -device virtio-blk-pci,drive=disk0,serial=system,bootindex=0",
			"file=/d/y,readonly=on -device virtio-blk-pci,drive=disk1,bootindex=1",
			"-nic none",
		}, []string{"-kernel", "-no-reboot", "virtserialport", "i6300esb", "tpm", "smm", "secure"}},
		{"served disk", served, []string{
			"-drive if=none,id=disk0,format=raw,cache=writeback,discard=unmap,file.driver=nbd,file.server.type=unix,file.server.path=a,,b.sock -device virtio-blk-pci,drive=disk0,serial=system",
		}, []string{"file=/d"}},
		{"slots", slotted, []string{
			"serial=system,bootindex=0 -blockdev driver=qcow2,node-name=node-one,discard=unmap,file.driver=file,file.filename=/d/p,,1",
			"-device pcie-root-port,id=slot-one,chassis=2,slot=2 -device virtio-blk-pci,drive=node-one,id=device-one,bus=slot-one,serial=one -blockdev",
			"-blockdev driver=raw,node-name=node-two,discard=unmap,file.driver=nbd,file.server.type=unix,file.server.path=p2.sock,read-only=on",
			"-device pcie-root-port,id=slot-two,chassis=3,slot=3 -device virtio-blk-pci,drive=node-two,id=device-two,bus=slot-two,serial=two",
		}, []string{"bootindex=1", "bootindex=2"}},
		{"CD", withCD, []string{
			"file=/d/m.iso,readonly=on -device virtio-scsi-pci,id=scsi1 -device scsi-cd,bus=scsi1.0,drive=disk1,serial=medium,bootindex=1",
			"file=/d/x -device virtio-blk-pci,drive=disk0,bootindex=0",
		}, []string{"virtio-blk-pci,drive=disk1", "id=scsi0"}},
		{"stick", withStick, []string{
			"file=/d/m.iso,snapshot=on -device qemu-xhci,id=usb1 -device usb-storage,bus=usb1.0,drive=disk1,serial=medium,bootindex=1",
			"file=/d/x -device virtio-blk-pci,drive=disk0,bootindex=0",
		}, []string{"virtio-blk-pci,drive=disk1", "id=usb0", "scsi"}},
		{"late", late, []string{"virtio-blk-pci,drive=disk0,bootindex=50 -drive", "virtio-blk-pci,drive=disk1,bootindex=1 "}, nil},
		{"SMM", secure, []string{
			"qemu-system-x86_64 -machine q35,smm=on -global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1 -accel tcg",
			"if=pflash,format=raw,unit=1,file=efivars.fd",
		}, nil},
		{"TPM", sealed, []string{
			"-chardev socket,id=tpm,path=tpm.sock -tpmdev emulator,id=tpm0,chardev=tpm -device tpm-crb,tpmdev=tpm0",
		}, nil},
		{"direct", direct, []string{
			"-kernel /k -append quiet -initrd /i",
			"-chardev file,id=port0,path=/d/port -device virtserialport,chardev=port0,name=p",
			"-device i6300esb -action watchdog=reset",
			"-no-reboot",
		}, []string{"pflash", "bootindex"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args, err := c.config.Arguments()
			if err != nil {
				t.Fatal(err)
			}
			line := strings.Join(args, " ")
			for _, want := range c.has {
				if !strings.Contains(line, want) {
					t.Errorf("%s\nlacks %s", line, want)
				}
			}
			for _, unwanted := range c.lack {
				if strings.Contains(line, unwanted) {
					t.Errorf("%s\nhas %s", line, unwanted)
				}
			}
		})
	}
}

func TestArgumentsOfOtherArchitectures(t *testing.T) {
	arm := Config{Arch: "arm64", Accel: KVM, Kernel: "/k"}
	args, err := arm.Arguments()
	if err != nil || !slices.Equal(args[:7], []string{"qemu-system-aarch64", "-machine", "virt", "-accel", "kvm", "-cpu", "host"}) {
		t.Errorf("arm64: got %v, %v", args, err)
	}
	arm.SMM = true
	if again, err := arm.Arguments(); err != nil || !slices.Equal(again, args) {
		t.Errorf("arm64, which has no SMM: got %v, %v", again, err)
	}
	if _, err := (Config{Arch: "riscv64"}).Arguments(); err == nil {
		t.Error("riscv64: want an error")
	}
}

func TestHasVirtualisation(t *testing.T) {
	for text, want := range map[string]bool{
		"processor\t: 0\nflags\t\t: fpu vmx sse\n": true,
		"flags : fpu svm\n":                        true,
		"flags : fpu sse\nflags : vmx\n":           false, // all processors are alike
		"vmx flags\t: ept\nflags : fpu\n":          false,
		"model name : vmx\n":                       false,
		"":                                         false,
		"flags : " + strings.Repeat("long ", 9000) + "svm": true,
	} {
		if got := hasVirtualisation(strings.NewReader(text)); got != want {
			t.Errorf("%.40q: got %t, want %t", text, got, want)
		}
	}
}

func TestOwnCommandLine(t *testing.T) {
	for line, want := range map[string]bool{
		"qemu-system-x86_64\x00-name\x00cyvive-a\x00":          true,
		"/usr/bin/qemu-system-x86_64\x00-name\x00cyvive-a\x00": true,
		"qemu-system-x86_64\x00-name\x00cyvive-ab\x00":         false,
		"sleep\x00-name\x00cyvive-a\x00":                       false,
		"qemu-system-x86_64\x00-name\x00":                      false,
		"":                                                     false,
	} {
		if got := ownCommandLine([]byte(line), "cyvive-a"); got != want {
			t.Errorf("%q: got %t, want %t", line, got, want)
		}
	}
}

func FuzzOwnCommandLine(f *testing.F) {
	f.Add([]byte("qemu-system-x86_64\x00-name\x00cyvive-a\x00"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if ownCommandLine(line, "cyvive-a") && !strings.Contains(string(line), "cyvive-a") {
			t.Errorf("%q passes for another machine's", line)
		}
	})
}

func FuzzParseQMP(f *testing.F) {
	f.Add([]byte(`{"QMP": {"version": {}}}`))
	f.Add([]byte(`{"return": {}}`))
	f.Add([]byte(`{"error": {"class": "GenericError", "desc": "no"}}`))
	f.Add([]byte(`{"event": "RESET"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		message, err := parseQMP(line)
		if err != nil && !cmp.Equal(message, qmpMessage{}) {
			t.Errorf("%q: got %+v together with %v", line, message, err)
		}
	})
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain\r":                        "plain",
		"\x1b[2J\x1b[01;01HBdsDxe: boot": "BdsDxe: boot",
		"\x1b[0m\x1b[?25h\x1b=a\tb\x07":  "a\tb",
		"\x1b":                           "",
	} {
		if got := clean([]byte(in)); got != want {
			t.Errorf("clean %q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add([]byte("\x1b[31mred\x1b[0m\r"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if got := clean(line); strings.ContainsAny(got, "\x00\x1b\r\n\x07") {
			t.Errorf("clean %q leaves control bytes: %q", line, got)
		}
	})
}

func FuzzHasVirtualisation(f *testing.F) {
	f.Add("processor\t: 0\nflags\t\t: fpu vmx sse\n")
	f.Add("flags : fpu\nflags : svm\n")
	f.Fuzz(func(t *testing.T, cpuinfo string) {
		got := hasVirtualisation(strings.NewReader(cpuinfo))
		if got && !strings.Contains(cpuinfo, "vmx") && !strings.Contains(cpuinfo, "svm") {
			t.Errorf("%q passes for a processor with virtualisation", cpuinfo)
		}
		if with := hasVirtualisation(strings.NewReader("flags : svm\n" + cpuinfo)); !with {
			t.Errorf("%q hides the first processor's flags", cpuinfo)
		}
	})
}
