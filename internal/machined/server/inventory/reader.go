package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/inventory/smart"
)

// Bounds of what one call reads.
const (
	maxFileBytes  = 64 << 10
	maxTableBytes = 4 << 20 // /proc/cpuinfo and SMBIOS tables of large machines
	maxEntries    = 4096    // of one folder
)

// Devices asks devices what sysfs does not show. Its answers are raw. Names are the
// kernel's. Package device implements it; safe for concurrent use.
type Devices interface {
	// NVMeHealth returns log page 02h.
	NVMeHealth(disk string) ([]byte, error)
	ATAHealth(disk string) (smart.ATAPages, error)
	SCSILog(disk string, page byte) ([]byte, error)
	NICFirmware(name string) (string, error)
	// TPMProperties sends a command to the TPM and returns its answer.
	TPMProperties(command []byte) ([]byte, error)
}

// Reader reads one machine. It is safe for concurrent use; it implements
// [server.Inventory].
type Reader struct {
	root    string
	devices Devices
	health  *healthCache
	// reading holds all but one caller back: the kernel interrupts processors and takes
	// locks of the network for some of it. No disk is waited for in it.
	reading sync.Mutex
}

var _ server.Inventory = (*Reader)(nil)

// New returns a reader of the machine whose root is "/", or of a folder that stands
// for it. Now is the clock.
func New(root string, devices Devices, now func() time.Time) *Reader {
	return &Reader{root: root, devices: devices, health: newHealthCache(now)}
}

// look is one reading of the machine, and what went wrong in it.
type look struct {
	*Reader
	problems []string
}

// Inventory implements server.Inventory.
func (r *Reader) Inventory(ctx context.Context, diskHealth bool) (*inventoryv1.Inventory, error) {
	l := &look{Reader: r}
	all := l.all()
	if diskHealth {
		r.askDisks(ctx, all.GetDisks())
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return all, nil
}

// all reads everything but the health of disks.
func (l *look) all() *inventoryv1.Inventory {
	l.reading.Lock()
	defer l.reading.Unlock()
	table := l.smbios()
	all := &inventoryv1.Inventory{
		System:     l.system(),
		Firmware:   l.firmware(),
		Processors: l.processors(table),
		Memory:     l.memory(table),
		Disks:      l.disks(),
		Interfaces: l.interfaces(),
		PciDevices: l.pciDevices(),
		Tpm:        l.tpm(),
	}
	all.Problems = l.problems
	return all
}

// problem notes what could not be read. That it is not there is none.
func (l *look) problem(what string, err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.problems = append(l.problems, valid(fmt.Sprintf("%s: %v", what, err)))
	}
}

// read returns the beginning of a file.
func (r *Reader) read(limit int64, elem ...string) ([]byte, error) {
	f, err := os.Open(r.path(elem...))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

func (r *Reader) path(elem ...string) string {
	return filepath.Join(r.root, filepath.Join(elem...))
}

// text is a file of one line, without white space at its ends; empty if it cannot be
// read: a driver may refuse any of its files.
func (r *Reader) text(elem ...string) string {
	data, err := r.read(maxFileBytes, elem...)
	if err != nil {
		return ""
	}
	return valid(strings.Trim(string(data), " \t\r\n\x00"))
}

// number is a file that holds a decimal number; what is none, or does not fit, is 0.
func (r *Reader) number(elem ...string) uint64 {
	n, err := strconv.ParseUint(r.text(elem...), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// small is number for what fits 32 bits.
func (r *Reader) small(elem ...string) uint32 {
	n, err := strconv.ParseUint(r.text(elem...), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// exists tells whether something is there.
func (r *Reader) exists(elem ...string) bool {
	_, err := os.Stat(r.path(elem...))
	return err == nil
}

// names lists a folder, in order. A folder that is not there is empty.
func (l *look) names(elem ...string) []string {
	entries, err := os.ReadDir(l.path(elem...))
	l.problem("list "+filepath.Join(elem...), err)
	var out []string
	for _, e := range entries[:min(len(entries), maxEntries)] {
		out = append(out, e.Name())
	}
	return out
}

// link is the name of what a link leads to; empty if there is none.
func (r *Reader) link(elem ...string) string {
	target, err := os.Readlink(r.path(elem...))
	if err != nil {
		return ""
	}
	return valid(filepath.Base(target))
}

// device is the place of a device below /sys/devices; empty if there is none.
func (r *Reader) device(elem ...string) string {
	resolved, err := filepath.EvalSymlinks(r.path(elem...))
	if err != nil {
		return ""
	}
	devices, err := filepath.EvalSymlinks(r.path("sys/devices"))
	if err != nil {
		return ""
	}
	place, ok := strings.CutPrefix(resolved, devices+"/")
	if !ok {
		return ""
	}
	return valid(place)
}

// valid makes a text one that a message can hold.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
