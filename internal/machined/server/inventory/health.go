package inventory

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	"github.com/cyvive/cyvive/internal/machined/server/inventory/smart"
)

const (
	// healthInterval is the shortest time between two questions to one disk.
	healthInterval = 30 * time.Second
	// healthDeadline is how long a caller waits for a disk.
	healthDeadline = 5 * time.Second
)

// healthCache holds what each disk has answered, and which of them have not yet.
type healthCache struct {
	now      func() time.Time
	deadline time.Duration

	mu      sync.Mutex
	answers map[string]*healthAnswer
}

// healthAnswer is one question. Health and at are set before done is closed.
type healthAnswer struct {
	done   chan struct{}
	health *inventoryv1.DiskHealth
	at     time.Time
}

func newHealthCache(now func() time.Time) *healthCache {
	return &healthCache{now: now, deadline: healthDeadline, answers: map[string]*healthAnswer{}}
}

// get returns the answer for a disk, asking if the last one is old and no question is
// under way.
func (c *healthCache) get(key string, ask func() *inventoryv1.DiskHealth) *healthAnswer {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.answers[key]
	if ok && (!a.ended() || c.now().Sub(a.at) < healthInterval) {
		return a
	}
	a = &healthAnswer{done: make(chan struct{})}
	c.answers[key] = a
	go func() {
		a.health = ask()
		a.at = c.now()
		close(a.done)
	}()
	return a
}

// keep forgets disks that are gone, save those that have not answered.
func (c *healthCache) keep(keys map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, a := range c.answers {
		if !keys[key] && a.ended() {
			delete(c.answers, key)
		}
	}
}

func (a *healthAnswer) ended() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// askDisks fills in the health of disks, all at once.
func (r *Reader) askDisks(ctx context.Context, disks []*inventoryv1.Disk) {
	ctx, cancel := context.WithTimeout(ctx, r.health.deadline)
	defer cancel()
	keys := map[string]bool{}
	answers := make([]*healthAnswer, len(disks))
	for i, d := range disks {
		// Another disk may come by the same name.
		key := d.GetName() + " " + d.GetSerial() + " " + d.GetWwn()
		keys[key] = true
		name, bus := d.GetName(), d.GetBus()
		answers[i] = r.health.get(key, func() *inventoryv1.DiskHealth { return r.ask(name, bus) })
	}
	for i, a := range answers {
		select {
		case <-a.done:
			disks[i].Health = proto.CloneOf(a.health)
		case <-ctx.Done():
			disks[i].Health = unavailable(fmt.Errorf("it has not answered within %v", r.health.deadline))
		}
	}
	r.health.keep(keys)
}

// ask asks one disk.
func (r *Reader) ask(name string, bus inventoryv1.DiskBus) *inventoryv1.DiskHealth {
	health, err := r.question(name, bus)
	if err != nil {
		return unavailable(err)
	}
	return health
}

func (r *Reader) question(name string, bus inventoryv1.DiskBus) (*inventoryv1.DiskHealth, error) {
	switch bus {
	case inventoryv1.DiskBus_DISK_BUS_NVME:
		page, err := r.devices.NVMeHealth(name)
		if err != nil {
			return nil, err
		}
		return smart.NVMe(page)
	case inventoryv1.DiskBus_DISK_BUS_ATA:
		pages, err := r.devices.ATAHealth(name)
		if err != nil {
			return nil, err
		}
		return smart.ATA(pages)
	case inventoryv1.DiskBus_DISK_BUS_SCSI:
		return r.scsiQuestion(name)
	case inventoryv1.DiskBus_DISK_BUS_USB:
		return nil, fmt.Errorf("disks behind USB are not asked: their bridges differ in what they pass on")
	case inventoryv1.DiskBus_DISK_BUS_VIRTIO, inventoryv1.DiskBus_DISK_BUS_XEN:
		return nil, fmt.Errorf("a hypervisor's disk keeps no health")
	default:
		return nil, fmt.Errorf("disks of this kind are not asked")
	}
}

// scsiQuestion asks for the log pages; what makes a verdict must be there.
func (r *Reader) scsiQuestion(name string) (*inventoryv1.DiskHealth, error) {
	pages := map[byte][]byte{}
	for _, number := range smart.SCSIPages() {
		page, err := r.devices.SCSILog(name, number)
		if err != nil && number == smart.SCSIExceptions {
			return nil, err
		}
		if err == nil {
			pages[number] = page
		}
	}
	return smart.SCSI(pages)
}

func unavailable(err error) *inventoryv1.DiskHealth {
	return &inventoryv1.DiskHealth{Unavailable: valid(err.Error())}
}
