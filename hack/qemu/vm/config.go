package vm

import (
	"fmt"
	"strconv"

	"github.com/google/uuid"
)

// Files of a machine, inside its folder. QEMU is started in that folder and is
// given these names as they are, since a unix socket's path may have 107 bytes
// at most (unix(7)).
const (
	pidFile    = "qemu.pid"
	qmpSocket  = "qmp.sock"
	varsFile   = "efivars.fd"
	outputFile = "qemu.log"
	// tpmSocket is how QEMU reaches the TPM, and tpmDir what that remembers.
	tpmSocket = "tpm.sock"
	tpmDir    = "tpm"
	tpmOutput = "swtpm.log"
	// ConsoleFile receives what the guest writes to its first serial port. It is
	// appended to, so it holds all boots of the machine.
	ConsoleFile = "console.log"
)

// Disk is one virtio block device, a CD in a drive, or a stick.
type Disk struct {
	// Path of the image; absolute.
	Path string
	// Socket is that of an NBD server in the machine's folder, in place of a Path.
	Socket string
	// Format is qemu-img's name of the image: raw or qcow2.
	Format string
	// ReadOnly guards the image against the guest.
	ReadOnly bool
	// CD has the image be a CD, in a SCSI drive behind a controller of its own.
	CD bool
	// USB has the image be a stick (usb-storage), at a USB controller of its own.
	USB bool
	// Snapshot keeps the guest's writes in a temporary file that QEMU drops.
	Snapshot bool
	// Serial is what the guest reads in /sys/block/*/serial, 20 bytes at most.
	Serial string
	// Late has firmware try the disk after all those that are not; the kernel finds it in its place.
	Late bool
	// Slot puts the disk into a slot of its own, out of which PullDisk takes it while the machine runs, by its Serial: letters, digits and dashes. It is
	// nothing to start from.
	Slot bool
}

// Port is one virtio-serial port, which the guest finds by its name in
// /sys/class/virtio-ports. With a Path it is a byte pipe out of the guest into
// that file; without, it goes both ways, by VM.Port.
type Port struct {
	Name string
	// Path of the file, which is truncated; absolute.
	Path string
}

// socket is the file of a port that goes both ways, in the machine's folder.
func (p Port) socket() string { return p.Name + ".sock" }

// chardev is QEMU's side of the port.
func (p Port) chardev(id string) string {
	if p.Path == "" {
		return "socket,id=" + id + ",server=on,wait=off,path=" + p.socket()
	}
	return "file,id=" + id + ",path=" + escape(p.Path)
}

// Config describes a machine. It boots its first disk through UEFI unless
// Kernel is set.
type Config struct {
	// Name tells machines apart in the process list.
	Name string
	// Dir holds the machine's files; it must exist. Absolute.
	Dir string
	// Arch is amd64 or arm64.
	Arch  string
	Accel Accel
	CPUs  int
	// MemoryBytes is rounded down to whole MiB.
	MemoryBytes int64

	// Kernel, Initrd and Append boot a kernel directly, without firmware.
	Kernel, Initrd, Append string
	// FirmwareCode and FirmwareVars are the UEFI images of the host; the
	// variables are copied into Dir when the machine is started first.
	FirmwareCode, FirmwareVars string

	Disks []Disk
	Ports []Port
	// Network holds the -netdev and -device options.
	Network []string
	// Watchdog gives the machine an Intel 6300ESB, which resets it when the guest
	// has begun to feed it and stops. Its clock stands still while the machine is
	// paused.
	Watchdog bool
	// TPM gives the machine a TPM 2.0 of software, whose state stays in Dir.
	TPM bool
	// SMM gives an amd64 machine system management mode, and keeps the firmware's
	// variables from all that does not run in it. Firmware that was built for it
	// needs it; see FindSecureFirmware.
	SMM bool
	// NoReboot makes QEMU exit when the guest asks for a restart.
	NoReboot bool
	// Detached lets the machine outlive its starter. Otherwise the kernel kills
	// QEMU when the starter ends, however that comes about.
	Detached bool
}

// Arguments returns QEMU's command line, the program first. It is pure.
func (c Config) Arguments() ([]string, error) {
	args, err := c.machineArguments()
	if err != nil {
		return nil, err
	}
	args = append(args,
		"-name", c.processName(),
		"-smp", strconv.Itoa(c.CPUs),
		"-m", strconv.FormatInt(c.MemoryBytes>>20, 10),
		"-uuid", c.uuid().String(),
		"-nodefaults", "-no-user-config", "-display", "none",
		"-chardev", "file,id=console,append=on,path="+ConsoleFile,
		"-serial", "chardev:console",
		"-qmp", "unix:"+qmpSocket+",server=on,wait=off",
		"-pidfile", pidFile,
		"-device", "virtio-rng-pci",
	)
	if c.Kernel != "" {
		args = append(args, "-kernel", c.Kernel, "-append", c.Append)
		if c.Initrd != "" {
			args = append(args, "-initrd", c.Initrd)
		}
	} else {
		args = append(args,
			"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+escape(c.FirmwareCode),
			"-drive", "if=pflash,format=raw,unit=1,file="+varsFile)
	}
	for i, disk := range c.Disks {
		args = append(args, disk.arguments(i, c.Kernel == "")...)
	}
	if len(c.Ports) > 0 {
		args = append(args, "-device", "virtio-serial-pci")
	}
	for i, port := range c.Ports {
		id := fmt.Sprintf("port%d", i)
		args = append(args,
			"-chardev", port.chardev(id),
			"-device", "virtserialport,chardev="+id+",name="+port.Name)
	}
	if c.Watchdog {
		args = append(args, "-device", "i6300esb", "-action", "watchdog=reset")
	}
	if c.TPM {
		args = append(args, c.tpmArguments()...)
	}
	if c.NoReboot {
		args = append(args, "-no-reboot")
	}
	return append(args, c.Network...), nil
}

func (c Config) machineArguments() ([]string, error) {
	var args []string
	switch {
	case c.Arch == "amd64" && c.SMM:
		args = []string{"qemu-system-x86_64", "-machine", "q35,smm=on",
			// OvmfPkg/README of edk2, "SMM support": the variables are for SMM alone, and
			// firmware with SMM does not come back from suspension.
			"-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"}
	case c.Arch == "amd64":
		args = []string{"qemu-system-x86_64", "-machine", "q35"}
	case c.Arch == "arm64":
		args = []string{"qemu-system-aarch64", "-machine", "virt"}
	default:
		return nil, fmt.Errorf("build command line: architecture %q is neither amd64 nor arm64", c.Arch)
	}
	return append(args, c.Accel.arguments(c.Arch)...), nil
}

// tpmArguments are QEMU's side of the TPM (docs/specs/tpm.rst of QEMU, "The QEMU TPM emulator device").
func (c Config) tpmArguments() []string {
	device := "tpm-crb"
	if c.Arch == "arm64" {
		device = "tpm-tis-device"
	}
	return []string{"-chardev", "socket,id=tpm,path=" + tpmSocket, "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", device + ",tpmdev=tpm0"}
}

// processName is what Attach looks for in the process's command line.
func (c Config) processName() string { return "cyvive-" + c.Name }

// uuid is what the machine's firmware calls it (SMBIOS, type 1), the same at each start. Without one, disks cannot be encrypted for it by a key server or a
// passphrase.
func (c Config) uuid() uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("cyvive:machine:"+c.Name))
}

// lateIndex is more than there are disks, and less than what the network has in the order in which firmware tries them (package network).
const lateIndex = 50

func (d Disk) arguments(index int, bootable bool) []string {
	if d.Slot {
		return d.slotArguments(index)
	}
	drive := fmt.Sprintf("if=none,id=disk%d,format=%s,cache=writeback,discard=unmap,%s", index, d.Format, d.file())
	if d.ReadOnly || d.CD {
		drive += ",readonly=on"
	}
	if d.Snapshot {
		drive += ",snapshot=on"
	}
	device := fmt.Sprintf("virtio-blk-pci,drive=disk%d", index)
	var controller []string
	if d.CD {
		controller = []string{"-device", fmt.Sprintf("virtio-scsi-pci,id=scsi%d", index)}
		device = fmt.Sprintf("scsi-cd,bus=scsi%d.0,drive=disk%d", index, index)
	}
	if d.USB {
		// Firmware knows the order of what is on USB by the controller alone (TranslatePciOfwNodes in OvmfPkg/Library/QemuBootOrderLib of edk2).
		controller = []string{"-device", fmt.Sprintf("qemu-xhci,id=usb%d", index)}
		device = fmt.Sprintf("usb-storage,bus=usb%d.0,drive=disk%d", index, index)
	}
	if d.Serial != "" {
		device += ",serial=" + d.Serial
	}
	if bootable {
		order := index
		if d.Late {
			order += lateIndex
		}
		device += fmt.Sprintf(",bootindex=%d", order)
	}
	return append(append([]string{"-drive", drive}, controller...), "-device", device)
}

// file is where the image is (qemu(1), -drive, and BlockdevOptionsNbd of QEMU's qapi/block-core.json).
func (d Disk) file() string {
	if d.Socket != "" {
		return "file.driver=nbd,file.server.type=unix,file.server.path=" + escape(d.Socket)
	}
	return "file=" + escape(d.Path)
}

// escape doubles commas, as QEMU's option syntax asks for (qemu(1), -drive).
func escape(path string) string {
	out := make([]byte, 0, len(path))
	for i := range len(path) {
		if path[i] == ',' {
			out = append(out, ',')
		}
		out = append(out, path[i])
	}
	return string(out)
}
